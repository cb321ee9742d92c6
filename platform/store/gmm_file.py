"""DiffPose's own mixture file, data_2d_h36m_NAME_gmm.npz: made from any pose store, and read.

The authors' loader reads ``positions_2d``: subject -> action -> one array per camera,
(T, 17, M, 5), last axis [pi, u, v, s_u, s_v]. pi sums to 1 over the M kernels of a joint; u, v are
px of the original image (distortion included); s is used there as a standard deviation in screen
units, px times 2 / width, although it is named a variance. The authors link theirs (three
kernels with weights 1, 0, 0, says a user's thread); the code that makes it was never released.

Where it is made here, each joint's mixture is fitted by EM to draws from its heatmap, in the image
plane.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import N_JOINTS
from diffpose.model.heatmaps import grid as hm
from diffpose.model.lifting.lifter import row_seeds
from diffpose.model.mixture_fitting.fit import fit_mixtures
from diffpose.model.mixtures.gaussian_mixture import MixtureSpec, joint_kernels
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.safe_pickle import read_npz
from diffpose.platform.base.storage import write_bytes
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.pose_store import PoseStore

_AT_ONCE = 64
# no kernel is narrower than an evenly filled cell would be at a crop of 400 px
_LEAST_SIGMA_PX = 1.0


def clip_mixtures(
    store: PoseStore, clip: Clip, n_kernels: int, n_draws: int, seed: int
) -> NDArray[np.float32]:
    """Return the 2D mixtures of a clip, (T, 17, M, 5), px: [pi, u, v, s_u, s_v], s in px.

    Raises:
        ValueError: a heatmap is empty (names row and joint).
    """
    spec = MixtureSpec(n_kernels=n_kernels, n_draws=n_draws, reg_covar_mm=_LEAST_SIGMA_PX)
    parts = []
    for first in range(clip.first_row, clip.first_row + clip.n_rows, _AT_ONCE):
        stop = min(first + _AT_ONCE, clip.first_row + clip.n_rows)
        seeds = row_seeds(seed, np.arange(first, stop))
        places = hm.sample(
            store.read("heatmaps", first, stop), store.read("heatmap_crop", first, stop), n_draws,
            seeds,
        )  # fmt: skip
        # the third coordinate stays 0: mixtures in the image plane, by the engine for space
        draws = np.zeros((stop - first, N_JOINTS, 3, n_draws), dtype=np.float32)
        draws[:, :, :2] = places.transpose(0, 2, 3, 1)
        fitted = fit_mixtures(torch.from_numpy(draws).permute(0, 3, 1, 2), spec, seeds)
        weights, means, covariances = joint_kernels(fitted, spec)
        sigma = covariances.diagonal(dim1=-2, dim2=-1).sqrt()
        parts.append(torch.cat([weights[..., None], means[..., :2], sigma[..., :2]], -1).numpy())
    return np.concatenate(parts)


def write_gmm_file(uri: str, views: dict[str, dict[str, list[NDArray[np.float32]]]]) -> None:
    """Write subject -> action -> arrays of the cameras, as the authors' loader wants them."""
    buffer = io.BytesIO()
    content: Any = np.empty((), dtype=object)
    content[()] = views
    np.savez_compressed(buffer, positions_2d=content)
    write_bytes(uri, buffer.getvalue())


def read_gmm_file(uri: str) -> dict[str, dict[str, list[NDArray[Any]]]]:
    """Read subject -> action -> arrays (T, 17, M, 5) of the cameras.

    Raises:
        SourceError: the file is missing or another one, or its views differ in M.
    """
    values = read_npz(uri)
    content = values.get("positions_2d")
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise SourceError(
            f"{uri!r} has {', '.join(sorted(values))}; a mixture file has positions_2d: subject, "
            "action, one array per camera."
        )
    kernels = set()
    for subject, actions in content.items():
        for action, views in actions.items():
            for number, view in enumerate(views):
                where = f"{uri}: {subject}/{action}, camera {number}"
                kernels.add(_checked(np.asarray(view), where))
    if len(kernels) != 1:
        raise SourceError(f"{uri!r}: the number of kernels M must be one, found {sorted(kernels)}.")
    return content


def _checked(view: NDArray[Any], where: str) -> int:
    """Return M; the whole array is checked."""
    if view.ndim != 4 or view.shape[1] != N_JOINTS or view.shape[3] != 5:
        hint = (
            " This is a file of keypoints; mixtures are in ..._gmm.npz." if view.ndim == 3 else ""
        )
        raise SourceError(f"{where} has shape {view.shape}; (T, 17, M, 5) is wanted.{hint}")
    if not np.isfinite(view).all():
        raise SourceError(f"{where} holds numbers that are not finite.")
    total = view[..., 0].sum(axis=-1)
    if (view[..., 0] < 0).any() or np.abs(total - 1).max(initial=0) > 1e-2:
        raise SourceError(
            f"{where}: weights must be >= 0 and sum to 1 over the kernels; they sum to "
            f"{total.min():.3g} .. {total.max():.3g}."
        )
    if len(view) and np.abs(view[..., 1:3]).max() <= 3:
        raise SourceError(f"{where}: centres must be in px, not normalised by the image's size.")
    if (view[..., 3:] < 0).any() or view[..., 3:].max(initial=0) > 2:
        raise SourceError(
            f"{where}: spreads are {view[..., 3:].min():.3g} .. {view[..., 3:].max():.3g}; they "
            "are standard deviations in screen units (px times 2 / width), within 0 and 2."
        )
    return int(view.shape[2])
