"""What is known of a video besides its pixels: ``NAME.json`` next to ``NAME.mp4``.

    {"subject": "S1", "action": "walking", "camera": "camera_0", "split": "test",
     "intrinsics_px": [fx, fy, cx, cy], "distortion": [k1, k2, k3, p1, p2],
     "truth": "NAME.truth.npz"}

Every key is optional. ``distortion`` is of Human3.6M's model; ``distortion_opencv`` is that of
OpenCV and most calibration programs, in its order k1, k2, p1, p2, k3. ``truth`` names an npz file
beside it (plain arrays, no pickles) with
``timestamp_s`` (T,) and ``joints_mm`` (P, T, 17, 3): P people in the camera frame (x right, y down,
z forward, origin in the camera), H36M-17 order, NaN where a person is absent; and, if known,
``boxes_px`` (P, T, 4: x0, y0, x1, y1), the box around each person's silhouette, and
``joints_covariance_px2`` (P, T, 17, 2, 2), how far off the true joints' places in the picture may
be themselves, where they were measured (triangulated) rather than known.
"""

from __future__ import annotations

import io
import json
import zlib
from dataclasses import dataclass
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from diffpose.model.geometry.lens import Lens
from diffpose.model.geometry.pinhole import project
from diffpose.model.geometry.skeleton import N_JOINTS
from diffpose.platform.base.config import Settings
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import exists, join, read_bytes, write_bytes, write_json
from diffpose.platform.store.clips import Split


