"""A run as a model that answers: batches of jobs in, poses with their uncertainty out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from diffpose.model.lifting.lifter import row_seeds
from diffpose.model.lifting.long_sequence import lift_in_parts
from diffpose.model.lifting.prediction import Lifted
from diffpose.model.lifting.sampling import Refine, SamplingSettings, Smooth
from diffpose.model.observations.initial_distribution import Observations
from diffpose.platform.runs.load import load_run
from diffpose.platform.runs.uncertainty_file import Predicted, predict_uncertainty

# Heatmaps in the making are 650 kB per frame.
_FRAMES_AT_ONCE = 256


@dataclass(frozen=True)
class LiftJob:
    """What one request asks for.

    Attributes:
        keypoints_px: (T, 17, 2).
        sigma_px: (T, 17), their standard deviations; None: typical ones.
        camera: (T, 4), fx, fy, cx, cy in px.
        n_hypotheses: N; None: the run's own.
        refine: of sampling; None: the run's own.
        seed: of the hypotheses.
        fps: frames per second; None: as in the training.
        smooth: of sampling; None: the run's own.
    """

    keypoints_px: NDArray[np.float64]
    sigma_px: NDArray[np.float64] | None
    camera: NDArray[np.float32]
    n_hypotheses: int | None
    refine: Refine | None
    seed: int
    fps: float | None = None
    smooth: Smooth | None = None


@dataclass(frozen=True)
class LiftResult:
    """The arrays of a response; mm, camera frame.

    Attributes:
        poses_mm: (T, 17, 3), relative to joint 0.
        std_mm: (T, 17).
        root_mm: (T, 3).
        hypotheses_mm: (T, N, 17, 3).
        uncertainty: covariances of the poses.
    """

    poses_mm: NDArray[np.float32]
    std_mm: NDArray[np.float32]
    root_mm: NDArray[np.float32]
    hypotheses_mm: NDArray[np.float32]
    uncertainty: Predicted


@dataclass(frozen=True)
class LiftError:
    """Why a job has no result."""

    reason: str


class PoseModel:
    """A run, ready to answer batches of jobs; knows nothing of HTTP or Ray."""

    def __init__(self, run_uri: str) -> None:
        self.run = run_uri
        run = load_run(run_uri)
        self.lifter, self.sampling, self.recalibration = run.lifter, run.sampling, run.recalibration
        self.sigma_cells = np.array(run.config["typical_sigma_cells"])

    def lift(self, jobs: list[LiftJob]) -> list[LiftResult | LiftError]:
        """Lift short jobs together where their sampling is the same, long ones in pieces.

        A job's result does not depend on the others of its batch, nor does its failure.
        """
        results: dict[int, LiftResult | LiftError] = {}
        for members in self._batches(jobs):
            asked = [jobs[i] for i in members]
            try:
                found = self._lift(asked)
            except (ValueError, ArithmeticError) as error:
                if len(members) == 1:
                    results[members[0]] = LiftError(_reason(error))
                else:  # whose fault it is shows when each is lifted alone
                    alone = [self.lift([job])[0] for job in asked]
                    results.update(zip(members, alone, strict=True))
                continue
            for i, result in zip(members, found, strict=True):
                finite = np.isfinite(result.poses_mm).all()
                results[i] = result if finite else LiftError("no finite pose fits these keypoints")
        return [results[i] for i in range(len(jobs))]

    def _batches(self, jobs: list[LiftJob]) -> list[list[int]]:
        """Put jobs of the same sampling together, up to _FRAMES_AT_ONCE frames."""
        batches: list[list[int]] = []
        open_: dict[tuple[int | None, Refine | None, Smooth | None], tuple[list[int], int]] = {}
        for i, job in enumerate(jobs):
            kind = job.n_hypotheses, job.refine, job.smooth
            frames = len(job.keypoints_px)
            members, n = open_.get(kind, ([], 0))
            if not members or n + frames > _FRAMES_AT_ONCE:
                members, n = [], 0
                batches.append(members)
            members.append(i)
            open_[kind] = members, n + frames
        return batches

    def _sampling(self, job: LiftJob) -> SamplingSettings:
        asked = {
            "n_hypotheses": job.n_hypotheses,
            "refine": job.refine,
            "smooth": job.smooth,
        }
        given = {name: value for name, value in asked.items() if value is not None}
        return SamplingSettings.model_validate({**self.sampling.model_dump(), **given})

    def _lift(self, jobs: list[LiftJob]) -> list[LiftResult]:
        """Lift a batch: several short jobs of the same sampling, or a long one."""
        sampling = self._sampling(jobs[0])
        lengths = [len(job.keypoints_px) for job in jobs]  # each is a sequence
        seeds = np.concatenate(
            [row_seeds(q.seed, np.arange(n)) for q, n in zip(jobs, lengths, strict=True)]
        )
        if sum(lengths) <= _FRAMES_AT_ONCE:
            seen = Observations.joined([self._observe(job) for job in jobs])
            lifted = self.lifter.lift(seen, sampling, seeds, lengths)
        else:
            (job,) = jobs
            lifted = self._lift_long(job, sampling, seeds)
        ends = np.cumsum(lengths)
        return [
            LiftResult(
                lifted.pose_mm[start:stop],
                lifted.std_mm[start:stop],
                lifted.root_mm[start:stop],
                lifted.hypotheses_mm[start:stop],
                predict_uncertainty(lifted.hypotheses_mm[start:stop], sampling, self.recalibration),
            )
            for start, stop in zip([0, *ends[:-1]], ends, strict=True)
        ]

    def _lift_long(
        self, job: LiftJob, sampling: SamplingSettings, seeds: NDArray[np.uint64]
    ) -> Lifted:
        """Lift in pieces: heatmaps are most of the memory, and are made twice to live shortly."""
        n = len(job.keypoints_px)
        pieces = [slice(i, i + _FRAMES_AT_ONCE) for i in range(0, n, _FRAMES_AT_ONCE)]
        light = [replace(self._observe(job, rows), heatmaps=None) for rows in pieces]
        whole = (self._observe(job, rows) for rows in pieces)
        return lift_in_parts(self.lifter, Observations.joined(light), whole, sampling, seeds)

    def _observe(self, job: LiftJob, rows: slice = slice(None)) -> Observations:
        sigma = job.sigma_px
        seen = Observations.from_keypoints(
            job.keypoints_px[rows],
            job.camera[rows],
            sigma_px=None if sigma is None else sigma[rows],
            sigma_cells=self.sigma_cells if sigma is None else None,
        )
        if job.fps is None:
            return seen
        return replace(seen, time_s=np.arange(len(job.keypoints_px))[rows] / job.fps)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):  # of sampling settings
        return "; ".join(str(e["msg"]).removeprefix("Value error, ") for e in error.errors())
    return str(error)
