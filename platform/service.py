"""Ray Serve: POST /v1/lift, GET /healthz, /docs. Requests that meet are lifted in one batch.

No ``from __future__ import annotations`` here: FastAPI reads the annotations of PoseApi in the
replica, where names as strings can no longer be looked up.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from ray import serve
from ray.serve.handle import DeploymentHandle

from diffpose import __version__
from diffpose.model.initial_distribution import Observations
from diffpose.model.lifter import row_seeds
from diffpose.model.sampling import Refine, SamplingSettings
from diffpose.platform.checkpoint import load_lifter
from diffpose.platform.lift_api import LiftRequest, LiftResponse
from diffpose.platform.recalibration import (
    Predicted,
    load_recalibration,
    predict_uncertainty,
)

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


class PoseModel:
    """A run, ready to answer batches of questions; knows nothing of HTTP or Ray."""

    def __init__(self, run_uri: str) -> None:
        self.run = run_uri
        self.lifter, self.sampling, config = load_lifter(run_uri)
        self.sigma_cells = np.array(config["typical_sigma_cells"])
        self.recalibration = load_recalibration(run_uri)

    def answer(self, questions: list[Question]) -> list[Answer]:
        """Lift all frames of all questions together, grouped by their sampling settings.

        A question's answer does not depend on the others of its batch.
        """
        answers: list[Answer | None] = [None] * len(questions)
        groups: dict[SamplingSettings, list[int]] = {}
        for i, question in enumerate(questions):
            asked = {"n_hypotheses": question.n_hypotheses, "refine": question.refine}
            given = {name: value for name, value in asked.items() if value is not None}
            sampling = SamplingSettings.model_validate({**self.sampling.model_dump(), **given})
            groups.setdefault(sampling, []).append(i)
        for sampling, members in groups.items():
            parts = [self._observe(questions[i]) for i in members]
            seeds = [
                row_seeds(questions[i].seed, np.arange(len(questions[i].keypoints_px)))
                for i in members
            ]
            lengths = [len(part) for part in parts]  # each question is a sequence
            lifted = self.lifter.lift(
                Observations.joined(parts), sampling, np.concatenate(seeds), lengths
            )
            ends = np.cumsum(lengths)
            for i, start, stop in zip(members, [0, *ends[:-1]], ends, strict=True):
                hypotheses = lifted.hypotheses_mm[start:stop]
                answers[i] = Answer(
                    lifted.pose_mm[start:stop],
                    lifted.std_mm[start:stop],
                    lifted.root_mm[start:stop],
                    hypotheses,
                    predict_uncertainty(hypotheses, sampling, self.recalibration),
                )
        return [answer for answer in answers if answer is not None]

    def _observe(self, question: Question) -> Observations:
        sigma = question.sigma_px
        return Observations.from_keypoints(
            question.keypoints_px,
            question.camera,
            sigma_px=sigma,
            sigma_cells=self.sigma_cells if sigma is None else None,
        )


@serve.deployment
class PoseLifter:
    """Model replica; batches the questions that wait."""

    def __init__(self, run_uri: str) -> None:
        import torch

        torch.set_num_threads(1)
        self.model = PoseModel(run_uri)

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.005)
    async def lift(self, questions: list[Question]) -> list[Answer]:
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
        self.can_refine: bool | None = None  # asked once, with the first request that wants it

    @app.post("/v1/lift")
    async def lift(self, request: LiftRequest) -> LiftResponse:
        """Lift 2D keypoints to 3D poses with their uncertainty."""
        if request.refine not in (None, "none") and not await self._refines():
            raise HTTPException(
                422,
                f"refine={request.refine!r} needs the errors of this run on known poses, which "
                "nobody has measured: diffpose recalibrate run=RUN store=STORE does.",
            )
        sigma = request.sigma_px
        question = Question(
            keypoints_px=np.array(request.keypoints, dtype=np.float64),
            sigma_px=None if sigma is None else np.array(sigma, dtype=np.float64),
            camera=request.camera(),
            n_hypotheses=request.n_hypotheses,
            refine=request.refine,
            seed=request.seed,
        )
        answer: Answer = await self.lifter.lift.remote(question)
        return LiftResponse(
            poses_mm=answer.poses_mm.tolist(),
            std_mm=answer.std_mm.tolist(),
            root_mm=answer.root_mm.tolist(),
            hypotheses_mm=answer.hypotheses_mm.tolist() if request.include_hypotheses else None,
            **answer.uncertainty.to_answer(),
            n_hypotheses=answer.hypotheses_mm.shape[1],
            model=self.run,
        )

    async def _refines(self) -> bool:
        if self.can_refine is None:
            self.can_refine = bool((await self.lifter.describe.remote())["can_refine"])
        return self.can_refine

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
