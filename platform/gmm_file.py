"""DiffPose's own mixture file, data_2d_h36m_NAME_gmm.npz, made from any pose store.

The authors' loader reads ``positions_2d``: subject -> action -> one array per camera,
(T, 17, M, 5), last axis [pi, u, v, s_u, s_v]. pi sums to 1 over the M kernels of a joint; u, v are
px of the original image (distortion included); s is used there as a standard deviation in screen
units, px times 2 / width, although it is named a variance. The file itself was never released.

Here each joint's mixture is fitted by EM to draws from its heatmap, in the image plane.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffpose.model import heatmaps as hm
from diffpose.model.lifter import row_seeds
from diffpose.model.mixture import MixtureSpec, joint_kernels
from diffpose.model.mixture_fit import fit_mixtures
from diffpose.model.skeleton import N_JOINTS
from diffpose.platform.clips import Clip
from diffpose.platform.pose_store import PoseStore
from diffpose.platform.storage import write_bytes

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
