#!/usr/bin/env python
"""A film to poses, end to end: frames per second, what each stage takes, memory over time.

    python benchmarks/predict_film.py film=FILM [seconds=60] [folder=runs/predict_film]

Runs `diffpose predict` on the film, repeated to the wanted length, with one process and with two,
and looks at the memory of all its processes every half second (proportional set size, summed). Then
each stage by itself in this process, one thread: decoding, finding people, the detector's look at a
window, summing its heatmaps up, lifting. Writes the section "a film to poses" of
benchmarks/RESULTS.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from pydantic import Field

from diffpose.benchmarks.measure import interleaved, machine, table
from diffpose.benchmarks.measure import section as section_of
from diffpose.benchmarks.memory import MemoryWatch
from diffpose.benchmarks.results import replace_section
from diffpose.model.heatmaps import grid as hm
from diffpose.model.heatmaps.temperature import quantised
from diffpose.model.lifting.lifter import row_seeds
from diffpose.model.observations.initial_distribution import Observations
from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings
from diffpose.platform.base.errors import SourceError
from diffpose.platform.runs.load import load_to_sample
from diffpose.preprocessing.detectors.interface import PixelDetectorKind, windows_around
from diffpose.preprocessing.detectors.registry import (
    DETECTOR_KINDS,
    first_installed,
    person_finder,
)
from diffpose.preprocessing.videos.cut import cut_windows
from diffpose.preprocessing.videos.decode import decode
from diffpose.preprocessing.videos.settings import PeopleSettings, VideoSource

_FRAMES = 24  # each stage is timed on so many


class FilmBenchmark(Settings):
    """From a film to poses."""

    film: str = Field(description="a film of a person, local")
    seconds: float = Field(60.0, gt=1, description="length to which it is repeated")
    folder: str = Field("runs/predict_film", description="where the long film and answers go")
    run: str = Field("shipped://windows", description="run directory")
    detector: str | None = Field(None, description="kind; default: as diffpose predict has it")


def benchmark(settings: FilmBenchmark) -> int:
    """Measure and write the section."""
    torch.set_num_threads(1)
    kind = settings.detector or first_installed(VideoSource.default_detectors)
    folder = Path(settings.folder)
    folder.mkdir(parents=True, exist_ok=True)
    stages = stage_times(settings, kind)
    film, frames, size = repeated(settings.film, folder, settings.seconds)
    runs = [whole(settings, kind, film, folder, workers) for workers in (1, 2)]
    lines = [
        f"A film of {size}, {frames} frames, detector {kind}, run {settings.run}. {machine()}.",
        "",
        *table(
            [
                "processes",
                "s",
                "frames/s",
                "memory: greatest MB",
                "at half time MB",
                "at the end MB",
            ],
            [
                [n, f"{r['s']:.0f}", f"{frames / r['s']:.1f}", *(f"{m:.0f}" for m in r["memory"])]
                for n, r in zip((1, 2), runs, strict=True)
            ],
        ),
        "",
        *table(
            ["stage", "ms per frame, one thread"],
            [[name, f"{1000 * s:.1f}"] for name, s in stages.items()],
        ),
        "",
        "People are looked for ten times a second, the rest is done for every frame. Starting Ray "
        "and its processes is part of the seconds above.",
    ]
    command = f"python benchmarks/predict_film.py film=FILM seconds={settings.seconds:g}"
    replace_section("a film to poses", section_of("A film to poses", command, lines))
    return 0


def repeated(film: str, folder: Path, seconds: float) -> tuple[Path, int, str]:
    """Write the film, repeated, as H.264; return it, its frames and its size as text."""
    target = folder / f"{Path(film).stem}_{seconds:g}s.mp4"
    with av.open(film) as source:
        stream = source.streams.video[0]
        rate, width, height = stream.average_rate, stream.width, stream.height
    assert rate is not None
    wanted = int(seconds * rate)
    if not target.exists():
        with av.open(str(target), "w") as out:
            made = out.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
            made.width, made.height, made.pix_fmt = width, height, "yuv420p"
            n = 0
            while n < wanted:
                with av.open(film) as source:
                    for frame in source.decode(video=0):
                        if n == wanted:
                            break
                        picture = av.VideoFrame.from_ndarray(
                            frame.to_ndarray(format="rgb24"), format="rgb24"
                        )
                        out.mux(made.encode(picture))
                        n += 1
            out.mux(made.encode(None))
    return target, wanted, f"{width} x {height} at {float(rate):.3g} frames per second"


def whole(
    settings: FilmBenchmark, kind: str, film: Path, folder: Path, workers: int
) -> dict[str, Any]:
    """Run diffpose predict in processes of its own; seconds, and memory (greatest, half, end)."""
    out = folder / f"answers_{workers}_{time.time_ns()}"
    command = [
        sys.executable, "-m", "diffpose.jobs.main", "predict", f"run={settings.run}",
        f"video={film}", f"out={out}", f"detector.kind={kind}", f"workers={workers}",
    ]  # fmt: skip
    start = time.monotonic()
    with (
        subprocess.Popen(
            command, env={**os.environ, "RAY_ADDRESS": "local"}, stdout=subprocess.DEVNULL
        ) as process,
        MemoryWatch(process.pid) as watch,
    ):
        status = process.wait()
    if status:
        raise SourceError(f"{' '.join(command)} ended with status {status}.")
    seen = watch.mb
    return {
        "s": time.monotonic() - start,
        "memory": (max(seen), seen[len(seen) // 2], seen[max(len(seen) - 6, 0)]),
    }


def stage_times(settings: FilmBenchmark, kind: str) -> dict[str, float]:
    """Return seconds per frame of each stage."""
    detector_settings = DETECTOR_KINDS[kind]()
    assert isinstance(detector_settings, PixelDetectorKind)
    frames = []
    for frame in decode(settings.film):
        frames.append(frame.pixels)
        if len(frames) == _FRAMES:
            break
    detector = detector_settings.open("cpu")
    finder = person_finder(PeopleSettings(), detector_settings, "cpu")
    boxes = finder.find(np.stack(frames[:1]))[0]
    if not len(boxes):
        raise SourceError(f"Nobody was found in the first frame of {settings.film}.")
    rows, columns = detector.input_size
    window = windows_around(boxes[:1, :4], (rows, columns))
    pixels = np.concatenate([cut_windows(frame, window, (rows, columns)) for frame in frames])
    windows = np.repeat(window, len(frames), axis=0)
    heatmaps, crops = detector.detect(pixels, windows)
    maps = quantised(heatmaps, np.ones(17))
    height, width = frames[0].shape[:2]
    camera = np.tile(
        [1.145 * max(height, width), 1.145 * max(height, width), width / 2, height / 2],
        (len(frames), 1),
    ).astype(np.float32)
    seen = Observations.from_heatmaps(maps, crops, camera)
    lifter, sampling = load_to_sample(settings.run, {"smooth": "none"})
    seeds = row_seeds(0, np.arange(len(frames)))

    def decoded() -> None:
        for i, _ in enumerate(decode(settings.film)):
            if i + 1 == len(frames):
                break

    work: dict[str, Callable[[], object]] = {
        "decode": decoded,
        "find people (a look)": lambda: finder.find(np.stack(frames[:4])),
        "cut": lambda: [cut_windows(frame, window, (rows, columns)) for frame in frames],
        "detect": lambda: detector.detect(pixels[:6], windows[:6]),
        "sum up heatmaps": lambda: hm.summarise(maps, crops),
        "lift": lambda: lifter.lift(seen, sampling, seeds),
    }
    per_call = {"find people (a look)": 4, "detect": 6}
    taken = interleaved(work, 3, time.perf_counter)
    return {name: s / per_call.get(name, len(frames)) for name, s in taken.items()}


if __name__ == "__main__":
    raise SystemExit(command_line.run(FilmBenchmark, benchmark, sys.argv[1:]))
