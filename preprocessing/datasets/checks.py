"""Do a data set's files agree with each other and with its cameras? Every failure names its cause.

Checked view by view: the reprojection of the poses against the keypoints, with left and right as
they are and interchanged, and through the other cameras; bone lengths over time, and of left
against right; frame counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffpose.model.geometry.pinhole import project
from diffpose.model.geometry.skeleton import EDGES, JOINT_NAMES, MIRROR, bone_lengths
from diffpose.platform.base.errors import DiffPoseError
from diffpose.preprocessing.datasets.interface import Array, CameraView, DataSet

# Detections of real people lie within some 10 px of the truth; true keypoints within a rounding.
REPROJECTION_PX = 30.0
_BONE_CHANGE = 0.15  # a bone's standard deviation over its mean; labels of skin markers stay below
_SIDES_APART = 0.2  # left against right, of the same person, in most frames of a view
# A single genuine pose can be odder: MPI-INF-3DHP has one with thighs of 326 and 485 mm.
_FEWEST_FRAMES = 10
_SAMPLE = 200  # frames of a view that are looked at


@dataclass(frozen=True)
class Problem:
    """A failed check.

    Attributes:
        where: recording and camera.
        what: what was measured.
        cause: the likely cause and the repair.
    """

    where: str
    what: str
    cause: str


@dataclass
class Findings:
    """What was found in a data set.

    Attributes:
        subjects: name -> recordings.
        actions: recordings of each.
        cameras: name -> views.
        n_frames: of all views.
        reprojection_px: median of each view that was looked at.
        problems: failed checks.
    """

    subjects: dict[str, int] = field(default_factory=dict)
    actions: dict[str, int] = field(default_factory=dict)
    cameras: dict[str, int] = field(default_factory=dict)
    n_frames: int = 0
    reprojection_px: list[float] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        seen = self.reprojection_px
        return {
            "subjects": self.subjects,
            "actions": self.actions,
            "cameras": self.cameras,
            "frames": self.n_frames,
            "views_checked": len(seen),
            "median_reprojection_px": float(np.median(seen)) if seen else None,
            "worst_reprojection_px": float(np.max(seen)) if seen else None,
            "problems": [vars(problem) for problem in self.problems],
        }


def examine(data: DataSet) -> Iterator[Findings]:
    """Look through a data set; yields the same findings after each recording, for progress.

    Raises:
        SourceError: a file is missing, or another kind of file.
    """
    found = Findings()
    for recording in data.recordings():
        _count(found.subjects, data.subject(recording))
        _count(found.actions, data.action(recording))
        try:
            shots = data.shots(recording)
        except DiffPoseError as error:
            found.problems.append(Problem(recording, "cannot be read", str(error)))
            yield found
            continue
        views: dict[str, CameraView] = {}
        for shot in shots:
            _count(found.cameras, shot.camera)
            found.n_frames += shot.n_frames
            try:
                views[shot.camera] = data.view(recording, shot.camera)
            except DiffPoseError as error:
                where = f"{recording}, camera {shot.camera}"
                found.problems.append(Problem(where, "cannot be used", str(error)))
        for camera, view in views.items():
            others = {name: other for name, other in views.items() if name != camera}
            found.problems += check_view(f"{recording}, camera {camera}", view, others)
            off = _reprojection(*_sample(view))
            if np.isfinite(off):
                found.reprojection_px.append(off)
        lengths = {camera: len(view.joints_mm) for camera, view in views.items()}
        if len(set(lengths.values())) > 1:
            found.problems.append(
                Problem(recording, f"the cameras have {lengths} frames", "a file is cut short")
            )
        yield found


def check_view(where: str, view: CameraView, others: dict[str, CameraView]) -> list[Problem]:
    """Return what is wrong with one camera's part of a recording.

    Args:
        where: recording and camera, for the messages.
        view: that part.
        others: the other cameras' parts.
    """
    joints, points, camera = _sample(view)
    if len(joints) == 0:
        return [Problem(where, "no frame has a pose", "the mask of valid frames is empty")]
    problems = []
    off = _reprojection(joints, points, camera)
    if off > REPROJECTION_PX:
        problems.append(
            Problem(
                where,
                f"the poses' projection misses the keypoints by {off:.0f} px (median)",
                _why_missed(joints, points, camera, others, off),
            )
        )
    # small differences in projection tell the sides when joints are near the truth
    mirrored = _reprojection(joints[:, list(MIRROR)], points, camera)
    if off <= REPROJECTION_PX and mirrored < 0.5 * off and mirrored + 2 < off:
        problems.append(
            Problem(
                where,
                f"with left and right interchanged {mirrored:.1f} px, as they are {off:.1f} px",
                "keypoints_symmetry or the order of joints is another in one of the files",
            )
        )
    return problems + _check_bones(where, joints)


def _check_bones(where: str, joints: Array) -> list[Problem]:
    lengths = bone_lengths(joints)
    mean = lengths.mean(axis=0)
    if (mean < 1).any():
        bone = EDGES[int(mean.argmin())]
        return [
            Problem(
                where,
                f"the bone {_bone(bone)} is {mean.min():.2g} mm long",
                "a joint is missing or twice there: the root was subtracted from itself, or the "
                "choice of joints is another",
            )
        ]
    problems = []
    change = lengths.std(axis=0) / mean
    if change.max() > _BONE_CHANGE:
        worst = int(change.argmax())
        problems.append(
            Problem(
                where,
                f"the bone {_bone(EDGES[worst])} changes by {100 * change[worst]:.0f} %",
                "joints are in another order, poses of several people are mixed, or units change",
            )
        )
    place = {edge: i for i, edge in enumerate(EDGES)}
    for left, right in (((4, 5), (1, 2)), ((5, 6), (2, 3)), ((11, 12), (14, 15))):
        sides = lengths[:, [place[left], place[right]]]
        apart = np.ptp(sides, axis=1) > _SIDES_APART * sides.max(axis=1)
        if len(sides) >= _FEWEST_FRAMES and apart.mean() > 0.5:
            a, b = np.median(sides, axis=0)
            problems.append(
                Problem(
                    where,
                    f"{_bone(left)} is {a:.0f} mm long, {_bone(right)} {b:.0f} mm",
                    "joints are in another order, or one side is another person's",
                )
            )
    return problems


def _why_missed(
    joints: Array, points: Array, camera: Array, others: dict[str, CameraView], off: float
) -> str:
    """Say what would explain keypoints that lie elsewhere."""
    for name, other in others.items():
        theirs, _, their_camera = _sample(other)
        if len(theirs) == len(points) and _reprojection(theirs, points, their_camera) < 0.3 * off:
            return f"the keypoints are those of camera {name}: wrong order of cameras"
    if _reprojection(joints[:, list(MIRROR)], points, camera) < 0.3 * off:
        return "left and right are interchanged in one of the files"
    for shift in (-25, -10, -5, -2, -1, 1, 2, 5, 10, 25):
        a, b = (joints[shift:], points[:-shift]) if shift > 0 else (joints[:shift], points[-shift:])
        if len(a) > 5 and _reprojection(a, b, camera) < 0.3 * off:
            return f"keypoints and poses are {abs(shift)} looked-at frames apart"
    if (np.abs(points.mean(axis=(0, 1))) < 5).all():
        return "the keypoints are normalised or relative to a root; they must be in px"
    return _why_elsewhere(joints)


def _why_elsewhere(joints: Array) -> str:
    """Say what is odd about the places of poses."""
    if len(joints) > 2 and np.ptp(joints[:, 0], axis=0).max() < 1:
        return "the root stands still: poses relative to their root, in place of positions in space"
    depth = float(np.median(joints[:, 0, 2]))
    if not 1000 < depth < 20000:
        return (
            f"the root is {depth:.3g} mm before the camera: wrong units, or poses relative to "
            "their root"
        )
    return "wrong units, wrong order of cameras, or files of different data sets"


def _reprojection(joints: Array, points: Array, camera: Array) -> float:
    """Return the median distance in px; infinite where poses lie behind the camera."""
    if len(joints) == 0 or (joints[..., 2] <= 0).any():
        return float("inf")
    return float(np.median(np.linalg.norm(project(joints, camera) - points, axis=-1)))


def _sample(view: CameraView) -> tuple[Array, Array, Array]:
    known = np.flatnonzero(np.isfinite(view.joints_mm).all(axis=(1, 2)))
    some = known[:: max(len(known) // _SAMPLE, 1)]
    return view.joints_mm[some], view.keypoints_px[some], view.camera_px


def _bone(edge: tuple[int, int]) -> str:
    return f"{JOINT_NAMES[edge[0]]}-{JOINT_NAMES[edge[1]]}"


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1
