"""Writing H.264 films frame by frame, with the times that frames really have."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.base.storage import filesystem, is_local

# What MPEG counts in: all usual frame rates are whole numbers of it.
_CLOCK = Fraction(1, 90_000)


def written_film(
    out_uri: str,
    pictures: Iterator[tuple[float, NDArray[np.uint8]]],
    fps: float,
    *,
    crf: int = 20,
    gop: int = 250,
) -> int:
    """Write an mp4 and return how many frames it has; nothing is left where the writing fails.

    Args:
        out_uri: of the file.
        pictures: time in seconds, ascending, and (H, W, 3) RGB of even sizes, one after the other.
        fps: about how many a second.
        crf: x264's quality, lower is better.
        gop: frames between key frames, at most.
    """
    fs, path = filesystem(out_uri)
    if not is_local(out_uri):  # an mp4 is finished at its front: no stream of bytes
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / "film.mp4"
            count = _write(part, pictures, fps, crf, gop)
            fs.put_file(str(part), path)
        return count
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.partial")
    try:
        count = _write(part, pictures, fps, crf, gop)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return count


def small_film(film_uri: str, longest_px: int = 720, crf: int = 27) -> bytes:
    """Return a film as a small mp4 to be put into a page: upright, the film's own times.

    A film that ends in damage ends there. Key frames come often, for those who scrub.

    Args:
        film_uri: the film.
        longest_px: longest side of what is returned.
        crf: x264's quality, lower is better.

    Raises:
        SourceError: the film cannot be read.
    """
    from PIL import Image

    from diffpose.preprocessing.videos.decode import DamagedVideoError, decode, inspect_video

    info = inspect_video(film_uri)
    share = min(longest_px / max(info.width, info.height), 1.0)
    size = (_even(share * info.width), _even(share * info.height))

    def pictures() -> Iterator[tuple[float, NDArray[np.uint8]]]:
        frames = decode(film_uri)
        while True:
            try:
                frame = next(frames, None)
            except DamagedVideoError:
                return
            if frame is None:
                return
            image = Image.fromarray(frame.pixels).resize(size, Image.Resampling.BILINEAR)
            yield frame.time_s, np.asarray(image)

    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "film.mp4"
        _write(part, pictures(), info.average_fps or 25.0, crf, gop=12)
        return part.read_bytes()


def _even(length: float) -> int:
    return max(2 * round(length / 2), 2)


def _write(
    path: Path,
    pictures: Iterator[tuple[float, NDArray[np.uint8]]],
    fps: float,
    crf: int,
    gop: int,
) -> int:
    import av

    count, last = 0, -1
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = None
        for time_s, picture in pictures:
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.time_base = _CLOCK
                stream.codec_context.gop_size = gop
                stream.codec_context.thread_count = 1
                # x264's look-ahead reads memory that nobody wrote
                stream.options = {
                    "crf": str(crf), "preset": "veryfast", "x264-params": "rc-lookahead=0",
                }  # fmt: skip
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            last = max(round(time_s / _CLOCK), last + 1)
            frame.pts, frame.time_base = last, _CLOCK
            container.mux(stream.encode(frame))
            count += 1
        if stream is not None:
            container.mux(stream.encode(None))
    return count
