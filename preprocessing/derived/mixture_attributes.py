"""What a group of mixtures is fitted with: spec, seed, depth prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from diffpose.model.mixtures.gaussian_mixture import MixtureSpec
from diffpose.model.observations.initial_distribution import HistogramDepth
from diffpose.platform.base.errors import StoreError
from diffpose.platform.base.storage import absolute, join
from diffpose.platform.runs.model_files import depth_to_json, encoder_digest, load_config
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.pose_store import PoseStore, contiguous_ranges
from diffpose.preprocessing.settings import MixtureGroupSettings


def mixture_attributes(
    mixture: MixtureGroupSettings,
    encoder_run: str | None,
    seed: int,
    store: PoseStore,
    clips: Sequence[Clip],
) -> dict[str, Any]:
    """Return what the group is fitted with; an earlier run's values where it was begun already."""
    wanted: dict[str, Any] = {
        "spec": mixture.spec.model_dump(mode="json"),
        "seed": seed,
    }
    if mixture.depth == "encoder":
        assert encoder_run is not None  # checked with the settings
        encoder = absolute(join(encoder_run, "encoder"))
        sigma = load_config(encoder, "context_encoder")["depth_sigma_mm"]
        wanted["encoder_digest"] = encoder_digest(encoder)
        wanted["depth"] = {"kind": "encoder", "sigma_mm": sigma}
        wanted["encoder"] = encoder
    else:
        wanted["depth"] = {"kind": "histogram"}
    group = mixture.group
    if group in store.mixture_names():
        saved = store.mixture_attributes(group)
        if "spec" in saved:
            # a spec that was saved before a setting existed has that setting's default
            spec = MixtureSpec.model_validate(saved["spec"]).model_dump(mode="json")
            saved = {**saved, "spec": spec}
            changed = [
                f"{key}: saved {saved.get(key)!r}, now {wanted.get(key)!r}"
                for key in ("spec", "seed", "encoder_digest")
                if saved.get(key) != wanted.get(key)
            ]
            if saved["depth"]["kind"] != wanted["depth"]["kind"]:
                kinds = saved["depth"]["kind"], wanted["depth"]["kind"]
                changed.append(f"depth: saved {kinds[0]}, now {kinds[1]}")
            if changed:
                raise StoreError(
                    f"The mixtures {group!r} of {store.uri!r} were fitted otherwise:\n  "
                    + "\n  ".join(changed)
                    + "\nGive another name to fit these beside them: mixture.name= of preprocess, "
                    "mixtures= of train."
                )
            return {**saved, "encoder": wanted.get("encoder", "")}
    if mixture.depth == "histogram":
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
        wanted["depth"] = depth_to_json(HistogramDepth.from_poses(known))
        wanted["bridging_pose_mm"] = known.mean(axis=0, dtype=np.float64).tolist()
    return wanted
