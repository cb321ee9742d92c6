"""Ray Serve: POST /v1/lift, GET /healthz, /docs. Requests that meet are lifted in one batch.

No ``from __future__ import annotations`` here: FastAPI reads the annotations of PoseApi in the
replica, where names as strings can no longer be looked up. What PoseApi calls stands above it:
serve.ingress takes a copy of the class, with the names that it knows by then.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from pydantic import ValidationError
from ray import serve
from ray.serve.handle import DeploymentHandle

from diffpose import __version__
from diffpose.model.lifting.lifter import row_seeds
from diffpose.model.lifting.long_sequence import lift_in_parts
from diffpose.model.lifting.prediction import Lifted
from diffpose.model.lifting.sampling import Refine, SamplingSettings
from diffpose.model.observations.initial_distribution import Observations
from diffpose.platform.runs.load import load_run
from diffpose.platform.runs.uncertainty_file import (
    Predicted,
    predict_uncertainty,
)
from diffpose.platform.serving.schema import LiftRequest, LiftResponse

# Heatmaps in the making are 650 kB per frame.
_FRAMES_AT_ONCE = 256

app = FastAPI(
    title="DiffPose at scale",
    version=__version__,
    description="2D keypoints in, 3D poses with their uncertainty out.",
)


@app.exception_handler(RequestValidationError)
async def explain_bad_input(_: Request, error: RequestValidationError) -> JSONResponse:
    """Answer 422 with the field and what was expected.

    FastAPI's own answer repeats the whole input, which may be long, and fails on NaN.
    """
    detail = [
        {
            "loc": list(item["loc"]),
            "msg": str(item["msg"]).removeprefix("Value error, "),
            "type": item["type"],
        }
        for item in error.errors()
    ]
    return JSONResponse({"detail": detail}, status_code=422)


@dataclass(frozen=True)
class Question:
    """One request as arrays."""

    keypoints_px: NDArray[np.float64]
    sigma_px: NDArray[np.float64] | None
    camera: NDArray[np.float32]
    n_hypotheses: int | None
    refine: Refine | None
    seed: int


@dataclass(frozen=True)
class Answer:
    """The arrays of a response."""

    poses_mm: NDArray[np.float32]
    std_mm: NDArray[np.float32]
    root_mm: NDArray[np.float32]
    hypotheses_mm: NDArray[np.float32]
    uncertainty: Predicted


@dataclass(frozen=True)
class Refusal:
    """Why a question has no answer."""

    reason: str


class PoseModel:
    """A run, ready to answer batches of questions; knows nothing of HTTP or Ray."""

    def __init__(self, run_uri: str) -> None:
        self.run = run_uri
        run = load_run(run_uri)
        self.lifter, self.sampling, self.recalibration = run.lifter, run.sampling, run.recalibration
        self.sigma_cells = np.array(run.config["typical_sigma_cells"])

    def answer(self, questions: list[Question]) -> list[Answer | Refusal]:
        """Lift short questions together where their sampling is the same, long ones in pieces.

        A question's answer does not depend on the others of its batch, nor does its failure.
        """
        answers: dict[int, Answer | Refusal] = {}
        for members in self._batches(questions):
            asked = [questions[i] for i in members]
            try:
                found = self._lift(asked)
            except (ValueError, ArithmeticError) as error:
                if len(members) == 1:
                    answers[members[0]] = Refusal(_reason(error))
                else:  # whose fault it is shows when each is lifted alone
                    alone = [self.answer([question])[0] for question in asked]
                    answers.update(zip(members, alone, strict=True))
                continue
            for i, answer in zip(members, found, strict=True):
                finite = np.isfinite(answer.poses_mm).all()
                answers[i] = answer if finite else Refusal("no finite pose fits these keypoints")
        return [answers[i] for i in range(len(questions))]

    def _batches(self, questions: list[Question]) -> list[list[int]]:
        """Put questions of the same sampling together, up to _FRAMES_AT_ONCE frames."""
        batches: list[list[int]] = []
        open_: dict[tuple[int | None, Refine | None], tuple[list[int], int]] = {}
        for i, question in enumerate(questions):
            kind, frames = (question.n_hypotheses, question.refine), len(question.keypoints_px)
            members, n = open_.get(kind, ([], 0))
            if not members or n + frames > _FRAMES_AT_ONCE:
                members, n = [], 0
                batches.append(members)
            members.append(i)
            open_[kind] = members, n + frames
        return batches

    def _sampling(self, question: Question) -> SamplingSettings:
        asked = {"n_hypotheses": question.n_hypotheses, "refine": question.refine}
        given = {name: value for name, value in asked.items() if value is not None}
        return SamplingSettings.model_validate({**self.sampling.model_dump(), **given})

    def _lift(self, questions: list[Question]) -> list[Answer]:
        """Lift a batch: several short questions of the same sampling, or a long one."""
        sampling = self._sampling(questions[0])
        lengths = [len(question.keypoints_px) for question in questions]  # each is a sequence
        seeds = np.concatenate(
            [row_seeds(q.seed, np.arange(n)) for q, n in zip(questions, lengths, strict=True)]
        )
        if sum(lengths) <= _FRAMES_AT_ONCE:
            seen = Observations.joined([self._observe(question) for question in questions])
            lifted = self.lifter.lift(seen, sampling, seeds, lengths)
        else:
            (question,) = questions
            lifted = self._lift_long(question, sampling, seeds)
        ends = np.cumsum(lengths)
        return [
            Answer(
                lifted.pose_mm[start:stop],
                lifted.std_mm[start:stop],
                lifted.root_mm[start:stop],
                lifted.hypotheses_mm[start:stop],
                predict_uncertainty(lifted.hypotheses_mm[start:stop], sampling, self.recalibration),
            )
            for start, stop in zip([0, *ends[:-1]], ends, strict=True)
        ]

    def _lift_long(
        self, question: Question, sampling: SamplingSettings, seeds: NDArray[np.uint64]
    ) -> Lifted:
        """Lift in pieces: heatmaps are most of the memory, and are made twice to live shortly."""
        n = len(question.keypoints_px)
        pieces = [slice(i, i + _FRAMES_AT_ONCE) for i in range(0, n, _FRAMES_AT_ONCE)]
        light = [replace(self._observe(question, rows), heatmaps=None) for rows in pieces]
        whole = (self._observe(question, rows) for rows in pieces)
        return lift_in_parts(self.lifter, Observations.joined(light), whole, sampling, seeds)

    def _observe(self, question: Question, rows: slice = slice(None)) -> Observations:
        sigma = question.sigma_px
        return Observations.from_keypoints(
            question.keypoints_px[rows],
            question.camera[rows],
            sigma_px=None if sigma is None else sigma[rows],
            sigma_cells=self.sigma_cells if sigma is None else None,
        )


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):  # of sampling settings
        return "; ".join(str(e["msg"]).removeprefix("Value error, ") for e in error.errors())
    return str(error)


def _written(values_mm: NDArray[np.float32]) -> Any:
    """Return nested lists, to a micrometre: a float32 written as a float64 is mostly noise."""
    return np.round(values_mm.astype(np.float64), 3).tolist()


@serve.deployment
class PoseLifter:
    """Model replica; batches the questions that wait."""

    def __init__(self, run_uri: str) -> None:
        import torch

        torch.set_num_threads(1)
        self.model = PoseModel(run_uri)

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.005)
    async def lift(self, questions: list[Question]) -> list[Answer | Refusal]:
        """Answer a batch; the event loop stays free for the requests that arrive meanwhile."""
        return await asyncio.to_thread(self.model.answer, questions)

    async def describe(self) -> dict[str, Any]:
        """Say which run this is."""
        sampling = self.model.sampling
        return {
            "run": self.model.run,
            "n_hypotheses": sampling.n_hypotheses,
            "refine": sampling.refine,
            "can_refine": self.model.lifter.errors_mm2 is not None,
        }


@serve.deployment
@serve.ingress(app)
class PoseApi:
    """HTTP front: checks requests, asks the model, writes answers."""

    def __init__(self, lifter: DeploymentHandle[PoseLifter], run_uri: str) -> None:
        self.lifter = lifter
        self.run = run_uri

    @app.post("/v1/lift")
    async def lift(self, request: LiftRequest) -> LiftResponse:
        """Lift 2D keypoints to 3D poses with their uncertainty."""
        sigma = request.sigma_px
        question = Question(
            keypoints_px=np.array(request.keypoints, dtype=np.float64),
            sigma_px=None if sigma is None else np.array(sigma, dtype=np.float64),
            camera=request.camera(),
            n_hypotheses=request.n_hypotheses,
            refine=request.refine,
            seed=request.seed,
        )
        answer: Answer | Refusal = await self.lifter.lift.remote(question)
        if isinstance(answer, Refusal):
            raise HTTPException(422, answer.reason)
        uncertainty = answer.uncertainty
        return LiftResponse(
            poses_mm=_written(answer.poses_mm),
            std_mm=_written(answer.std_mm),
            root_mm=_written(answer.root_mm),
            hypotheses_mm=_written(answer.hypotheses_mm) if request.include_hypotheses else None,
            **(uncertainty.to_answer() if request.include_covariance else uncertainty.claims()),
            n_hypotheses=answer.hypotheses_mm.shape[1],
            model=self.run,
        )

    @app.get("/healthz")
    async def healthz(self) -> dict[str, Any]:
        """Answer once the model is loaded."""
        return {"status": "ok", **await self.lifter.describe.remote()}


def build(run_uri: str, replicas: int = 1) -> serve.Application:
    """Return the application: one HTTP front, ``replicas`` model replicas of one CPU each."""
    lifter: Any = PoseLifter  # serve.deployment turns the class into a Deployment at run time
    api: Any = PoseApi
    model = lifter.options(num_replicas=replicas, ray_actor_options={"num_cpus": 1})
    application: serve.Application = api.options(ray_actor_options={"num_cpus": 0}).bind(
        model.bind(run_uri), run_uri
    )
    return application
