"""Joints in space from several calibrated views that may be wrong, and how sure that is.

Every point of every frame is found by itself; time only decides between answers that the views
support alike. Views are C pictures of the same moment, in pixels of a lens without distortion:

1. Every pair of views gives a candidate, the point nearest to both rays (the minimum of
   sum |(I - d d^T)(X - c)|^2 over cameras at c with rays d, linear in X), and so do all together.
   Each candidate is charged for every view min(r^2 / (3 sigma)^2, 1), r its distance from where
   the view has the joint (RANSAC's consensus with MSAC's cost, Torr & Zisserman, CVIU 78, 2000,
   over all pairs instead of some). Where a left joint has a right twin, a view that fits only with
   the two exchanged is charged `_EXCHANGED` more and counts with them exchanged: detectors mix the
   sides up.
2. From the cheapest one, Gauss-Newton on the reprojection error of the views that fit, with
   Huber's weights; which views fit is asked again with the widths that the residuals show.
3. Covariance s^2 (J^T J)^-1, J the Jacobian in units of sigma, s^2 the joint's mean squared
   residual per degree of freedom (2 m - 3 of m views), over all frames.

Two views test each other by one number alone, so a wrong view agrees with a right one by chance
every now and then. Where only two of three or more agree, and another candidate is as good and far
away, the one that the joint's surer neighbours in time are near is taken; without such, the point
is unknown (NaN).

What all views have wrong alike, such as where a detector believes a hip to be, no residual shows.

Axis legend: C views, n frames, J joints, N = n J points, H candidates.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffpose.model.multiview.calibrated_camera import CalibratedCamera

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Without a word on it: a detector's standard deviation as a share of the person's height in the
# picture (10 to 15 px of 1,000, measured with BlazePose on films of four calibrated cameras).
EXPECTED_SHARE = 0.0125
_GATE = 3.0  # standard deviations within which a view fits a candidate
# ... and the answer: of Gaussian errors in two dimensions 3 in 10,000 lie beyond, so that leaving
# them out takes nothing from the widths that the others show.
_ANSWER_GATE = 4.0
_EXCHANGED = 0.3  # of a view that fits with left and right exchanged alone, of 1 for none
_HUBER = 1.345  # 95 % of least squares' efficiency on Gaussian errors
_ROUNDS, _STEPS = 4, 4  # of asking which views fit, and of Gauss-Newton within each
_MOST_PAIRS = 60
_AS_GOOD = 1.5  # costs that differ by less leave the choice open
_FAR_MM = 100.0  # between candidates that are different answers, and from neighbours in time
_NEIGHBOURS = 15  # frames to either side


@dataclass(frozen=True)
class Triangulated:
    """Points with what is known of their errors; C views, n frames, J joints.

    Attributes:
        points_mm: (n, J, 3), world; NaN where too few views agree.
        covariance_mm2: (n, J, 3, 3), NaN where the point is.
        residual_px: (C, n, J), from where the view has the joint to the point's projection, in
            pixels without distortion; NaN where the view or the point is unknown.
        inlier: (C, n, J), the views that agree with the point.
        exchanged: (C, n, J), those that agree with it with left and right exchanged.
        sigma_px: (J,), what the residuals say of the views' errors per coordinate.
    """

    points_mm: Array
    covariance_mm2: Array
    residual_px: Array
    inlier: Mask
    exchanged: Mask
    sigma_px: Array


@dataclass(frozen=True)
class _Views:
    """The cameras as arrays: rotation (C, 3, 3), centre (C, 3), focal and middle (C, 2)."""

    rotation: Array
    centre: Array
    focal: Array
    middle: Array

    @staticmethod
    def of(cameras: Sequence[CalibratedCamera]) -> _Views:
        intrinsics = np.array([camera.intrinsics_px for camera in cameras])
        return _Views(
            np.array([camera.rotation for camera in cameras]),
            np.array([camera.centre_mm for camera in cameras]),
            intrinsics[:, :2],
            intrinsics[:, 2:],
        )

    def local(self, points: Array) -> Array:
        """Return points (..., 3) in every camera's frame, (C, ..., 3)."""
        flat = points.reshape(-1, 3)
        local = np.einsum("cij,cnj->cni", self.rotation, flat[None] - self.centre[:, None])
        return np.asarray(local.reshape(len(self.centre), *points.shape))

    def project(self, points: Array) -> Array:
        """Return (C, ..., 2); far away for points that are not in front of the camera."""
        local = self.local(points)
        shape = (len(self.centre),) + (1,) * (points.ndim - 1) + (2,)
        z = local[..., 2:]
        seen = local[..., :2] / np.where(z > 1.0, z, 1.0)
        pixels = seen * self.focal.reshape(shape) + self.middle.reshape(shape)
        return np.asarray(np.where(z > 1.0, pixels, 1e6))

    def jacobian(self, points: Array) -> Array:
        """Return d pixel / d world of points (N, 3), (C, N, 2, 3)."""
        x, y, z = np.moveaxis(self.local(points), -1, 0)
        z = np.where(z > 1.0, z, 1.0)
        zero = np.zeros_like(z)
        d = np.stack([np.stack([1 / z, zero, -x / z**2], -1),
                      np.stack([zero, 1 / z, -y / z**2], -1)], axis=-2)  # fmt: skip
        jacobian: Array = np.einsum("cnij,cjk->cnik", d, self.rotation)
        return jacobian * self.focal[:, None, :, None]


