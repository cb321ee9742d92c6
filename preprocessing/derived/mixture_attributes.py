"""What a group of mixtures is fitted with: spec, seed, depth prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from diffpose.model.observations.initial_distribution import HistogramDepth
from diffpose.platform.base.errors import StoreError
from diffpose.platform.base.storage import absolute, join
from diffpose.platform.runs.model_files import depth_to_json, encoder_digest, load_config
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.groups import MixtureAttributes
from diffpose.platform.store.pose_store import PoseStore, contiguous_ranges
from diffpose.preprocessing.settings import MixtureGroupSettings


def mixture_attributes(
    mixture: MixtureGroupSettings,
    encoder_run: str | None,
    seed: int,
    store: PoseStore,
    clips: Sequence[Clip],
) -> MixtureAttributes:
    """Return what the group is fitted with; an earlier run's values where it was begun already.

    Raises:
        StoreError: it was fitted otherwise, or a histogram finds no training poses.
    """
    digest = encoder = None
    depth: dict[str, Any] = {"kind": "histogram"}
    if mixture.depth == "encoder":
        assert encoder_run is not None  # checked with the settings
        encoder = absolute(join(encoder_run, "encoder"))
        sigma = load_config(encoder, "context_encoder")["depth_sigma_mm"]
        digest, depth = encoder_digest(encoder), {"kind": "encoder", "sigma_mm": sigma}
    group = mixture.group
    wanted = MixtureAttributes(
        spec=mixture.spec, seed=seed, depth=depth, encoder_digest=digest, encoder=encoder
    )
    if group in store.mixture_names() and "spec" in store.group_attributes("mixtures", group):
        # a spec that was saved before a setting existed has that setting's default
        saved = store.mixture_attributes(group)
        _check_same(store.uri, group, saved, wanted)
        return saved.model_copy(update={"encoder": encoder})
    if mixture.depth == "encoder":
        return wanted
    poses = [
        store.read("pose_3d", a, b)
        for a, b in contiguous_ranges([c for c in clips if c.split == "train"], 65536)
    ]
    known = np.concatenate(poses) if poses else np.empty((0, 17, 3))
    known = known[np.isfinite(known).all(axis=(1, 2))]
    if len(known) == 0:
        raise StoreError(
            "A depth histogram needs training poses, and this store has none in its training "
            "split. Use mixture.depth=encoder with a trained encoder=RUN."
        )
    return wanted.model_copy(
        update={
            "depth": depth_to_json(HistogramDepth.from_poses(known)),
            "bridging_pose_mm": known.mean(axis=0, dtype=np.float64).tolist(),
        }
    )


def _check_same(
    store_uri: str, group: str, saved: MixtureAttributes, wanted: MixtureAttributes
) -> None:
    fields = ("spec", "seed", "encoder_digest")
    there, now = (one.model_dump(mode="json", include={*fields}) for one in (saved, wanted))
    changed = [
        f"{key}: saved {there[key]!r}, now {now[key]!r}" for key in fields if there[key] != now[key]
    ]
    if saved.depth_kind != wanted.depth_kind:
        changed.append(f"depth: saved {saved.depth_kind}, now {wanted.depth_kind}")
    if changed:
        raise StoreError(
            f"The mixtures {group!r} of {store_uri!r} were fitted otherwise:\n  "
            + "\n  ".join(changed)
            + "\nGive another name to fit these beside them: mixture.name= of preprocess, "
            "mixtures= of train."
        )
