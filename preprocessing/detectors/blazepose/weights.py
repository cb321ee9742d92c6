"""Where downloaded networks lie, which files are known, and which of them are there."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Literal

from diffpose.platform.base.errors import SourceError

Size = Literal["lite", "full", "heavy"]
PERSON = "pose_detection"
# sha256 of the files in mediapipe 0.10.21 (PyPI) and @mediapipe/pose 0.5.1675469404 (npm).
KNOWN = {
    "pose_detection": "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    "pose_landmark_lite": "f17bfbecadb61c3be1baa8b8d851cc6619c870a87167b32848ad20db306b9d61",
    "pose_landmark_full": "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    "pose_landmark_heavy": "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe",
}
REPAIR = "Get them with: diffpose get-detector blazepose"
INSTALL = "pip install 'diffpose-at-scale[blazepose]'"


def detectors_folder() -> Path:
    """Return the folder of downloaded detectors: $DIFFPOSE_DETECTORS, else the user's cache."""
    named = os.environ.get("DIFFPOSE_DETECTORS")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "diffpose" / "detectors"


def landmark_network(size: Size) -> str:
    """Return the name of the file, without its suffix, of the landmarks' network of a size."""
    return f"pose_landmark_{size}"


def file_of(name: str, folder: str | None) -> Path:
    """Return where a network's file should lie.

    Args:
        name: a key of KNOWN.
        folder: the folder of all; None for the downloaded ones.
    """
    return (detectors_folder() if folder is None else Path(folder)) / f"{name}.tflite"


def is_there(name: str, folder: str | None) -> bool:
    """Tell whether a network's file is there; what is in it is looked at when it is read."""
    return file_of(name, folder).is_file()


def runtime_is_there() -> bool:
    """Tell whether the package that runs the networks is installed, without loading it."""
    return importlib.util.find_spec("ai_edge_litert") is not None


def read_network(name: str, folder: str | None) -> bytes:
    """Return a network's file.

    Raises:
        SourceError: it is missing, or is one of the downloaded ones and not the file that it was:
            a file of a folder that was named may be another release.
    """
    path = file_of(name, folder)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    if folder is None and digest_of(name, None) != KNOWN[name]:
        raise SourceError(
            f"{path} is not the file that it was: its sha256 is {digest_of(name, None)}, it should "
            f"be {KNOWN[name]}. Delete it. {REPAIR}"
        )
    return data


def digest_of(name: str, folder: str | None) -> str:
    """Return the sha256 of a network's file.

    Raises:
        SourceError: it is missing.
    """
    path = file_of(name, folder)
    try:
        seen = path.stat()
        return _digest(str(path), seen.st_size, seen.st_mtime_ns)
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> SourceError:
    return SourceError(f"BlazePose's {path} cannot be read ({error.strerror}). {REPAIR}")


@functools.lru_cache(maxsize=16)
def _digest(path: str, _size: int, _changed: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
