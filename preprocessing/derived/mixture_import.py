"""Mixtures of DiffPose's own file (platform/store/gmm_file.py) as a mixture group of a store.

The file's kernels lie in the image plane; a depth prior and the store's detections put them into
space in closed form (model/mixtures/from_2d.py). Distortion is taken out where the cameras are
those of Human3.6M.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffpose.model.mixtures.from_2d import depth_variance, lift_kernels
from diffpose.model.mixtures.gaussian_mixture import GaussianMixture
from diffpose.platform.base.errors import SourceError
from diffpose.platform.runs.model_files import depth_from_json
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.groups import MixtureAttributes
from diffpose.platform.store.observations import read_observations
from diffpose.platform.store.pose_store import PoseStore
from diffpose.preprocessing.datasets.human36m_cameras import CAMERAS
from diffpose.preprocessing.derived.mixture_stages import bridging_poses, mixture_fields
from diffpose.preprocessing.planning.plan import Span
from diffpose.preprocessing.planning.span_row import SpanRow

Views = dict[str, dict[str, list[NDArray[Any]]]]


@dataclass(frozen=True)
class ViewFrames:
    """One camera's whole recording in the file, at the store's frame rate.

    Attributes:
        values: (T, 17, M, 5).
        where: for messages.
    """

    values: NDArray[Any]
    where: str


def file_key(clip: Clip) -> tuple[str, str]:
    """Return subject and action under which a file of mixtures has a clip."""
    name = clip.source.rpartition("/")[2]
    return clip.subject, name.rsplit(".", 1)[0]


def camera_key(clip: Clip) -> str:
    """Return what the cameras of a recording are sorted by in the file."""
    return clip.camera if clip.track == 0 else f"{clip.camera}#{clip.track}"


def matched(
    views: Views, clips: list[Clip], stride: int
) -> tuple[dict[str, ViewFrames], dict[str, str]]:
    """Find the clips of a store in a file.

    Args:
        views: of the file.
        clips: of the store.
        stride: the store has every so-manieth frame of its data set.

    Returns:
        clip id -> its view of the file, at the store's rate; clip id -> why there is none.
    """
    cameras: dict[tuple[str, str], set[str]] = {}
    lengths: dict[tuple[str, str, str], int] = {}
    for clip in clips:
        key, camera = file_key(clip), camera_key(clip)
        cameras.setdefault(key, set()).add(camera)
        length = lengths.get((*key, camera), 0)
        lengths[(*key, camera)] = max(length, clip.first_frame + clip.n_rows)
    found: dict[str, ViewFrames] = {}
    missing: dict[str, str] = {}
    for clip in clips:
        subject, action = key = file_key(clip)
        where = f"{subject}/{action}"
        own = sorted(cameras[key])
        number, total = own.index(camera_key(clip)), lengths[(*key, camera_key(clip))]
        there = views.get(subject, {}).get(action)
        if there is None:
            missing[clip.clip] = f"the file has no {where}"
        elif len(there) != len(own):
            missing[clip.clip] = (
                f"{where}: the file has {len(there)} cameras, the store {len(own)}: {own}"
            )
        elif len(there[number]) >= total and stride == 1:
            found[clip.clip] = ViewFrames(there[number][:total], f"{where}, camera {number}")
        elif len(there[number]) == total:
            found[clip.clip] = ViewFrames(there[number], f"{where}, camera {number}")
        elif len(there[number][::stride]) >= total:
            thinned = there[number][::stride][:total]
            found[clip.clip] = ViewFrames(thinned, f"{where}, camera {number}")
        else:
            missing[clip.clip] = (
                f"{where}, camera {number}: the file has {len(there[number])} frames, the store "
                f"{total} at every {stride}. frame"
            )
    if not found:
        some = ", ".join(f"{s}/{a}" for s, actions in views.items() for a in actions)[:200]
        raise SourceError(
            f"The file holds none of the store's recordings ({next(iter(missing.values()))}); it "
            f"has {some}. Give the store of the same data set."
        )
    return found, missing


def in_pinhole_px(values: NDArray[Any], clip: Clip) -> NDArray[np.float64]:
    """Return (T, 17, M, 5) with u, v where a camera without distortion has them, s in px."""
    result = np.asarray(values, dtype=np.float64).copy()
    lens = next((camera.lens for camera in CAMERAS if camera.name == clip.camera), None)
    if lens is not None:
        result[..., 1:3] = lens.straightened(result[..., 1:3])
    result[..., 3:] *= clip.width / 2
    return result


def lifted(
    store: PoseStore, clip: Clip, values: NDArray[Any], attributes: MixtureAttributes
) -> GaussianMixture:
    """Return the mixtures of a clip in space.

    Args:
        store: with the clip's detections.
        clip: whose rows they are.
        values: (T, 17, M, 5) of the file, for these rows.
        attributes: of the mixture group: spec, depth prior, bridging pose or encoder.
    """
    depth = depth_from_json(attributes.depth)
    rows = clip.first_row, clip.first_row + clip.n_rows
    # of the whole clip: an encoder of windows looks at neighbouring frames
    seen = read_observations(store, *rows, heatmaps=False)
    bridge = bridging_poses(seen, attributes)
    kernels = in_pinhole_px(values, clip)
    camera = seen.camera.astype(np.float64)[:, None, None]
    rays = (kernels[..., 1:3] - camera[..., 2:]) / camera[..., :2]
    return lift_kernels(
        torch.from_numpy(kernels[..., 0]),
        torch.from_numpy(rays),
        torch.from_numpy(kernels[..., 3:] / camera[..., :2]),
        depth.mean(bridge),
        depth_variance(depth, clip.n_rows),
        seen.detections().translation_mm(bridge),
        attributes.spec,
    )


def imported_span(
    store: PoseStore,
    span: Span,
    found: dict[str, ViewFrames],
    missing: dict[str, str],
    attributes: MixtureAttributes,
) -> SpanRow:
    """Return a span with its mixtures; clips that the store itself lacks are skipped."""
    row = SpanRow(
        span,
        errors={c.clip: missing[c.clip] for c in span.clips if c.clip in missing},
        skipped=tuple(c.clip for c in span.clips if c.clip not in {*found, *missing}),
    ).with_blank(mixture_fields(attributes.spec))
    for clip in row.good_clips():
        values = found[clip.clip].values[clip.first_frame : clip.first_frame + clip.n_rows]
        mixture = lifted(store, clip, values, attributes)
        row.fill(clip, {name: getattr(mixture, name).numpy() for name in row.arrays})
    return row
