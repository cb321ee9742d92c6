"""Lifting everything that a store holds: poses and their uncertainty per person, as files."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from diffpose.model.lifting.facts import scale_to_height
from diffpose.model.lifting.interface import Lifter
from diffpose.model.lifting.lifter import row_seeds
from diffpose.model.lifting.long_sequence import lift_in_parts
from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.observations.initial_distribution import Observations
from diffpose.model.observations.plausibility import plausibility
from diffpose.platform.answers.answer import Answer
from diffpose.platform.answers.files import claimed_std_mm, write_answer
from diffpose.platform.answers.quality import quality
from diffpose.platform.execution.ray_stages import Stage
from diffpose.platform.prediction.unseen import covering_unseen, spread_mm
from diffpose.platform.runs.load import load_to_sample
from diffpose.platform.runs.uncertainty_file import (
    Predicted,
    load_recalibration,
    predict_uncertainty,
)
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.observations import read_observations
from diffpose.platform.store.pose_store import PoseStore

# Name in the answer's file -> field of the store.
_STORED = {
    "timestamp_s": "timestamp_s",
    "keypoints_px": "keypoints_2d",
    "confidence": "confidence",
    "camera_px": "camera",
}


# A joint that was not detected has a heatmap as wide as a quarter of the person: some 2 % of its
# mass lie around its peak; of a detected one 10 % and more.
LEAST_SEEN = 0.05


@dataclass(frozen=True)
class Person:
    """One person of one video: clips that follow each other.

    Attributes:
        source: name of the video.
        track: which track of it; numbers are left out where tracks were too short to be kept.
        number: 0, 1, ... among the people of the video.
        clips: in order.
    """

    source: str
    track: int
    number: int
    clips: tuple[Clip, ...]

    def file(self, *, whole_name: bool) -> str:
        """Return the name of this person's files, without their suffix.

        Args:
            whole_name: keep the video's suffix in it.
        """
        stem = self.source if whole_name else self.source.rpartition(".")[0] or self.source
        return f"{stem.replace('/', '__')}_person_{self.number}"


@dataclass(frozen=True)
class LiftPerson:
    """A person to be lifted.

    Attributes:
        person: whose clips.
        file: name of the answer's files, without their suffix.
        question: what the answer depends on besides the detections' content, as text.
    """

    person: Person
    file: str
    question: str


class Written(NamedTuple):
    """An answer that was written.

    Attributes:
        file: its files' name without suffix.
        frames: how many it has.
        doubt: why the observations under it may be worthless, or "".
    """

    file: str
    frames: int
    doubt: str = ""


def people_of(clips: Sequence[Clip]) -> list[Person]:
    """Put the clips of each source, camera and track together, in order."""
    groups: dict[tuple[str, str, int], list[Clip]] = {}
    for clip in sorted(clips, key=lambda c: c.first_frame):
        groups.setdefault((clip.source, clip.camera, clip.track), []).append(clip)
    people: list[Person] = []
    met: Counter[str] = Counter()
    for (source, _, track), group in sorted(groups.items(), key=lambda item: item[0]):
        people.append(Person(source, track, met[source], tuple(group)))
        met[source] += 1
    return people


def file_names(people: Sequence[Person]) -> list[str]:
    """Return a name for each person's files; videos that differ in their suffix alone keep it."""
    short = [person.file(whole_name=False) for person in people]
    return [
        person.file(whole_name=True) if short.count(name) > 1 else name
        for person, name in zip(people, short, strict=True)
    ]


def sequence_lengths(clips: Sequence[Clip]) -> list[int]:
    """Return the frames of each unbroken sequence of a person's clips, in order."""
    lengths: list[int] = []
    end = -1
    for clip in clips:
        if clip.first_frame != end:
            lengths.append(0)
        lengths[-1] += clip.n_rows
        end = clip.first_frame + clip.n_rows
    return lengths


