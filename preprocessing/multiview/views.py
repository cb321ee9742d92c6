"""Films, or files of keypoints, of one scene with the camera of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diffpose.model.multiview.calibrated_camera import CalibratedCamera
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import is_local, join, read_bytes, write_bytes
from diffpose.preprocessing.keypoints.recordings import keypoint_recordings
from diffpose.preprocessing.multiview.calibration_files import Unit, read_calibration
from diffpose.preprocessing.videos.decode import inspect_video, named_videos
from diffpose.preprocessing.videos.sidecar import Sidecar, Truth, write_sidecar, write_truth

# A codec's blocks are 16 px: a film may lack that much at its right and lower rim.
_RIM_PX = 16


@dataclass(frozen=True)
class View:
    """What one camera saw.

    Attributes:
        name: of the recording, below its folder.
        uri: of its film, or of its keypoints.
        camera: which saw it, in px of this recording.
        video: in a folder of several videos' OpenPose files, the one that is meant.
    """

    name: str
    uri: str
    camera: CalibratedCamera
    video: str = ""


def find_views(films: str, calibration: str | None = None, unit: Unit | None = None) -> list[View]:
    """Find films and their cameras.

    Args:
        films: folder, file or pattern of films.
        calibration: file or folder (read_calibration); None: it lies with the films.
        unit: of the cameras' places, where the file cannot say it.

    Raises:
        SourceError: either is missing, a film has no camera of its name, or sizes do not fit.
    """
    uris = named_videos(films)
    cameras = matched([*uris], read_calibration(calibration or films, unit))
    views = []
    for name, uri in uris.items():
        info = inspect_video(uri)
        views.append(View(name, uri, sized(cameras[name], (info.width, info.height), uri)))
    return views


def find_keypoint_views(
    folder: str, size: tuple[int, int] | None, calibration: str | None, unit: Unit | None = None
) -> list[View]:
    """Find files of keypoints and their cameras, as `find_views` does films.

    Args:
        folder: of the files.
        size: width and height of the pictures that the keypoints are in, px; None: those that the
            cameras were calibrated with.
        calibration: file or folder; None: with the keypoints.
        unit: of the cameras' places.
    """
    found = keypoint_recordings(folder)
    cameras = matched([*found], read_calibration(calibration or folder, unit))
    return [
        View(
            name, place.uri,
            cameras[name] if size is None else sized(cameras[name], size, place.uri), place.video,
        )
        for name, place in found.items()
    ]  # fmt: skip


def matched(
    names: Sequence[str], cameras: Sequence[CalibratedCamera]
) -> dict[str, CalibratedCamera]:
    """Return the camera of each recording, by their names.

    The same name; else the same letters and numbers without signs and leading zeros; else the same
    last number. The first of these that gives every recording a camera of its own is taken.

    Raises:
        SourceError: none does.
    """
    for key in (_stem, _plain, _last_number):
        found = _matched_by(key, names, cameras)
        if found is not None:
            return dict(found)
    known = {_plain(camera.name) for camera in cameras}
    alone = [name for name in names if _plain(_stem(name)) not in known] or [*names]
    raise SourceError(
        f"No camera of their own for {', '.join(alone)}: the calibration has "
        f"{', '.join(camera.name for camera in cameras)}. Name recordings as their cameras, "
        f"such as {cameras[0].name}.mp4, one of each."
    )


def _matched_by(
    key: Callable[[str], str], names: Sequence[str], cameras: Sequence[CalibratedCamera]
) -> Mapping[str, CalibratedCamera] | None:
    of_key = {key(camera.name): camera for camera in cameras}
    wanted = [key(_stem(name)) for name in names]
    clear = len(of_key) == len(cameras) and len({*wanted}) == len(wanted)
    if not clear or not all(one and one in of_key for one in wanted):
        return None
    return {name: of_key[one] for name, one in zip(names, wanted, strict=True)}


def _stem(name: str) -> str:
    file = name.rsplit("/", 1)[-1]
    stem = file.rpartition(".")[0] or file
    return re.sub(r"(_json|_keypoints)$", "", stem)


def _plain(name: str) -> str:
    parts = re.findall(r"[a-z]+|\d+", name.lower())
    return "".join(str(int(part)) if part.isdigit() else part for part in parts)


def _last_number(name: str) -> str:
    numbers = re.findall(r"\d+", name)
    return str(int(numbers[-1])) if numbers else ""


def sized(camera: CalibratedCamera, size: tuple[int, int], where: str) -> CalibratedCamera:
    """Return a camera in px of pictures of a size, (width, height).

    Pictures of another size but the same shape are scaled ones; those that lack up to 16 px are
    cut at the right and lower rim.

    Raises:
        SourceError: neither is so.
    """
    if camera.width is None or camera.height is None:
        return replace(camera, width=size[0], height=size[1])
    off = [camera.width - size[0], camera.height - size[1]]
    if max(abs(o) for o in off) <= _RIM_PX:
        return replace(camera, width=size[0], height=size[1])
    scale = size[0] / camera.width
    if abs(size[1] / camera.height / scale - 1) > 0.01:
        raise SourceError(
            f"{where} has pictures of {size[0]} x {size[1]} px, camera {camera.name!r} was "
            f"calibrated for {camera.width} x {camera.height}. Give the film as it was calibrated, "
            "or one scaled as a whole."
        )
    fx, fy, cx, cy = (value * scale for value in camera.intrinsics_px)
    return replace(camera, width=size[0], height=size[1], intrinsics_px=(fx, fy, cx, cy))


def with_sidecars(
    folder: str,
    views: Sequence[View],
    truths: Mapping[str, Truth] | None = None,
    splits: Mapping[str, str] | None = None,
) -> list[str]:
    """Put films into a working folder, each with a sidecar that knows its lens.

    Local films are linked to, others copied.

    Args:
        folder: a local one.
        views: the films.
        truths: by a view's name, what is known of its people.
        splits: by a view's name.

    Returns:
        the films' names in the folder, in the views' order.
    """
    names = []
    for view in views:
        suffix = view.uri.rpartition(".")[2]
        name = f"{view.camera.name}.{suffix}"
        uri = join(folder, name)
        if not Path(uri).exists():
            if is_local(view.uri):
                Path(folder).mkdir(parents=True, exist_ok=True)
                Path(uri).symlink_to(Path(view.uri).resolve())
            else:
                write_bytes(uri, read_bytes(view.uri))
        sidecar = Sidecar.model_validate({
            "camera": view.camera.name,
            "intrinsics_px": view.camera.intrinsics_px,
            "distortion_opencv": view.camera.distortion,
            "split": (splits or {}).get(view.name),
        })  # fmt: skip
        truth = (truths or {}).get(view.name)
        if truth is None:
            write_sidecar(uri, sidecar)
        else:
            write_truth(uri, sidecar, truth)
        names.append(name)
    return names
