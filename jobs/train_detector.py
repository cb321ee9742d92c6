#!/usr/bin/env python
"""Train the bundled detector on rendered films: heatmap network, person finder, calibration.

diffpose render --config configs/render/detector.yaml source.uri=DIR_OF_BVH out=FILMS
diffpose train-detector --config configs/train-detector/bundled.yaml films=FILMS run=RUN_DIR
diffpose preprocess source.kind=videos source.uri=... detector.weights=RUN_DIR/detector.safetensors

Films of the train split train, those of the validation split fit the temperatures, those of the
test split are only reported. Run again to go on where it stopped.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import yaml

from diffpose.platform.base import command_line
from diffpose.platform.base.config import differences, to_yaml, validate
from diffpose.platform.base.errors import DiffPoseError, RunError, SourceError
from diffpose.platform.base.progress import Progress
from diffpose.platform.base.storage import (
    absolute,
    exists,
    join,
    list_names,
    read_bytes,
    write_bytes,
    write_json,
)
from diffpose.platform.detector_training.driver import train_part
from diffpose.platform.detector_training.settings import TrainDetectorSettings
from diffpose.platform.execution.ray_session import cluster_cpus, ray_session
from diffpose.platform.execution.ray_stages import run_stages
from diffpose.platform.store.detector_examples import write_examples
from diffpose.platform.workflows.calibrate import CalibrateSettings, fit, print_result
from diffpose.preprocessing.detectors.bundled import save_weights
from diffpose.preprocessing.detectors.examples import examples_of_film
from diffpose.preprocessing.videos.decode import named_videos
from diffpose.preprocessing.videos.sidecar import read_sidecar

_CONTENT = ("films", "init", "examples_per_second", "heatmap_network", "person_network",
            "heatmap_training", "person_training", "seed")  # fmt: skip


def train_detector(settings: TrainDetectorSettings) -> int:
    """Make examples, train both networks, calibrate, save."""
    run = absolute(settings.run)
    settings = settings.model_copy(
        update={
            "run": run,
            "films": absolute(settings.films),
            "init": absolute(settings.init) if settings.init else None,
        }
    )
    _check_run(settings)
    with ray_session():
        if settings.workers * settings.threads > cluster_cpus():
            raise RunError(
                f"workers={settings.workers} with threads={settings.threads} need more than the "
                f"{cluster_cpus()} CPUs that there are. Lower workers= or threads=."
            )
        make_examples(settings)
        heatmap_state, heatmap = train_part(settings, "heatmap")
        person_state, person = train_part(settings, "person")
        description: dict[str, Any] = {
            "heatmap_network": settings.heatmap_network.model_dump(mode="json"),
            "person_network": settings.person_network.model_dump(mode="json"),
            "trained": {
                "settings": settings.model_dump(
                    mode="json",
                    exclude={"run", "films", "init", "weights", "workers", "threads", "gpu"},
                ),
                "heatmap": heatmap_state,
                "person": person_state,
            },
        }
        raw = join(run, "uncalibrated.safetensors")
        save_weights(raw, heatmap, person, description)
        recipe = {
            "source": {"kind": "videos", "uri": held_out_films(settings.films)},
            "detector": {"kind": "bundled", "weights": raw},
            "out": join(run, "calibration.json"),
            "every": 1,
        }
        result = fit(validate(CalibrateSettings, recipe))
    write_json(join(run, "calibration.json"), result)
    print_result(result)
    description["temperature"] = result["temperature"]
    description["calibration"] = {k: result[k] for k in ("coverage", "pck", "fit_frames")}
    for target in (join(run, "detector.safetensors"), settings.weights):
        if target:
            save_weights(target, heatmap, person, description)
            print(f"weights: {target}")
    return 0


def held_out_films(films: str) -> list[str]:
    """Return the films of the validation split, which fits temperatures, and of the test split."""
    found = named_videos(films).values()
    return [uri for uri in found if read_sidecar(uri).split in ("validation", "test")]


def make_examples(settings: TrainDetectorSettings) -> None:
    """Cut the examples out of the films, in parallel; what is there is kept."""
    films = named_videos(settings.films)
    splits = {name: read_sidecar(uri).split for name, uri in films.items()}
    done = {
        split: set(list_names(join(settings.run, "examples", split), ".npz"))
        for split in ("train", "validation")
    }
    left = [
        Film(name, uri, str(splits[name]), i)
        for i, (name, uri) in enumerate(sorted(films.items()))
        if splits[name] in done and _file(name) not in done[str(splits[name])]
    ]
    for split, present in done.items():
        if not present and not any(film.split == split for film in left):
            raise SourceError(
                f"{settings.films!r} has no film whose sidecar says split {split!r}; training "
                "needs train and validation. diffpose render writes them."
            )
    if not left:
        return
    progress = Progress("examples", len(left), "films")
    stage = functools.partial(
        _write_film, run=settings.run, per_second=settings.examples_per_second
    )
    failed = []
    for error in run_stages(left, [stage], None):
        progress.advance(1)
        if error:
            failed.append(error)
    for error in failed[:10]:
        print(f"  left out: {error}")
    if len(failed) == len(left):
        raise SourceError(f"No film of {settings.films!r} gave examples: {failed[0]}")


class Film(NamedTuple):
    """A film to cut examples from, with its split and its number among all."""

    name: str
    uri: str
    split: str
    number: int


def _write_film(film: Film, run: str, per_second: float) -> str:
    """Write a film's examples; returns why there are none, or nothing."""
    try:
        examples = examples_of_film(film.uri, per_second, film.number)
    except DiffPoseError as error:
        return str(error)
    write_examples(join(run, "examples", film.split, _file(film.name)), examples)
    return ""


def _file(name: str) -> str:
    return name.replace("/", "__") + ".npz"


def _check_run(settings: TrainDetectorSettings) -> None:
    uri = join(settings.run, "detector.yaml")
    if exists(uri):
        changed = differences(settings, yaml.safe_load(read_bytes(uri)), _CONTENT)
        if changed:
            raise RunError(
                f"The run {settings.run!r} was begun with other settings:\n  "
                + "\n  ".join(changed)
                + "\nGive another run=, or the settings that it was begun with."
            )
        return
    write_bytes(uri, to_yaml(settings).encode())


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(TrainDetectorSettings, train_detector, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
