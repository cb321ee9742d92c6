"""H.264 films from pictures, one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
# What MPEG counts in: all usual frame rates are whole numbers of it.
_CLOCK = Fraction(1, 90_000)


def encode(
    target: Any,
    pictures: Iterable[tuple[float | None, Picture]],
    fps: float,
    *,
    crf: int,
    preset: str,
    gop: int,
    options: dict[str, str] | None = None,
) -> int:
    """Write an mp4 and return how many frames it has; one thread: same pictures, same bytes.

    Args:
        target: file that is open for writing bytes, or path as text.
        pictures: time in seconds, ascending, and (H, W, 3) RGB of one even size; or no time
            with any of them: they follow each other at ``fps``.
        fps: frames per second, about how many where they have times.
        crf: x264's quality, lower is better.
        preset: x264's.
        gop: frames between key frames, at most.
        options: of the container.
    """
    count, last = 0, -1
    with av.open(target, "w", format="mp4", options=options or {}) as container:
        stream = None
        for time_s, picture in pictures:
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                if time_s is not None:
                    stream.codec_context.time_base = _CLOCK
                stream.codec_context.thread_count = 1
                stream.codec_context.gop_size = gop
                # x264's look-ahead reads memory that nobody wrote: without it alone the same
                # pictures give the same bytes
                stream.options = {
                    "crf": str(crf),
                    "preset": preset,
                    "x264-params": "rc-lookahead=0",
                }
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            if time_s is not None:
                last = max(round(time_s / _CLOCK), last + 1)
                frame.pts, frame.time_base = last, _CLOCK
            container.mux(stream.encode(frame))
            count += 1
        if stream is not None:
            container.mux(stream.encode(None))
    return count
