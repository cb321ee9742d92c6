#!/usr/bin/env python
"""The whole way on motion that the project makes itself; nothing is downloaded.

    diffpose demo
    diffpose demo folder=/tmp/demo takes_per_action=4
    diffpose demo film=my.mp4          # besides, a film of a real person

Procedural motion capture -> films (mp4) -> people, heatmaps, pose store -> context encoder,
mixtures, denoiser -> evaluation and report -> one question to the served model. A film of your own
is lifted with the run and the detector that come along or are fetched; where no network allows that
the bundled detector looks at it, which knows rendered people. Run again to go on where it stopped.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings, read_yaml, validate
from diffpose.platform.base.errors import DiffPoseError
from diffpose.platform.base.storage import absolute, join, list_names
from diffpose.platform.downloads.get_detector import GetDetectorSettings, get_detector
from diffpose.platform.execution.ray_session import ray_session
from diffpose.platform.store.pose_store import PoseStore
from diffpose.platform.synthesis.render import render
from diffpose.platform.training.settings import TrainSettings
from diffpose.platform.workflows.evaluate import EvaluateSettings, evaluate
from diffpose.platform.workflows.predict import PredictSettings, predict
from diffpose.platform.workflows.preprocess import preprocess
from diffpose.platform.workflows.serve import ServeSettings, serving
from diffpose.platform.workflows.train import train
from diffpose.preprocessing.detectors.registry import first_installed
from diffpose.preprocessing.mocap.procedural.motion import ACTION_NAMES, write_motion_library
from diffpose.preprocessing.render.settings import FilmSettings
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.videos.settings import VideoSource


class DemoSettings(Settings):
    """The whole way on the project's own motion."""

    folder: str = Field("demo", description="where everything goes")
    takes_per_action: int = Field(6, ge=3, description="motions per action")
    duration_s: float = Field(8.0, gt=0.5, description="length of a motion")
    workers: int = Field(2, ge=1, description="tasks and training workers at once")
    encoder_epochs: int | None = Field(None, ge=1, description="default: the recipe's")
    denoiser_epochs: int | None = Field(None, ge=1, description="default: the recipe's")
    film: str | None = Field(None, description="a film of a real person, lifted at the end")
    port: int = Field(8000, ge=1, le=65535, description="port of the served question")
    seed: int = Field(0, ge=0, description="of everything")


def demo(settings: DemoSettings) -> int:
    """Run all steps; returns the exit status."""
    start = time.monotonic()
    folder = absolute(settings.folder)
    motion, films, store, run = (join(folder, n) for n in ("motion", "films", "store", "run"))
    workers = min(settings.workers, os.cpu_count() or 1)

    _say("1/6 motion: procedural motion capture, written as BVH")
    expected = len(ACTION_NAMES) * settings.takes_per_action
    if len(list_names(motion, ".bvh")) < expected:
        write_motion_library(
            motion, ACTION_NAMES, settings.takes_per_action, settings.duration_s, settings.seed
        )
    print(f"{expected} motions in {motion}")

    with ray_session(os.cpu_count()):
        _say("2/6 render: films of the motion, with known truth beside them")
        recipe = read_yaml("configs/render/demo.yaml")
        recipe["source"]["uri"] = motion
        recipe.update(out=films, workers=workers, seed=settings.seed)
        status = render(validate(FilmSettings, recipe))
        if status:
            return status

        _say("3/6 preprocess: decode, find people, heatmaps, pose store")
        recipe = read_yaml("configs/preprocess/demo.yaml")
        recipe["source"]["uri"] = films
        recipe.update(store=store, workers=workers, seed=settings.seed)
        status = preprocess(validate(PreprocessSettings, recipe))
        if status:
            return status

        _say("4/6 train: context encoder, mixtures with its depth, denoiser")
        recipe = read_yaml("configs/train/demo.yaml")
        recipe.update(store=store, run=run, workers=workers, seed=settings.seed)
        for stage in ("encoder", "denoiser"):
            epochs = getattr(settings, f"{stage}_epochs")
            if epochs is not None:
                recipe[f"{stage}_training"]["epochs"] = epochs
        train(validate(TrainSettings, recipe))

        _say("5/6 evaluate: motions and bodies that training never saw")
        evaluate(EvaluateSettings(run=run, store=store, seed=settings.seed))

        _say("6/6 serve: one question over HTTP")
        with serving(ServeSettings(run=run, port=settings.port)) as url:
            _ask(url, PoseStore.open(store))
    if settings.film is not None:
        _say("and a real film: detector and run for real people")
        lift_film(settings.film, join(folder, "film"))
    print(f"\ndone in {time.monotonic() - start:.0f} s; report: {run}/evaluation/report.html")
    return 0


def lift_film(film: str, out: str) -> None:
    """Fetch the real detector if it is not there and can be fetched, and lift the film."""
    if first_installed(VideoSource.default_detectors) != "blazepose":
        try:
            get_detector(GetDetectorSettings(name="blazepose"))
        except DiffPoseError as error:
            print(f"BlazePose could not be fetched; the bundled detector looks. {error}")
    predict(validate(PredictSettings, {"video": film, "out": out}))
    print(f"poses in {out}: .json and .npz per person")


def _ask(url: str, store: PoseStore) -> None:
    """Send one test frame's keypoints and print the answer beside the truth."""
    clip = store.clips("test")[0]
    row = clip.first_row + clip.n_rows // 2
    question = {
        "keypoints": store.read("keypoints_2d", row, row + 1).tolist(),
        "image_width": clip.width,
        "image_height": clip.height,
        "focal_length_px": float(store.read("camera", row, row + 1)[0, 0]),
    }
    request = urllib.request.Request(
        f"{url}/v1/lift",
        data=json.dumps(question).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        answer = json.load(response)
    truth = store.read("pose_3d", row, row + 1)[0]
    pose = np.array(answer["poses_mm"][0])
    error = float(np.linalg.norm(pose - truth, axis=-1).mean())
    print(f"POST {url}/v1/lift: one frame of {clip.action}, N = {answer['n_hypotheses']}")
    print("  joint        x mm   y mm   z mm   std mm   error mm")
    for j, name in enumerate(answer["joints"]):
        x, y, z = pose[j]
        off = float(np.linalg.norm(pose[j] - truth[j]))
        print(f"  {name:10s}{x:7.0f}{y:7.0f}{z:7.0f}{answer['std_mm'][0][j]:9.0f}{off:11.0f}")
    print(f"  MPJPE of this frame {error:.1f} mm (keypoints alone, no heatmaps)")


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(DemoSettings, demo, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
