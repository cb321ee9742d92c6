"""Time steps on their way: from clips to an encoder's config, from a request to windows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from stored_clips import made_clip
from untrained import CAMERA, make_lifter, observations

from diffpose.model.lifting.lifter import DiffusionLifter
from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.networks.mixste import Mixste, MixsteConfig
from diffpose.model.observations.initial_distribution import Observations, take_rows
from diffpose.platform.base.errors import RunError
from diffpose.platform.runs.model_files import save_model
from diffpose.platform.serving import pose_model
from diffpose.platform.serving.pose_model import LiftError, LiftJob, LiftResult, PoseModel
from diffpose.platform.store.clips import write_clips
from diffpose.platform.store.groups import MixtureAttributes
from diffpose.platform.store.observations import read_observations
from diffpose.platform.store.pose_store import PoseStore
from diffpose.platform.training.driver import check_settings, with_time_step
from diffpose.platform.training.settings import TrainSettings
from diffpose.preprocessing.derived.mixture_stages import bridging_poses

WINDOWS = {"kind": "mixste", "frames": 6, "width": 16, "depth": 1, "n_heads": 2}


def settings(store: str, **changes: object) -> TrainSettings:
    values = {"store": store, "run": f"{store}-run", "context_encoder": WINDOWS, **changes}
    return TrainSettings.model_validate(values)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PoseStore:
    made = PoseStore.create(str(tmp_path_factory.mktemp("times") / "store"), 64, 64, {})
    write_clips(made.uri, [made_clip(0, 40, fps=20.0), made_clip(40, 20, fps=20.0)])
    made.write("timestamp_s", 0, np.arange(64) / 20.0)
    return made


def test_training_tells_the_encoder_the_time_step_of_its_windows(store: PoseStore) -> None:
    def step(**changes: object) -> float | None:
        encoder = with_time_step(settings(store.uri, **changes)).context_encoder
        assert isinstance(encoder, MixsteConfig)
        return encoder.step_s

    assert step() == pytest.approx(0.05)
    assert step(window_strides=[1, 2, 3]) == pytest.approx(0.1)
    assert step(context_encoder={**WINDOWS, "step_s": 0.2}) == 0.2
    frames = settings(store.uri, context_encoder={"kind": "graformer"})
    assert with_time_step(frames) == frames


def test_a_training_that_earlier_code_began_goes_on(tmp_path: Path) -> None:
    asked = settings(str(tmp_path / "store"))
    saved = asked.model_dump(mode="json")
    for name in ("time_step", "step_s"):
        del saved["context_encoder"][name]
    del saved["window_strides"], saved["sampling"]["smooth"]
    Path(asked.run).mkdir()
    for stage in ("encoder", "denoiser"):
        (Path(asked.run) / f"{stage}.yaml").write_text(yaml.safe_dump(saved))
        check_settings(asked, stage)
    with pytest.raises(RunError, match="window_strides: saved"):
        check_settings(settings(asked.store, run=asked.run, window_strides=[1, 2]), "encoder")


@pytest.mark.parametrize("strides", [[], [0], [1, 1]])
def test_strides_that_are_no_strides_are_refused(strides: list[int]) -> None:
    with pytest.raises(ValueError, match="window_strides"):
        settings("store", window_strides=strides)


def test_stored_frames_come_with_their_times(store: PoseStore) -> None:
    read = read_observations(store, 3, 23, heatmaps=False)
    steps = read.steps_s([12, 8])
    assert steps is not None
    np.testing.assert_allclose(steps, 0.05)
    part = take_rows(read, slice(2, 6))
    untimed = replace(part, time_s=None)
    assert part.time_s is not None
    np.testing.assert_allclose(part.time_s, np.arange(5, 9) / 20.0)
    both = Observations.joined([part, untimed]).steps_s([4, 4])
    np.testing.assert_allclose(both, [0.05, np.nan])  # type: ignore[arg-type]
    assert Observations.joined([untimed, untimed]).time_s is None


def of_windows(**changes: object) -> DiffusionLifter:
    """The untrained lifter with an encoder of windows that were 0.1 s from frame to frame."""
    lifter = make_lifter(process="mixture")
    torch.manual_seed(3)
    config = MixsteConfig.model_validate({**WINDOWS, "step_s": 0.1, **changes})
    encoder = Mixste(config)
    torch.nn.init.normal_(encoder.frame_places)
    lifter.encoder = encoder.eval()
    return lifter


@pytest.fixture
def model() -> PoseModel:
    made = PoseModel.__new__(PoseModel)  # without a run directory
    made.run, made.lifter = "untrained", of_windows()
    made.sampling = SamplingSettings(n_hypotheses=2)
    made.sigma_cells, made.recalibration = np.full(17, 1.5), None
    return made


def question(n: int, **changes: object) -> LiftJob:
    keypoints = np.tile(observations().keypoints_px[:1], (n, 1, 1)).astype(np.float64)
    keypoints += 40 * np.sin(np.arange(n) / 3.0)[:, None, None] * np.linspace(-1, 1, 17)[:, None]
    camera = np.tile(CAMERA.astype(np.float32), (n, 1))
    return replace(LiftJob(keypoints, None, camera, None, None, 7), **changes)


def answer(model: PoseModel, *asked: LiftJob) -> list[LiftResult]:
    found = model.lift(list(asked))
    for one in found:
        assert isinstance(one, LiftResult)
    return found  # type: ignore[return-value]


def test_a_request_s_frames_per_second_choose_the_windows(model: PoseModel) -> None:
    usual, none, fast = answer(model, question(30, fps=10.0), question(30), question(30, fps=30.0))
    np.testing.assert_allclose(none.poses_mm, usual.poses_mm, atol=0.05)
    assert np.abs(fast.poses_mm - usual.poses_mm).max() > 0.5


def test_a_long_request_is_lifted_as_a_short_one(
    model: PoseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = question(40, fps=30.0, smooth="clip")
    whole = answer(model, asked)[0]
    monkeypatch.setattr(pose_model, "_FRAMES_AT_ONCE", 16)
    parts = answer(model, asked)[0]
    np.testing.assert_allclose(parts.poses_mm, whole.poses_mm, atol=0.05)


def test_a_request_to_smooth_needs_its_frames_per_second(model: PoseModel) -> None:
    refused, good = model.lift([question(5, smooth="clip"), question(5)])
    assert isinstance(refused, LiftError)
    assert "fps=" in refused.reason
    assert isinstance(good, LiftResult)


def test_mixtures_are_fitted_about_the_poses_of_windows_of_that_time_step(tmp_path: Path) -> None:
    encoder, uri = of_windows().encoder, str(tmp_path / "encoder")
    architecture = encoder.config.model_dump(mode="json")
    save_model(uri, "context_encoder", encoder.state_dict(), {"architecture": architecture})
    seen = replace(observations(), time_s=np.arange(len(observations())) / 20.0)
    attributes = MixtureAttributes.model_construct(depth={"kind": "encoder"}, encoder=uri)
    found = bridging_poses(seen, attributes)
    with torch.inference_mode():
        _, wanted = encoder.poses_mm(seen.detections().rays, None, np.array([0.05]))
        _, untimed = encoder.poses_mm(seen.detections().rays)
    torch.testing.assert_close(found, wanted)
    assert (found - untimed).abs().max() > 0.01