def make_predict_fn(
    store_uri: str,
    run: str,
    overrides: dict[str, Any],
    seed: int,
    out: str,
    *,
    when_in_doubt: str | None = None,
    height_m: float | None = None,
) -> Stage:
    """Return a stage from LiftPerson to Written: lifts a person, writes the files.

    Seeds follow the frame's number within the video, so a video gives the same poses whatever else
    is predicted with it.

    Args:
        store_uri: a store with detections.
        run: run directory.
        overrides: of the run's sampling settings.
        seed: of the hypotheses.
        out: folder of the answers.
        when_in_doubt: what to say where the observations do not hold together (DetectorKind);
            such answers do not claim to be calibrated. None: not asked.
        height_m: standing height of the people, where it is known.
    """

    def predict(asked: LiftPerson) -> Written:
        torch.set_num_threads(1)
        clips = asked.person.clips
        store = PoseStore.open(store_uri)
        lifter, sampling = _lifter(run, json.dumps(overrides))
        recalibration = load_recalibration(run)
        rows = [(clip.first_row, clip.first_row + clip.n_rows) for clip in clips]
        seeds = [row_seeds(seed, clip.first_frame + np.arange(clip.n_rows)) for clip in clips]
        # clips are cut for storage: an encoder of windows sees across their borders, and one
        # person's bones are the same however the track is broken
        lifted = lift_in_parts(
            lifter,
            Observations.joined([read_observations(store, *r, heatmaps=False) for r in rows]),
            (read_observations(store, *r) for r in rows),
            sampling,
            np.concatenate(seeds),
            sequence_lengths(clips),
        )
        arrays = {
            name: np.concatenate([store.read(field, *r) for r in rows])
            for name, field in _STORED.items()
        }
        arrays["seen"] = arrays["confidence"] >= LEAST_SEEN
        hypotheses = covering_unseen(lifted.hypotheses_mm, arrays["seen"])
        arrays |= {
            "poses_mm": lifted.pose_mm,
            "spread_mm": spread_mm(hypotheses).astype(np.float32),
            "root_mm": lifted.root_mm,
            "hypotheses_mm": hypotheses,
        }
        uncertainty = predict_uncertainty(hypotheses, sampling, recalibration)
        if uncertainty.covariance_mm2 is not None:
            arrays["covariance_mm2"] = uncertainty.covariance_mm2.astype(np.float32)
        if height_m is not None:
            arrays |= scaled(arrays, scale_to_height(lifted.pose_mm, height_m))
        arrays["std_mm"] = claimed_std_mm(arrays.get("covariance_mm2"), arrays["spread_mm"])
        arrays["frame"] = np.concatenate([c.first_frame + np.arange(c.n_rows) for c in clips])
        crops = np.concatenate([store.read("heatmap_crop", *r) for r in rows])
        answer = _answer(asked.person, arrays, crops, uncertainty, run, when_in_doubt)
        about = {"track": asked.person.track, "question": asked.question}
        write_answer(out, asked.file, answer, about)
        return Written(asked.file, len(answer), str(answer.quality["warning"]))

    return predict


def scaled(arrays: dict[str, NDArray[Any]], factor: float) -> dict[str, NDArray[Any]]:
    """Return poses, places and covariances of a person who is ``factor`` times as tall.

    Along the rays: nothing moves in the picture.
    """
    powers = dict.fromkeys(("poses_mm", "spread_mm", "root_mm", "hypotheses_mm"), 1)
    powers["covariance_mm2"] = 2
    return {
        name: (arrays[name] * factor**power).astype(np.float32)
        for name, power in powers.items()
        if name in arrays
    }


def _answer(
    person: Person,
    arrays: dict[str, NDArray[Any]],
    crops: NDArray[Any],
    uncertainty: Predicted,
    run: str,
    when_in_doubt: str | None,
) -> Answer:
    """Put an answer together; one whose observations do not hold together claims nothing."""
    figures = plausibility(
        arrays["keypoints_px"], arrays["confidence"], crops, arrays["timestamp_s"]
    )
    warning = ""
    if when_in_doubt is not None and (found := figures.doubts()):
        warning = f"the detections do not hold together: {'; '.join(found)}. {when_in_doubt}"
        # what was fitted to observations that hold together says nothing here
        note = ". ".join([warning, *([uncertainty.note] if uncertainty.note else [])])
        uncertainty = dataclasses.replace(uncertainty, calibrated=False, note=note)
    first = person.clips[0]
    fields: dict[str, Any] = dict(arrays)
    radii = uncertainty.claims()["ellipsoid_radius"]
    return Answer(
        **fields,
        fps=first.fps,
        width=first.width,
        height=first.height,
        source=person.source,
        person=person.number,
        calibrated=uncertainty.calibrated,
        note=uncertainty.note,
        model=run,
        ellipsoid_radius=radii,
        quality=quality(arrays["poses_mm"], arrays["confidence"], arrays["seen"], figures, warning),
    )


@functools.lru_cache(maxsize=1)
def _lifter(run: str, overrides: str) -> tuple[Lifter, SamplingSettings]:
    return load_to_sample(run, json.loads(overrides))