class Sidecar(Settings):
    """The JSON file beside a video."""

    subject: str | None = Field(None, description="who moves")
    action: str | None = Field(None, description="what is done")
    camera: str | None = Field(None, description="name of the camera")
    split: Split | None = Field(None, description="train, validation or test")
    intrinsics_px: tuple[float, float, float, float] | None = Field(
        None, description="fx, fy, cx, cy of the upright image in px"
    )
    distortion: tuple[float, float, float, float, float] | None = Field(
        None,
        description="k1, k2, k3, p1, p2 of the lens (model/geometry/lens.py); taken out after "
        "detection",
    )
    distortion_opencv: tuple[float, float, float, float, float] | None = Field(
        None, description="instead: k1, k2, p1, p2, k3, OpenCV's model and order"
    )
    truth: str | None = Field(None, description="npz file beside it, with the true poses")

    @model_validator(mode="after")
    def _lens_is_whole(self) -> Sidecar:
        if self.intrinsics_px is not None and not (
            np.isfinite(self.intrinsics_px).all() and min(self.intrinsics_px[:2]) > 0
        ):
            raise ValueError(
                "intrinsics_px must be finite with fx and fy above 0, got "
                f"{list(self.intrinsics_px)}"
            )
        if self.distortion is not None and self.distortion_opencv is not None:
            raise ValueError("a lens has distortion or distortion_opencv; leave one of them out")
        for name in ("distortion", "distortion_opencv"):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value).all():
                raise ValueError(f"{name} must be finite, got {list(value)}")
            if value is not None and self.intrinsics_px is None:
                raise ValueError(f"{name} needs intrinsics_px, the lens that it is of")
        return self

    @property
    def lens(self) -> Lens | None:
        """Return the lens whose distortion is to be taken out, None where it has none."""
        if self.intrinsics_px is None:
            return None
        if self.distortion_opencv is not None:
            return Lens.opencv(self.intrinsics_px, np.array(self.distortion_opencv))
        if self.distortion is None:
            return None
        fx, fy, cx, cy = self.intrinsics_px
        return Lens((fx, fy), (cx, cy), self.distortion[:3], self.distortion[3:])

    def project_px(self, points_mm: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return where the film shows points of the camera frame, (..., 3) to (..., 2), px.

        Distortion included, unlike in a store, whose keypoints are those of a straight lens.
        ``intrinsics_px`` must be known.
        """
        if self.intrinsics_px is None:
            raise ValueError("the film's intrinsics_px are not known")
        points = points_mm.astype(np.float64)
        lens = self.lens
        return (
            project(points, np.array(self.intrinsics_px)) if lens is None else lens.project(points)
        )


@dataclass(frozen=True)
class Truth:
    """True poses along a video.

    Attributes:
        timestamp_s: (T,), ascending.
        joints_mm: (P, T, 17, 3), camera frame; NaN where a person is absent.
        boxes_px: (P, T, 4), around each silhouette, or None where unknown.
        joints_covariance_px2: (P, T, 17, 2, 2), of the true joints' own places in the picture, or
            None where they are known.
    """

    timestamp_s: NDArray[np.float64]
    joints_mm: NDArray[np.float32]
    boxes_px: NDArray[np.float32] | None = None
    joints_covariance_px2: NDArray[np.float32] | None = None

    def at(self, times_s: NDArray[np.floating]) -> NDArray[np.intp]:
        """Return for each time the index of the nearest known moment, -1 where none is near.

        Near is half a typical distance between known moments.
        """
        if len(self.timestamp_s) == 0:
            return np.full(len(times_s), -1)
        after = np.clip(np.searchsorted(self.timestamp_s, times_s), 1, len(self.timestamp_s) - 1)
        after = np.minimum(after, len(self.timestamp_s) - 1)
        before = np.maximum(after - 1, 0)
        nearer_before = np.abs(times_s - self.timestamp_s[before]) <= np.abs(
            self.timestamp_s[after] - times_s
        )
        nearest = np.where(nearer_before, before, after)
        gaps = np.diff(self.timestamp_s)
        reach = 0.501 * float(np.median(gaps)) if len(gaps) else 0.001
        near = np.abs(self.timestamp_s[nearest] - times_s) <= max(reach, 1e-6)
        return np.where(near, nearest, -1)


def sidecar_uri(video_uri: str) -> str:
    """Return where the sidecar of a video lies."""
    return _stem(video_uri) + ".json"


def read_sidecar(video_uri: str) -> Sidecar:
    """Read the sidecar of a video; an empty one where there is none.

    Raises:
        SourceError: it is no JSON, or has unknown keys or wrong values.
    """
    uri = sidecar_uri(video_uri)
    if not exists(uri):
        return Sidecar()
    try:
        content = json.loads(read_bytes(uri))
        if not isinstance(content, dict) or {"annotations", "instance_info", "people"} & {*content}:
            raise SourceError(
                f"{uri} looks like keypoints, but a JSON file beside a video is its sidecar. Put "
                "keypoints into another folder (detector.uri=FOLDER)."
            )
        return Sidecar.model_validate(content)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SourceError(f"{uri} is no JSON: {error}") from None
    except ValidationError as error:
        what = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SourceError(
            f"{uri} is no sidecar of a video: {what}. Known keys: "
            + ", ".join(Sidecar.model_fields)
            + "."
        ) from None


def read_truth(video_uri: str, sidecar: Sidecar) -> Truth | None:
    """Read the true poses that a sidecar names; None where it names none.

    Raises:
        SourceError: the file is missing, is no npz of plain arrays, or has wrong shapes.
    """
    if sidecar.truth is None:
        return None
    uri = join(video_uri.rpartition("/")[0] or ".", sidecar.truth)
    try:
        with np.load(io.BytesIO(read_bytes(uri)), allow_pickle=False) as arrays:
            found: dict[str, Any] = {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise SourceError(
            f"{sidecar_uri(video_uri)} names the truth file {sidecar.truth!r}, and there is no "
            f"{uri}. Put it there, or take the key out."
        ) from None
    except (ValueError, OSError, EOFError, TypeError, BadZipFile, zlib.error) as error:
        raise SourceError(f"{uri} is no npz file of plain arrays: {error}") from None
    missing = {"timestamp_s", "joints_mm"} - found.keys()
    if missing:
        raise SourceError(f"{uri} lacks {', '.join(sorted(missing))}; it has {sorted(found)}.")
    times, joints = found["timestamp_s"], found["joints_mm"]
    if joints.ndim != 4 or joints.shape[1:] != (len(times), N_JOINTS, 3):
        raise SourceError(
            f"{uri}: joints_mm must be (people, {len(times)} moments, {N_JOINTS}, 3), got "
            f"{joints.shape}."
        )
    if np.any(np.diff(times) <= 0) or not np.isfinite(times).all():
        raise SourceError(f"{uri}: timestamp_s must rise from each moment to the next.")
    boxes = found.get("boxes_px")
    if boxes is not None and boxes.shape != (*joints.shape[:2], 4):
        raise SourceError(f"{uri}: boxes_px must be {(*joints.shape[:2], 4)}, got {boxes.shape}.")
    own = found.get("joints_covariance_px2")
    if own is not None and own.shape != (*joints.shape[:3], 2, 2):
        raise SourceError(
            f"{uri}: joints_covariance_px2 must be {(*joints.shape[:3], 2, 2)}, got {own.shape}."
        )
    return Truth(times.astype(np.float64), joints.astype(np.float32), boxes, own)


def write_truth(video_uri: str, sidecar: Sidecar, truth: Truth) -> None:
    """Write truth and sidecar beside a video; the sidecar comes last."""
    name = _stem(video_uri).rpartition("/")[2] + ".truth.npz"
    arrays: dict[str, Any] = {"timestamp_s": truth.timestamp_s, "joints_mm": truth.joints_mm}
    if truth.boxes_px is not None:
        arrays["boxes_px"] = truth.boxes_px
    if truth.joints_covariance_px2 is not None:
        arrays["joints_covariance_px2"] = truth.joints_covariance_px2
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_bytes(_stem(video_uri) + ".truth.npz", buffer.getvalue())
    write_sidecar(video_uri, sidecar.model_copy(update={"truth": name}))


def write_sidecar(video_uri: str, sidecar: Sidecar) -> None:
    """Write the sidecar of a video."""
    write_json(sidecar_uri(video_uri), sidecar.model_dump(mode="json", exclude_none=True))


def _stem(video_uri: str) -> str:
    folder, slash, name = video_uri.rpartition("/")
    return folder + slash + name.rpartition(".")[0]