def triangulate(
    cameras: Sequence[CalibratedCamera],
    pixels: NDArray[np.floating],
    sigma_px: NDArray[np.floating] | float | None = None,
    mirror: Sequence[int] | None = None,
    least_views: int = 2,
) -> Triangulated:
    """Triangulate joints robustly; the module's docstring states how.

    Args:
        cameras: C, two or more, of different places.
        pixels: (C, n, J, 2), as the films show them (distortion included); NaN where unknown.
        sigma_px: expected errors per coordinate, (C, n, J) or what is broadcast to it; None:
            EXPECTED_SHARE of the person's height in the picture.
        mirror: mirror[j] is the joint that takes j's place when left and right are exchanged; None:
            sides are never exchanged.
        least_views: points that fewer agree on are unknown.

    Raises:
        ValueError: fewer than two cameras or least_views below 2, or shapes that do not fit.
    """
    seen = np.asarray(pixels, dtype=np.float64)
    if len(cameras) < 2 or least_views < 2:
        raise ValueError(
            f"Triangulation needs two views, got {len(cameras)} cameras, least_views={least_views}."
        )
    if seen.ndim != 4 or seen.shape[0] != len(cameras) or seen.shape[-1] != 2:
        raise ValueError(f"pixels must be ({len(cameras)}, n, J, 2), got {seen.shape}.")
    straight = np.stack([c.straightened(p) for c, p in zip(cameras, seen, strict=True)])
    expected = person_sizes_px(straight)[..., None] * EXPECTED_SHARE if sigma_px is None else None
    sigma = np.broadcast_to(np.asarray(sigma_px if expected is None else expected), seen.shape[:3])
    views = _Views.of(cameras)
    start, exchanged = _agreed(views, straight, sigma, mirror)
    twins = straight
    if mirror is not None:  # what is exchanged are two: a joint alone near the other is wrong
        twins = straight[:, :, list(mirror)]
        exchanged = exchanged & np.take(exchanged, list(mirror), axis=2)
    c, n, j = seen.shape[:3]
    used = np.where(exchanged[..., None], twins, straight)
    points, covariance, fits, scale = _refined(
        views, start, used.reshape(c, n * j, 2), sigma.reshape(c, n * j), j, least_views
    )
    points = points.reshape(n, j, 3)
    fits = fits.reshape(c, n, j)
    known = np.asarray(np.isfinite(points).all(axis=-1))
    residual = np.linalg.norm(views.project(np.nan_to_num(points)) - straight, axis=-1)
    residual = np.where(known[None] & np.isfinite(straight).all(axis=-1), residual, np.nan)
    typical = np.array([_median(sigma[:, :, k][fits[:, :, k]]) for k in range(j)])
    return Triangulated(
        points, covariance.reshape(n, j, 3, 3), residual,
        fits & ~exchanged, fits & exchanged, scale * typical,
    )  # fmt: skip


def person_sizes_px(pixels: Array) -> Array:
    """Return the diagonal of the boxes around poses (..., J, 2), (...), px; NaN where unseen."""
    known = np.isfinite(pixels).all(axis=-1, keepdims=True)
    high = np.where(known, pixels, -np.inf).max(axis=-2)
    low = np.where(known, pixels, np.inf).min(axis=-2)
    size = np.linalg.norm(high - low, axis=-1)
    return np.asarray(np.where(np.isfinite(size) & (size > 0), size, np.nan))


