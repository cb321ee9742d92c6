"""Encoding small real films: what a test needs, from any codec, container and odd property."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def picture(i: int, rows: int, columns: int) -> np.ndarray:
    """Frame i: a ramp, and a bright block that moves with i."""
    y, x = np.mgrid[:rows, :columns]
    image = np.stack([x * 200 // max(columns, 1), y * 200 // max(rows, 1), x * 0 + 60], axis=-1)
    left = (4 * i) % max(columns - 4, 1)
    image[rows // 3 : rows // 3 + 4, left : left + 4] = 250
    return image.astype(np.uint8)


def write_film(
    path: Path,
    n_frames: int = 30,
    size: tuple[int, int] = (64, 96),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    fps: int = 25,
    gop: int = 10,
    container: str | None = None,
    options: dict[str, str] | None = None,
    mux_options: dict[str, str] | None = None,
    times_ms: Sequence[int] | None = None,
    rotation: float = 0,
    audio: bool = False,
    pixel_aspect: Fraction | None = None,
    frame: Callable[[int, int, int], np.ndarray] = picture,
) -> Path:
    """Write a film of ``n_frames``; ``size`` is rows, columns; ``times_ms`` gives each its time."""
    with av.open(str(path), "w", format=container, options=mux_options or {}) as output:
        stream = output.add_stream(codec, rate=fps)
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.gop_size = gop
        stream.codec_context.thread_count = 1
        chosen = dict(options or {})
        if codec == "libx264":  # its look-ahead reads memory that nobody wrote
            given = chosen.get("x264-params")
            chosen["x264-params"] = "rc-lookahead=0" + (f":{given}" if given else "")
        if chosen:
            stream.options = chosen
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation:
            stream.set_display_rotation(rotation)
        sound = output.add_stream("aac", rate=16000, layout="mono") if audio else None
        if sound is not None:
            for k in range(max(n_frames * 16000 // fps // 1024, 2)):
                values = np.zeros((1, 1024), np.float32)
                piece = av.AudioFrame.from_ndarray(values, format="fltp", layout="mono")
                piece.sample_rate, piece.pts = 16000, 1024 * k
                piece.time_base = Fraction(1, 16000)
                output.mux(sound.encode(piece))
            output.mux(sound.encode(None))
        for i in range(n_frames):
            image = av.VideoFrame.from_ndarray(frame(i, *size), format="rgb24")
            if times_ms is not None:
                image.pts, image.time_base = times_ms[i], Fraction(1, 1000)
            output.mux(stream.encode(image))
        output.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """Write a file with an audio stream only."""
    with av.open(str(path), "w") as output:
        sound = output.add_stream("aac", rate=16000, layout="mono")
        for k in range(20):
            piece = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            piece.sample_rate, piece.pts, piece.time_base = 16000, 1024 * k, Fraction(1, 16000)
            output.mux(sound.encode(piece))
        output.mux(sound.encode(None))
    return path
