"""Films for people who look at answers: frame by frame, with the times that frames really have."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.base.storage import filesystem, is_local

Pictures = Iterator[tuple[float, NDArray[np.uint8]]]
_PRESET = "veryfast"
# The index stands before the pictures: a browser plays before it has read all. To put it there
# the encoder opens its file again: it must have a name.
_OPTIONS = {"movflags": "faststart"}


def written_film(out_uri: str, pictures: Pictures, fps: float) -> None:
    """Write an mp4; nothing is left where the writing fails.

    Args:
        out_uri: of the file.
        pictures: time in seconds, ascending, and (H, W, 3) RGB of even sizes, one after the other.
        fps: about how many a second.
    """
    from diffpose.preprocessing.videos.encode import encode

    def write(part: Path) -> None:
        encode(str(part), pictures, fps, crf=20, preset=_PRESET, gop=250, options=_OPTIONS)

    fs, path = filesystem(out_uri)
    if not is_local(out_uri):  # an mp4 is finished at its front: no stream of bytes
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / "film.mp4")
            fs.put_file(str(Path(folder) / "film.mp4"), path)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.partial")
    try:
        write(part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def small_film(film_uri: str, longest_px: int = 720) -> bytes:
    """Return a film as a small mp4 to be put into a page: upright, the film's own times.

    A film that ends in damage ends there. Key frames come often, for those who scrub.

    Args:
        film_uri: the film.
        longest_px: longest side of what is returned.

    Raises:
        SourceError: the film cannot be read.
    """
    from PIL import Image

    from diffpose.preprocessing.videos.decode import DamagedVideoError, decode, inspect_video
    from diffpose.preprocessing.videos.encode import encode

    info = inspect_video(film_uri)
    share = min(longest_px / max(info.width, info.height), 1.0)
    size = (even(share * info.width), even(share * info.height))

    def pictures() -> Pictures:
        try:
            for frame in decode(film_uri):
                image = Image.fromarray(frame.pixels).resize(size, Image.Resampling.BILINEAR)
                yield frame.time_s, np.asarray(image)
        except DamagedVideoError:
            return

    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "film.mp4"
        encode(
            str(part), pictures(), info.average_fps or 25.0,
            crf=27, preset=_PRESET, gop=12, options=_OPTIONS,
        )  # fmt: skip
        return part.read_bytes()


def even(length: float) -> int:
    """Return the next even number: H.264 keeps colours for two pixels each."""
    return max(2 * math.ceil(length / 2), 2)