def projected_covariance_px2(
    camera: CalibratedCamera, points_mm: NDArray[np.floating], covariance_mm2: Array
) -> Array:
    """Return the covariance of where a camera sees uncertain points, to first order.

    Args:
        camera: that sees them; its distortion is left out.
        points_mm: (..., 3), world.
        covariance_mm2: (..., 3, 3).

    Returns:
        (..., 2, 2), px^2.
    """
    points = np.asarray(points_mm, dtype=np.float64)
    jacobian = (
        _Views.of([camera]).jacobian(points.reshape(-1, 3))[0].reshape(*points.shape[:-1], 2, 3)
    )
    projected: Array = jacobian @ covariance_mm2 @ jacobian.swapaxes(-1, -2)
    return projected


def _agreed(
    views: _Views, straight: Array, sigma: Array, mirror: Sequence[int] | None
) -> tuple[Array, Mask]:
    """Return the points (N, 3) that the views agree on, NaN where they do not, and (C, n, J) which
    views have left and right exchanged."""
    c, n, j = straight.shape[:3]
    own = straight.reshape(c, n * j, 2)
    candidates = _candidates(views, own)  # (H, N, 3)
    projected = views.project(np.nan_to_num(candidates))  # (C, H, N, 2)
    gate = (_GATE * sigma.reshape(c, 1, n * j)) ** 2

    def charge(pixels: Array) -> Array:
        squared = ((projected - pixels[:, None]) ** 2).sum(axis=-1) / gate
        return np.asarray(np.where(np.isfinite(squared), np.minimum(squared, 1.0), 1.0))

    charged = charge(own)
    swapped = np.zeros(charged.shape, dtype=bool)
    if mirror is not None:
        twin = straight[:, :, list(mirror)].reshape(c, n * j, 2)
        other = charge(twin)
        swapped = (charged >= 1) & (other < 1)
        charged = np.where(swapped, other * (1 - _EXCHANGED) + _EXCHANGED, charged)
    cost = charged.sum(axis=0)  # (H, N)
    cost[~np.isfinite(candidates).all(axis=-1)] = np.inf
    best = cost.argmin(axis=0)
    at = np.arange(n * j)
    points = candidates[best, at]
    n_fitting = (charged[:, best, at] < 1).sum(axis=0)
    n_seeing = np.isfinite(own).all(axis=-1).sum(axis=0)
    apart = np.linalg.norm(candidates - points, axis=-1)
    as_good = (cost <= cost[best, at] + _AS_GOOD) & (apart > _FAR_MM)
    # a candidate of two views in front of a third's wrong one is no rival: it fits fewer
    rivals = as_good.any(axis=0) & (n_seeing > 2)
    exact_swap = swapped[:, best, at].sum(axis=0) * 2 >= np.maximum(n_fitting, 1)
    open_ = rivals & ((n_fitting <= 2) | exact_swap)
    points[n_fitting < 2] = np.nan
    chosen = _by_neighbours(points, open_, candidates, as_good, best, n, j)
    points = np.where((chosen >= 0)[:, None], candidates[np.maximum(chosen, 0), at], np.nan)
    points[n_fitting < 2] = np.nan
    return points, swapped[:, np.maximum(chosen, 0), at].reshape(c, n, j)


def _by_neighbours(
    points: Array, open_: Mask, candidates: Array, as_good: Mask, best: NDArray[np.intp],
    n: int, j: int,
) -> NDArray[np.intp]:  # fmt: skip
    """Return the candidate of each point (N,), -1 where nothing decides between rivals."""
    chosen = best.copy()
    sure = np.where(open_[:, None], np.nan, points).reshape(n, j, 3)
    for point in np.flatnonzero(open_):
        frame, joint = divmod(int(point), j)
        near = sure[max(frame - _NEIGHBOURS, 0) : frame + _NEIGHBOURS + 1, joint]
        near = near[np.isfinite(near).all(axis=-1)]
        if len(near) < 3:
            chosen[point] = -1
            continue
        rivals = np.concatenate([[best[point]], np.flatnonzero(as_good[:, point])])
        off = np.linalg.norm(candidates[rivals, point] - np.median(near, axis=0), axis=-1)
        # moving joints leave the median of half a second by some lengths of a hand
        nearest = int(off.argmin())
        chosen[point] = rivals[nearest] if off[nearest] < 4 * _FAR_MM else -1
    return chosen


