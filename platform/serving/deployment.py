"""Ray Serve: POST /v1/lift, GET /healthz, /docs. Requests that meet are lifted in one batch.

No ``from __future__ import annotations`` here: FastAPI reads the annotations of PoseApi in the
replica, where names as strings can no longer be looked up. What PoseApi calls stands above it:
serve.ingress takes a copy of the class, with the names that it knows by then.
"""

import asyncio
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from ray import serve
from ray.serve.handle import DeploymentHandle

from diffpose import __version__
from diffpose.platform.serving.pose_model import LiftError, LiftJob, LiftResult, PoseModel
from diffpose.platform.serving.schema import LiftRequest, LiftResponse

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


def _written(values_mm: NDArray[np.float32]) -> Any:
    """Return nested lists, to a micrometre: a float32 written as a float64 is mostly noise."""
    return np.round(values_mm.astype(np.float64), 3).tolist()


@serve.deployment
class PoseLifter:
    """Model replica; batches the jobs that wait."""

    def __init__(self, run_uri: str) -> None:
        import torch

        torch.set_num_threads(1)
        self.model = PoseModel(run_uri)

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.005)
    async def lift(self, jobs: list[LiftJob]) -> list[LiftResult | LiftError]:
        """Answer a batch; the event loop stays free for the requests that arrive meanwhile."""
        return await asyncio.to_thread(self.model.lift, jobs)

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
    """HTTP front: checks requests, asks the model, writes results."""

    def __init__(self, lifter: DeploymentHandle[PoseLifter], run_uri: str) -> None:
        self.lifter = lifter
        self.run = run_uri

    @app.post("/v1/lift")
    async def lift(self, request: LiftRequest) -> LiftResponse:
        """Lift 2D keypoints to 3D poses with their uncertainty."""
        sigma = request.sigma_px
        job = LiftJob(
            keypoints_px=np.array(request.keypoints, dtype=np.float64),
            sigma_px=None if sigma is None else np.array(sigma, dtype=np.float64),
            camera=request.camera(),
            fps=request.fps,
            n_hypotheses=request.n_hypotheses,
            refine=request.refine,
            seed=request.seed,
            smooth=request.smooth,
        )
        result: LiftResult | LiftError = await self.lifter.lift.remote(job)
        if isinstance(result, LiftError):
            raise HTTPException(422, result.reason)
        uncertainty = result.uncertainty
        return LiftResponse(
            poses_mm=_written(result.poses_mm),
            std_mm=_written(result.std_mm),
            root_mm=_written(result.root_mm),
            hypotheses_mm=_written(result.hypotheses_mm) if request.include_hypotheses else None,
            **(uncertainty.to_answer() if request.include_covariance else uncertainty.claims()),
            n_hypotheses=result.hypotheses_mm.shape[1],
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
