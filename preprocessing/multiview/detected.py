"""The same moments of several films, as a store has detected them; the truth that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import MIRROR, N_JOINTS
from diffpose.model.multiview.calibrated_camera import CalibratedCamera
from diffpose.model.multiview.triangulation import (
    Triangulated,
    projected_covariance_px2,
    triangulate,
)
from diffpose.platform.base.errors import SourceError
from diffpose.platform.store.pose_store import PoseStore
from diffpose.preprocessing.videos.sidecar import Truth

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DetectedViews:
    """Synchronous detections of one person; C cameras, n moments.

    Attributes:
        cameras: C, with lenses that do not bend: a store's pixels are such.
        time_s: (n,), moments of the first film.
        rows: (C, n), of the store; -1 where the person was not followed.
        keypoints_px: (C, n, 17, 2); NaN where the row is -1.
        confidence: (C, n, 17), 0 there.
    """

    cameras: list[CalibratedCamera]
    time_s: Array
    rows: NDArray[np.int64]
    keypoints_px: Array
    confidence: Array

    def triangulated(self, without: int | None = None) -> Triangulated:
        """Triangulate, by all views or without one of them.

        Raises:
            SourceError: fewer than two views are left.
        """
        kept = [c for c in range(len(self.cameras)) if c != without]
        if len(kept) < 2:
            raise SourceError(
                f"{len(self.cameras)} cameras are too few: a truth takes two, and one more where "
                "each is to be judged by the others. Give films of more cameras."
            )
        return triangulate([self.cameras[c] for c in kept], self.keypoints_px[kept], mirror=MIRROR)


def detected_views(
    store: PoseStore, cameras: Sequence[CalibratedCamera], films: Sequence[str]
) -> DetectedViews:
    """Put a store's detections of films side by side, by time.

    Where several people were followed at a time, the one who was followed longest is meant.

    Args:
        store: of these films, detected.
        cameras: one of each film.
        films: their names as sources of the store.

    Raises:
        SourceError: nobody was followed in a film.
    """
    found = [_followed(store, film) for film in films]
    time_s = found[0][0]
    step = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 1.0
    rows = np.full((len(films), len(time_s)), -1, dtype=np.int64)
    for c, (own_s, own_rows) in enumerate(found):
        nearest = np.abs(own_s[None] - time_s[:, None]).argmin(axis=1)
        near = np.abs(own_s[nearest] - time_s) <= 0.5 * step
        rows[c, near] = own_rows[nearest[near]]
    keypoints = np.full((*rows.shape, N_JOINTS, 2), np.nan)
    confidence = np.zeros((*rows.shape, N_JOINTS))
    for c in range(len(films)):
        known = rows[c] >= 0
        first, stop = int(rows[c][known].min()), int(rows[c][known].max()) + 1
        at = rows[c][known] - first
        keypoints[c, known] = store.read("keypoints_2d", first, stop)[at]
        confidence[c, known] = store.read("confidence", first, stop)[at]
    straight = [camera.straight for camera in cameras]
    return DetectedViews(straight, time_s, rows, keypoints, confidence)


def _followed(store: PoseStore, film: str) -> tuple[Array, NDArray[np.int64]]:
    """Return times, ascending, and rows of the person of a film."""
    clips = [clip for clip in store.clips() if clip.source == film]
    if not clips:
        raise SourceError(
            f"Nobody was followed in {film}. Look at it (diffpose inspect store={store.uri}), or "
            "leave its camera out."
        )
    length = {t: sum(c.n_rows for c in clips if c.track == t) for t in {c.track for c in clips}}
    of_time: dict[float, int] = {}
    for clip in sorted(clips, key=lambda c: length[c.track]):  # the longest has the last word
        times = store.read("timestamp_s", clip.first_row, clip.first_row + clip.n_rows)
        of_time.update((float(t), clip.first_row + i) for i, t in enumerate(times))
    times_s = sorted(of_time)
    return np.array(times_s), np.array([of_time[t] for t in times_s], dtype=np.int64)


def truth_in(views: DetectedViews, found: Triangulated, camera: int) -> Truth:
    """Return a triangulated truth as a film's sidecar has it: one person, in its camera's frame.

    Joints that are not known are NaN, and so is a whole pose with one: what reads a truth wants
    whole poses.
    """
    seen_by = views.cameras[camera]
    spread = projected_covariance_px2(seen_by, found.points_mm, found.covariance_mm2)
    return Truth(
        views.time_s,
        seen_by.camera_from_world(found.points_mm).astype(np.float32)[None],
        joints_covariance_px2=spread.astype(np.float32)[None],
    )