def _candidates(views: _Views, own: Array) -> Array:
    """Return the points nearest to the rays of each pair of views, and of all, (H, N, 3)."""
    c = len(own)
    rays = (own - views.middle[:, None]) / views.focal[:, None]
    local = np.concatenate([rays, np.ones((*rays.shape[:2], 1))], axis=-1)
    direction = np.einsum("cnj,cji->cni", local, views.rotation)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    across = np.eye(3) - direction[..., :, None] * direction[..., None, :]  # (C, N, 3, 3)
    offset = np.einsum("cnij,cj->cni", across, views.centre)
    pairs = list(itertools.combinations(range(c), 2))
    pairs = pairs[:: -(-len(pairs) // _MOST_PAIRS)]
    known = np.isfinite(direction).all(axis=-1)
    everybody = np.where(known[..., None, None], across, 0).sum(axis=0)
    matrices = [across[a] + across[b] for a, b in pairs] + [everybody]
    sides = [offset[a] + offset[b] for a, b in pairs]
    sides.append(np.where(known[..., None], offset, 0).sum(axis=0))
    return np.stack([_solved(m, s) for m, s in zip(matrices, sides, strict=True)])


def _refined(
    views: _Views, start: Array, pixels: Array, sigma: Array, j: int, least_views: int
) -> tuple[Array, Array, Mask, Array]:
    """Return points (N, 3), covariances, the views that fit (C, N), and s of each joint (J,)."""
    points = start.copy()
    scale = np.ones(j)
    joint = np.arange(len(points)) % j
    for _ in range(_ROUNDS):
        width = sigma * scale[joint]
        off = np.linalg.norm(views.project(np.nan_to_num(points)) - pixels, axis=-1)
        fits = (off < _ANSWER_GATE * width) & np.isfinite(points).all(axis=-1)
        fits &= fits.sum(axis=0) >= least_views
        points[~fits.any(axis=0)] = np.nan
        points = _gauss_newton(views, points, pixels, width, fits)
        left = (views.project(np.nan_to_num(points)) - pixels) / sigma[..., None]
        squared = np.where(fits[..., None], left**2, 0.0).sum(axis=(0, -1))
        freedom = np.maximum(2 * fits.sum(axis=0) - 3, 0)
        scale = _scales(squared, freedom, j)
    weight = np.where(fits, 1 / (sigma * scale[joint]) ** 2, 0.0)
    information = np.einsum(
        "cnij,cnik,cn->njk", *[views.jacobian(np.nan_to_num(points))] * 2, weight
    )
    known = np.isfinite(points).all(axis=-1)
    covariance = np.full((len(points), 3, 3), np.nan)
    covariance[known] = np.linalg.pinv(information[known], hermitian=True)
    return points, covariance, fits, scale


def _scales(squared: Array, freedom: NDArray[np.integer], j: int) -> Array:
    """Return s of each joint, a joint with little to go by taking that of all."""
    total, count = squared.reshape(-1, j).sum(axis=0), freedom.reshape(-1, j).sum(axis=0)
    common = total.sum() / max(int(count.sum()), 1)
    own = np.where(count >= 10, total / np.maximum(count, 1), common)
    return np.asarray(np.sqrt(np.clip(own, 0.01, 9.0)))


def _gauss_newton(views: _Views, points: Array, pixels: Array, width: Array, fits: Mask) -> Array:
    """Move points (N, 3) to the least robust reprojection error over the views that fit."""
    points = points.copy()
    moving = np.flatnonzero(fits.any(axis=0))
    if len(moving) == 0:
        return points
    x = points[moving]
    seen, sigma, fit = pixels[:, moving], width[:, moving], fits[:, moving]
    for _ in range(_STEPS):
        error = np.where(fit[..., None], views.project(x) - seen, 0.0) / sigma[..., None]
        size = np.linalg.norm(error, axis=-1)
        weight = np.where(fit, np.minimum(1.0, _HUBER / np.maximum(size, 1e-12)), 0.0)
        jacobian = views.jacobian(x) / sigma[..., None, None]
        weighted = jacobian * weight[..., None, None]
        matrix = np.einsum("cnij,cnik->njk", weighted, jacobian)
        side = np.einsum("cnij,cni->nj", weighted, error)
        x = x - np.nan_to_num(_solved(matrix, side))
    points[moving] = x
    return points


def _solved(matrix: Array, side: Array) -> Array:
    """Solve symmetric 3 x 3 systems (N, 3, 3), (N, 3); NaN where they are unknown or singular."""
    a, b, c = matrix[:, 0], matrix[:, 1], matrix[:, 2]
    cofactors = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=-1)
    determinant = np.einsum("ni,ni->n", a, cofactors[..., 0])
    size = np.abs(matrix).max(axis=(1, 2)) ** 3
    with np.errstate(invalid="ignore", divide="ignore"):
        solved = np.einsum("nij,nj->ni", cofactors, side) / determinant[:, None]
        return np.asarray(np.where((np.abs(determinant) > 1e-9 * size)[:, None], solved, np.nan))


def _median(values: Array) -> float:
    return float(np.median(values)) if len(values) else float("nan")
