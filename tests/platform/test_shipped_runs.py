"""The runs that come with the package: there, small, and answering without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffpose.jobs.predict import PredictSettings
from diffpose.model.lifting.lifter import row_seeds
from diffpose.model.observations.initial_distribution import Observations
from diffpose.platform.base.config import validate
from diffpose.platform.base.errors import ConfigError
from diffpose.platform.base.storage import absolute, exists, filesystem, join
from diffpose.platform.runs.load import load_run, load_to_sample
from diffpose.platform.workflows.evaluate import EvaluateSettings
from diffpose.platform.workflows.serve import ServeSettings

RUNS = ("shipped://frames", "shipped://windows")
# A person who stands 4 m before a camera of focal length 1,000 px, arms hanging.
STANDING_MM = np.array(
    [
        [0, 0, 0], [-120, 10, 0], [-120, 440, 0], [-120, 860, 20], [120, 10, 0], [120, 440, 0],
        [120, 860, 20], [0, -240, 10], [0, -490, 10], [0, -570, -60], [0, -680, 0], [170, -450, 10],
        [220, -180, 20], [230, 60, -20], [-170, -450, 10], [-220, -180, 20], [-230, 60, -20],
    ],
    dtype=np.float64,
)  # fmt: skip


def seen(n: int) -> Observations:
    points = STANDING_MM + np.array([100.0, 0.0, 4000.0])
    pixels = points[:, :2] / points[:, 2:] * 1000 + [960, 540]
    return Observations.from_keypoints(
        np.tile(pixels, (n, 1, 1)),
        np.tile([1000.0, 1000.0, 960.0, 540.0], (n, 1)),
        sigma_px=np.full((n, 17), 5.0),
    )


@pytest.mark.parametrize("run", RUNS)
def test_it_stands_a_standing_person(run: str) -> None:
    lifter, sampling = load_to_sample(run, {})
    lifted = lifter.lift(seen(30), sampling, row_seeds(0, np.arange(30)))
    error = np.linalg.norm(lifted.pose_mm - STANDING_MM, axis=-1).mean()
    assert error < 110
    upright = lifted.pose_mm[:, 8] / np.linalg.norm(lifted.pose_mm[:, 8], axis=-1, keepdims=True)
    assert np.degrees(np.arccos(-upright[:, 1])).max() < 20


@pytest.mark.parametrize("run", RUNS)
def test_it_knows_its_errors(run: str) -> None:
    loaded = load_run(run)
    assert loaded.recalibration is not None
    assert loaded.recalibration.ellipsoids is not None
    assert loaded.recalibration.familiarity is not None
    assert loaded.sampling.refine != "none"


def test_they_are_small_together() -> None:
    _, folder = filesystem("shipped://")
    size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    assert 1e6 < size < 8e6


def test_each_worker_looks_into_its_own_package() -> None:
    assert absolute("shipped://windows") == "shipped://windows"
    assert exists(join("shipped://windows", "encoder", "config.json"))
    assert not exists("shipped://nothing")


def test_predict_and_serve_need_no_run() -> None:
    settings = validate(PredictSettings, {"video": "film.mp4", "out": "answers"})
    assert settings.run == "shipped://windows"
    assert validate(ServeSettings, {}).run == "shipped://frames"


def test_nothing_is_written_beside_them() -> None:
    with pytest.raises(ConfigError, match="give output=FOLDER"):
        validate(EvaluateSettings, {"run": "shipped://frames", "store": "store"})
    given = {"run": "shipped://frames", "store": "store", "output": "figures"}
    assert validate(EvaluateSettings, given).output == "figures"
