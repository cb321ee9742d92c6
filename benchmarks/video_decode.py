#!/usr/bin/env python
"""Decoding against a bare PyAV loop, two processes against one, memory of a long film.

    python benchmarks/video_decode.py folder=runs/video_decode minutes=20

Makes its own H.264 films (1000 x 1000 and 1920 x 1080, noise and movement). Frames per second of
decode() and of a bare loop, container.decode(video=0) and to_ndarray of its rgb24 pictures, are
measured in turns in one process, CPU time of one thread; medians. The long film goes through
`diffpose preprocess`; the greatest sum of the memory of all its processes (proportional set size)
is kept.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
from pydantic import Field

from diffpose.benchmarks.memory import memory_mb
from diffpose.benchmarks.results import processor, replace_section
from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings
from diffpose.preprocessing.videos.decode import decode

SECTION = "decoding videos"
SIZES = {"1000 x 1000": (1000, 1000), "1920 x 1080": (1080, 1920)}


class BenchmarkSettings(Settings):
    """Decoding videos."""

    folder: str = Field("runs/video_decode", description="where films and stores go")
    frames: int = Field(300, ge=20, description="frames of a film")
    rounds: int = Field(5, ge=0, description="turns, medians are reported; 0 leaves decoding out")
    minutes: float = Field(20.0, ge=0, description="length of the long film; 0 leaves it out")


def benchmark(settings: BenchmarkSettings) -> None:
    """Measure and write the sections."""
    folder = Path(settings.folder)
    folder.mkdir(parents=True, exist_ok=True)
    if settings.rounds:
        measure_decoding(folder, settings)
    if settings.minutes:
        command = f"python benchmarks/video_decode.py folder={settings.folder} rounds=0"
        text = ["## Memory of a long film", "", "```", command, "```", ""]
        text.append(f"{os.cpu_count()} CPU cores ({processor()}). ")
        text[-1] += long_film(folder, settings.minutes)
        replace_section("memory of a long film", "\n".join(text) + "\n")


def measure_decoding(folder: Path, settings: BenchmarkSettings) -> None:
    """Compare decode() with a bare loop, and two processes with one."""
    lines = [
        "## Decoding videos",
        "",
        "```",
        f"python benchmarks/video_decode.py folder={settings.folder} minutes=0 "
        f"frames={settings.frames}",
        "```",
        "",
        f"{os.cpu_count()} CPU cores ({processor()}), one thread per process, "
        f"{settings.frames} frames, median of {settings.rounds} turns, frames per second of CPU "
        "time; two processes: frames per second of wall time, together over alone.",
        "",
        "| film | bare loop | decode() | ratio | two processes / one |",
        "|---|---|---|---|---|",
    ]
    for name, size in SIZES.items():
        path = folder / f"film_{size[1]}x{size[0]}_{settings.frames}.mp4"
        if not path.exists():
            write_film(path, size, settings.frames)
        rates: dict[str, list[float]] = {"bare": [], "ours": []}
        for _ in range(settings.rounds):
            for kind, loop in (("bare", bare_loop), ("ours", our_loop)):
                rates[kind].append(cpu_rate(loop, path, settings.frames))
        bare, ours = (statistics.median(rates[kind]) for kind in ("bare", "ours"))
        alone = statistics.median(wall_rate(path, settings.frames, 1) for _ in range(3))
        both = statistics.median(wall_rate(path, settings.frames, 2) for _ in range(3))
        lines.append(
            f"| {name} | {bare:.0f} | {ours:.0f} | {ours / bare:.2f} | {both / alone:.2f} |"
        )
        print(lines[-1], flush=True)
    replace_section(SECTION, "\n".join(lines) + "\n")


def bare_loop(path: Path) -> int:
    """Decode as one does without a product."""
    count = 0
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        container.streams.video[0].codec_context.thread_count = 1
        for frame in container.decode(video=0):
            # one thread for the colours as well: the default takes as many as there are cores
            rgb = frame.reformat(format="rgb24", threads=1)
            count += len(rgb.to_ndarray()) > 0
    return count


def our_loop(path: Path) -> int:
    """Decode as the product does."""
    return sum(len(frame.pixels) > 0 for frame in decode(str(path)))


def cpu_rate(loop: Callable[[Path], int], path: Path, frames: int) -> float:
    """Return frames per second of CPU time."""
    start = time.process_time()
    assert loop(path) == frames
    return frames / (time.process_time() - start)


def wall_rate(path: Path, frames: int, processes: int) -> float:
    """Return frames per second of wall time of several processes together."""
    with get_context("spawn").Pool(processes) as pool:
        pool.map(our_loop, [path] * processes, chunksize=1)  # imports and page cache
        start = time.perf_counter()
        pool.map(our_loop, [path] * (2 * processes), chunksize=1)
        return 2 * processes * frames / (time.perf_counter() - start)


def write_film(path: Path, size: tuple[int, int], frames: int) -> None:
    """Write a film of moving patterns with noise."""
    rng = np.random.default_rng(0)
    rows, columns = size
    base = rng.integers(30, 220, (rows // 20 + 1, columns // 20 + 1, 3)).repeat(20, 0).repeat(20, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = rows, columns, "yuv420p"
        stream.codec_context.gop_size = 60
        stream.options = {"preset": "ultrafast", "crf": "26"}
        for i in range(frames):
            noise = rng.integers(-8, 9, (rows // 4, columns // 4, 1)).repeat(4, 0).repeat(4, 1)
            picture = np.roll(base, 3 * i, axis=1)[:rows, :columns].astype(np.int16) + noise
            frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def long_film(folder: Path, minutes: float) -> str:
    """Send a long film of a person through preprocess; returns a sentence about its memory."""
    path = folder / "long.mp4"
    if not path.exists():
        _write_long(folder, path, minutes)
    store = folder / f"store_{time.time_ns()}"
    command = [
        sys.executable, "-m", "diffpose.jobs.main", "preprocess", "source.kind=videos",
        f"source.uri={path}", f"store={store}", "stages=detect", "workers=2",
    ]  # fmt: skip
    start = time.monotonic()
    process = subprocess.Popen(command, env={**os.environ, "RAY_ADDRESS": "local"})
    peak = driver = 0.0
    while process.poll() is None:
        own, everyone = memory_mb(process.pid)
        peak, driver = max(peak, everyone / 1024), max(driver, own / 1024)
        time.sleep(0.5)
    assert process.returncode == 0
    seconds = time.monotonic() - start
    frames = round(minutes * 60 * 30)
    return (
        f"A film of {minutes:g} minutes (1920 x 1080, 30 frames per second, {frames} frames) "
        f"through `diffpose preprocess` with the bundled detector and 2 workers: {seconds:.0f} s "
        f"({frames / seconds:.0f} frames/s, decoded twice), peak memory of all processes together "
        f"{peak:.1f} GB (proportional set size), of it the driver {driver:.1f} GB."
    )


def _write_long(folder: Path, path: Path, minutes: float) -> None:
    """Render half a minute of a person and repeat its packets."""
    from diffpose.preprocessing.mocap.procedural.motion import write_motion_library

    write_motion_library(str(folder / "motion"), ("walking",), 1, 30.0, 0)
    films = folder / "films"
    command = [
        sys.executable, "-m", "diffpose.jobs.main", "render", f"source.uri={folder / 'motion'}",
        f"out={films}", "cameras.count=1", "cameras.width=1920", "cameras.height=1080", "fps=30",
        "source.travel_m=50", "cameras.focal_px=1145",
    ]  # fmt: skip
    subprocess.run(command, check=True, env={**os.environ, "RAY_ADDRESS": "local"})
    (part,) = films.glob("*.mp4")
    with av.open(str(part)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = [p for p in source.demux(stream) if p.size]
        data = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in packets]
        assert stream.time_base is not None
        step = round(1 / (30 * float(stream.time_base)))
        for k in range(round(minutes * 60 * 30 / len(data))):
            for content, pts, dts, key in data:
                packet = av.Packet(content)
                packet.pts, packet.dts = ((v or 0) + k * len(data) * step for v in (pts, dts))
                packet.time_base = Fraction(stream.time_base)
                packet.is_keyframe = key
                packet.stream = copy
                target.mux(packet)


def main() -> int:
    """Run from the command line."""
    return command_line.run(BenchmarkSettings, benchmark, sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())
