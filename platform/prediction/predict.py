"""Lifting everything that a store holds: poses and their uncertainty per person, as files."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from diffpose.model.lifting.interface import Lifter
from diffpose.model.lifting.lifter import row_seeds
from diffpose.model.lifting.long_sequence import lift_in_parts
from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.observations.initial_distribution import Observations
from diffpose.platform.answers.files import write_answer
from diffpose.platform.execution.ray_stages import Stage
from diffpose.platform.prediction.assembled import Film, assembled
from diffpose.platform.runs.load import load_to_sample
from diffpose.platform.runs.uncertainty_file import load_recalibration
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
        arrays["frame"] = np.concatenate([c.first_frame + np.arange(c.n_rows) for c in clips])
        answer = assembled(
            lifted,
            arrays,
            _film(asked.person, run),
            sampling,
            recalibration,
            crops=np.concatenate([store.read("heatmap_crop", *r) for r in rows]),
            height_m=height_m,
            when_in_doubt=when_in_doubt,
        )
        about = {"track": asked.person.track, "question": asked.question}
        write_answer(out, asked.file, answer, about)
        return Written(asked.file, len(answer), str(answer.quality["warning"]))

    return predict


@functools.lru_cache(maxsize=1)
def _lifter(run: str, overrides: str) -> tuple[Lifter, SamplingSettings]:
    return load_to_sample(run, json.loads(overrides))


def _film(person: Person, run: str) -> Film:
    first = person.clips[0]
    return Film(person.source, person.number, first.width, first.height, first.fps, run)
