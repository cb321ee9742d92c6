#!/usr/bin/env python
"""Videos, or keypoint files alone, in; 3D poses with their uncertainty out, as files.

diffpose predict video=VIDEO out=DIR
diffpose predict video=[a.mp4,b.mp4] out=DIR people.several=true detector.kind=vitpose
diffpose predict run=RUN_DIR keypoints=FILE_OR_FOLDER width=1920 height=1080 fps=30 out=DIR

Writes per person VIDEO_person_K.npz (poses, hypotheses, spread, covariances, keypoints, times) and
.json (the same without hypotheses). Run again to go on where it stopped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from pydantic import Field, model_validator

from diffpose.model.lifting.sampling import Refine, Smooth
from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings, validate
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.progress import Progress
from diffpose.platform.base.storage import absolute, exists, join, read_json
from diffpose.platform.execution.ray_session import ray_session
from diffpose.platform.execution.ray_stages import run_stages
from diffpose.platform.prediction.predict import LiftPerson, file_names, make_predict_fn, people_of
from diffpose.platform.runs.load import load_to_sample
from diffpose.platform.runs.model_files import answer_digests
from diffpose.platform.store.pose_store import PoseStore
from diffpose.platform.workflows.preprocess import print_summary
from diffpose.preprocessing.detectors.bundled import BundledSettings
from diffpose.preprocessing.detectors.registry import DetectorSettings, first_installed
from diffpose.preprocessing.keypoints.recordings import KeypointSource
from diffpose.preprocessing.pipeline import detect
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.videos.settings import PeopleSettings, VideoSource


class PredictSettings(Settings):
    """Lift the people of videos or keypoint files with a trained run. Restartable."""

    run: str = Field(
        "shipped://windows",
        description="run directory with a trained model; default: the one that comes along "
        "(docs/shipped-runs.md; shipped://frames looks at each frame for itself)",
    )
    video: str | list[str] | None = Field(
        None, description="file, folder, pattern with *, or a list of these"
    )
    keypoints: str | None = Field(
        None, description="instead of videos: file or folder of keypoints (source.kind=keypoints)"
    )
    width: int | None = Field(None, ge=1, description="of the keypoints' images, px")
    height: int | None = Field(None, ge=1, description="of the keypoints' images, px")
    out: str = Field(description="folder for the results; the detections are kept in OUT/store")
    fps: float | None = Field(
        None,
        gt=0,
        description="videos: thin out to this rate; default: all "
        "frames. Keypoints: the files' frames per second; default 30",
    )
    focal_px: float | None = Field(
        None, gt=0, description="focal length; default: the sidecar's, or 1.145 x the longer side"
    )
    people: PeopleSettings = Field(PeopleSettings(), description="whom to follow")
    detector: DetectorSettings = Field(
        BundledSettings(),
        description="kind=blazepose (default where it is installed), bundled (default elsewhere), "
        "vitpose, onnx or recorded; with keypoints= recorded",
    )
    calibration: str | None = Field(None, description="file of diffpose calibrate")
    n_hypotheses: int | None = Field(None, ge=1, le=1000, description="N; default: the run's own")
    refine: Refine | None = Field(
        None,
        description="none, frame or clip: move the poses to where heatmaps and bone lengths want "
        "them; clip: a person's bones have one length throughout; default: the run's own",
    )
    smooth: Smooth | None = Field(
        None,
        description="none, clip or causal: smooth the poses over time by their covariances; clip: "
        "by all frames of a person, causal: by those before; default: the run's own",
    )
    height_m: float | None = Field(
        None,
        ge=0.5,
        le=2.7,
        description="standing height of the person (of every person of this call): poses and "
        "places are scaled to it; default: as tall as they look to the model",
    )
    detector_gpus: float = Field(0.0, ge=0, description="GPUs of each detecting process")
    seed: int = Field(0, ge=0, description="of the hypotheses")
    workers: int | None = Field(None, ge=1, description="tasks at once; default: all CPUs")

    @model_validator(mode="before")
    @classmethod
    def _detector_that_fits(cls, values: Any) -> Any:
        detector = values.get("detector", {}) if isinstance(values, dict) else None
        if not isinstance(detector, dict):
            return values
        if values.get("keypoints") is None:
            kind = first_installed(VideoSource.default_detectors)
            return {**values, "detector": {"kind": kind, **detector}}
        given = {"kind": first_installed(KeypointSource.default_detectors), **detector}
        completed = KeypointSource.completed({"uri": values["keypoints"]}, given)
        return {**values, "detector": completed}

    @model_validator(mode="after")
    def _videos_or_keypoints(self) -> PredictSettings:
        if (self.video is None) == (self.keypoints is None):
            raise ValueError("give either video= or keypoints=")
        if self.keypoints is not None and (self.width is None or self.height is None):
            raise ValueError("keypoints= needs width= and height=, the size of their images in px")
        return self


def predict(settings: PredictSettings) -> int:
    """Detect, lift, write; returns the exit status."""
    run, out = absolute(settings.run), absolute(settings.out)
    asked = {
        "n_hypotheses": settings.n_hypotheses,
        "refine": settings.refine,
        "smooth": settings.smooth,
    }
    overrides = {name: value for name, value in asked.items() if value is not None}
    # says what is wrong before any video is decoded
    _, sampling = load_to_sample(run, overrides)
    source: dict[str, Any] = {"kind": "videos", "uri": settings.video, "fps": settings.fps}
    if settings.keypoints is not None:
        size = {"width": settings.width, "height": settings.height}
        source = {"kind": "keypoints", "uri": settings.keypoints, "fps": settings.fps or 30.0}
        source.update(size)
    recipe = {
        "source": {**source, "focal_px": settings.focal_px},
        "store": join(out, "store"),
        "people": settings.people.model_dump(),
        "detector": settings.detector.model_dump(),
        "calibration": settings.calibration,
        "detector_gpus": settings.detector_gpus,
        "workers": settings.workers,
        "stages": ["detect"],
    }
    with ray_session(settings.workers):
        summary = detect(validate(PreprocessSettings, recipe).with_absolute_uris())
        print_summary("detect", summary)
        store = PoseStore.open(join(out, "store"))
        people = people_of(store.clips())
        if not people:
            reasons = "; ".join(f"{name}: {why}" for name, why in summary.failed.items())
            raise SourceError(
                f"Nobody could be followed in {settings.video or settings.keypoints!r}. {reasons}"
            )
        about: dict[str, Any] = {
            "run": answer_digests(run), "sampling": sampling.model_dump(), "seed": settings.seed,
        }  # fmt: skip
        if settings.height_m is not None:
            about["height_m"] = settings.height_m
        left: list[LiftPerson] = []
        for person, file in zip(people, file_names(people), strict=True):
            # clips that failed before may be there now
            frames = [[clip.clip, clip.n_rows] for clip in person.clips]
            question = json.dumps({**about, "clips": frames}, sort_keys=True)
            if not _answered(join(out, f"{file}.json"), question):
                left.append(LiftPerson(person, file, question))
        progress = Progress("lift", len(people), "people", already=len(people) - len(left))
        stage = make_predict_fn(
            store.uri, run, overrides, settings.seed, out, height_m=settings.height_m
        )
        for done in run_stages(left, [stage], settings.workers):
            progress.advance(1)
            print(f"  {out}/{done.file}.json: {done.frames} frames")
    return 0


def _answered(uri: str, question: str) -> bool:
    """Tell whether the answer to this very question is there."""
    return exists(uri) and read_json(uri).get("question") == question


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(PredictSettings, predict, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
