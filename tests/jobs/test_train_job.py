"""Training, resuming, evaluating: small networks, real Ray Train and Ray Data."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from conftest import SMALL_NETWORKS
from processes import DIFFPOSE, Command, run_command

from diffpose.jobs import evaluate as evaluate_job
from diffpose.jobs import recalibrate as recalibrate_job
from diffpose.model.lifting.lifter import row_seeds
from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.metrics.pose_errors import mpjpe
from diffpose.model.uncertainty.covariances import mahalanobis_squared
from diffpose.model.uncertainty.energy_score import hypotheses_score
from diffpose.platform.base.config import validate
from diffpose.platform.base.errors import RunError, StoreError
from diffpose.platform.evaluation.evaluate import evaluate_runs
from diffpose.platform.evaluation.fit_uncertainty import refined_by_others
from diffpose.platform.runs.load import load_run
from diffpose.platform.runs.model_files import load_denoiser, load_encoder
from diffpose.platform.runs.uncertainty_file import load_recalibration, predict_uncertainty
from diffpose.platform.store.clips import read_clips, write_clips
from diffpose.platform.store.observations import read_observations
from diffpose.platform.store.pose_store import PoseStore
from diffpose.platform.training.driver import error_of_ours
from diffpose.platform.training.settings import TrainSettings
from diffpose.platform.workflows.train import train

pytestmark = pytest.mark.cluster


def history(run: str, stage: str) -> list[dict[str, float]]:
    lines = (Path(run) / f"{stage}_history.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_run_directory_is_complete(small_run: str, small_store: str) -> None:
    for stage, epochs in (("encoder", 3), ("denoiser", 2)):
        records = history(small_run, stage)
        assert [r["epoch"] for r in records] == list(range(1, epochs + 1))
        assert records[-1]["loss"] < records[0]["loss"]
        assert list((Path(small_run) / "tensorboard" / stage).glob("events.*"))
        saved = yaml.safe_load((Path(small_run) / f"{stage}.yaml").read_text())
        assert validate(TrainSettings, saved).store == small_store
    encoder, config = load_encoder(f"{small_run}/encoder")
    assert len(config["depth_sigma_mm"]) == 17
    assert config["depth_sigma_mm"][0] == 0
    assert min(config["depth_sigma_mm"][1:]) > 0
    denoiser, config = load_denoiser(f"{small_run}/denoiser")
    group = config["mixture_group"]
    assert group.startswith("encoder-")
    assert PoseStore.open(small_store).mixture_attributes(group).complete
    last = history(small_run, "denoiser")[-1]
    assert config["validation_mpjpe_mm"] == pytest.approx(last["mpjpe_mm"])
    assert all(torch.isfinite(p).all() for p in (*encoder.parameters(), *denoiser.parameters()))


def test_mixtures_of_other_kinds_have_groups_of_their_own(
    ray_local: None, small_run: str, small_store: str, tmp_path: Path
) -> None:
    """Preprocess made "histogram"; a recipe that wants another number of kernels takes its own."""
    store = tmp_path / "store"
    shutil.copytree(small_store, store)
    made = PoseStore.open(str(store)).mixture_attributes("histogram").spec.model_dump()
    recipe = {
        **SMALL_NETWORKS, "store": str(store), "run": str(tmp_path / "run"), "encoder": small_run,
        "stage": ["mixtures"], "depth": "histogram",
    }  # fmt: skip
    for spec in (made, {**made, "n_kernels": 1}):
        assert train(validate(TrainSettings, {**recipe, "mixture": spec})) == 0
    found = PoseStore.open(str(store))
    assert [n for n in found.mixture_names() if n.startswith("histogram")] == [
        "histogram", f"histogram-{made['scope']}-{made['covariance']}-1",
    ]  # fmt: skip
    assert all(
        found.mixture_attributes(name).complete
        for name in found.mixture_names() if name.startswith("histogram")
    )  # fmt: skip


def test_saved_weights_are_the_averaged_ones(small_run: str) -> None:
    from safetensors.torch import load_file

    folder = Path(small_run) / "ray" / "encoder"
    checkpoints = sorted(path for path in folder.glob("checkpoint_*") if path.is_dir())
    average = load_file(checkpoints[-1] / "average.safetensors")
    raw = load_file(checkpoints[-1] / "weights.safetensors")
    saved = load_file(Path(small_run) / "encoder" / "weights.safetensors")
    for name, value in saved.items():
        torch.testing.assert_close(value, average[name], rtol=0, atol=0)
    assert any(not torch.equal(saved[name], raw[name]) for name in saved)


def test_a_run_without_recalibration_still_answers(
    ray_local: None, small_run: str, small_store: str, tmp_path: Path
) -> None:
    """Older runs have none; training again fits it and nothing else."""
    run = tmp_path / "older"
    shutil.copytree(small_run, run, ignore=shutil.ignore_patterns("ray", "evaluation"))
    (run / "denoiser" / "uncertainty.json").unlink()
    target = tmp_path / "older.json"
    arguments = [f"run={run}", f"store={small_store}", "--json", str(target)]
    assert evaluate_job.main(arguments) == 0
    figures = json.loads(target.read_text())
    assert not figures["calibrated"]
    assert 0 < figures["coverage50"] == figures["coverage50_before"] < 1
    assert figures["coverage50_after"] is None
    assert figures["context_encoder"]["coverage50"] is None

    recipe = {**SMALL_NETWORKS, "store": small_store, "run": str(run), "workers": 2}
    assert train(validate(TrainSettings, recipe)) == 0
    fitted, original = load_recalibration(str(run)), load_recalibration(small_run)
    assert fitted is not None
    assert original is not None
    assert fitted.to_json() == original.to_json()
    assert fitted.n_hypotheses == 5
    assert fitted.split == "validation"


def test_a_run_that_refines_is_recalibrated_for_it(
    ray_local: None, small_run: str, small_store: str, tmp_path: Path, capsys
) -> None:
    run = tmp_path / "refining"
    shutil.copytree(small_run, run, ignore=shutil.ignore_patterns("ray", "evaluation"))
    config = run / "denoiser" / "config.json"
    content = json.loads(config.read_text())
    content["sampling"]["refine"] = "clip"
    config.write_text(json.dumps(content))
    assert recalibrate_job.main([f"run={run}", f"store={small_store}"]) == 0
    assert "refine=clip: " in capsys.readouterr().out
    fitted, original = load_recalibration(str(run)), load_recalibration(small_run)
    assert fitted is not None
    assert original is not None
    assert fitted.sampling.refine == "clip"
    # its ellipsoids are of answers refined with the errors of others, its errors of answers before
    np.testing.assert_allclose(fitted.errors_mm2, original.errors_mm2)
    refined, free = (np.trace(f.answer_covariance_mm2.sum(axis=0)) for f in (fitted, original))
    assert abs(refined / free - 1) > 0.001


def test_poses_are_refined_with_the_errors_of_other_recordings(
    ray_local: None, small_run: str, small_store: str
) -> None:
    found = evaluate_runs(small_store, {"run": small_run}, "test", {}, 0, None)
    store = PoseStore.open(small_store)
    sources = {clip.clip: clip.source for clip in store.clips("test")}
    assert len(set(sources.values())) > 1
    one = np.array([sources[clip] == min(sources.values()) for clip in found.clips])
    sampling = SamplingSettings(refine="clip")
    before = refined_by_others(store, found, sampling)
    # other errors of the poses of one recording, whose answers stay
    truth = np.where(one[:, None, None], 3 * found.truth_mm, found.truth_mm)
    after = refined_by_others(store, replace(found, truth_mm=truth), sampling)
    np.testing.assert_allclose(after[one], before[one])
    assert np.abs(after[~one] - before[~one]).max() > 1


def test_a_finished_run_is_not_trained_again(
    ray_local: None, small_run: str, small_store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = {**SMALL_NETWORKS, "store": small_store, "run": small_run, "workers": 2}
    before = (Path(small_run) / "denoiser" / "weights.safetensors").stat().st_mtime_ns
    assert train(validate(TrainSettings, recipe)) == 0
    assert capsys.readouterr().out.count("already trained") == 2
    assert (Path(small_run) / "denoiser" / "weights.safetensors").stat().st_mtime_ns == before


def test_other_settings_and_missing_parts_are_explained(
    ray_local: None, small_run: str, small_store: str, tmp_path: Path
) -> None:
    recipe = {**SMALL_NETWORKS, "store": small_store, "run": str(tmp_path / "run")}
    with pytest.raises(RunError, match=r"no trained context_encoder.*diffpose\s+train"):
        train(validate(TrainSettings, {**recipe, "stage": "denoiser"}))
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "encoder.yaml").write_text((Path(small_run) / "encoder.yaml").read_text())
    changed = {**recipe, "run": str(begun), "context_encoder": {"width": 24, "n_heads": 2}}
    with pytest.raises(RunError, match=r"context_encoder\.width: saved 16, now 24"):
        train(validate(TrainSettings, changed))
    with pytest.raises(RunError, match="the cluster has"):
        train(validate(TrainSettings, {**recipe, "workers": 500}))
    with pytest.raises(StoreError, match="no pose store"):
        train(validate(TrainSettings, {**recipe, "store": str(tmp_path / "none")}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpus_that_are_not_there_are_said(
    ray_local: None, small_store: str, tmp_path: Path
) -> None:
    recipe = {**SMALL_NETWORKS, "store": small_store, "run": str(tmp_path / "run"), "workers": 2}
    settings = validate(TrainSettings, {**recipe, "stage": ["encoder"], "gpu": True})
    with pytest.raises(RunError, match=r"gpu=true with workers=2 needs as many GPUs.* has 0"):
        train(settings)


def test_a_store_without_validation_is_refused(small_store: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(small_store, store)
    clips = read_clips(str(store))
    kept = [
        c.model_copy(update={"split": "train"}) if c.split == "validation" else c for c in clips
    ]
    write_clips(str(store), kept)
    recipe = {**SMALL_NETWORKS, "store": str(store), "run": str(tmp_path / "run")}
    with pytest.raises(StoreError, match="no validation split"):
        train(validate(TrainSettings, recipe))


def test_a_worker_s_error_is_found_in_what_ray_raises() -> None:
    class FailedError(Exception):
        worker_failures: ClassVar[dict[int, Exception]] = {1: RunError("the loss is nan")}

    found = error_of_ours(FailedError("2 workers failed"))
    assert isinstance(found, RunError)
    assert str(found) == "the loss is nan"
    assert "ZeroDivisionError" in str(error_of_ours(ZeroDivisionError("x")))


def test_evaluation_is_repeatable_and_right(
    ray_local: None, small_run: str, small_store: str, tmp_path: Path
) -> None:
    figures = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        target = tmp_path / f"{name}.json"
        arguments = [f"run={small_run}", f"store={small_store}", f"seed={seed}"]
        assert evaluate_job.main([*arguments, "--json", str(target)]) == 0
        figures.append(json.loads(target.read_text()))
    assert figures[0] == figures[1]
    assert figures[0]["mpjpe_mm"] != figures[2]["mpjpe_mm"]
    for key in ("p_mpjpe_mm", "per_action", "context_encoder", "n_poses", "protocol", "seed"):
        assert key in figures[0]
    assert figures[0]["calibrated"]
    assert figures[0]["coverage90_after"] == figures[0]["coverage90"]
    context = figures[0]["context_encoder"]  # calibrated on other motions; these are too few
    assert 0 < context["coverage50"] < context["coverage90"] < 1
    assert context["coverage90_before"] is None

    # the same number without Ray, clip by clip
    store = PoseStore.open(small_store)
    loaded = load_run(small_run)
    lifter, sampling = loaded.lifter, loaded.sampling
    errors, context_errors, energies, best, inside = [], [], [], [], []
    recalibration = load_recalibration(small_run)
    assert recalibration is not None
    for clip in store.clips("test"):
        rows = np.arange(clip.first_row, clip.first_row + clip.n_rows)
        seen = read_observations(store, rows[0], rows[-1] + 1)
        lifted = lifter.lift(seen, sampling, row_seeds(0, rows))
        truth = store.read("pose_3d", rows[0], rows[-1] + 1)
        errors.append(mpjpe(lifted.pose_mm, truth))
        context_errors.append(mpjpe(lifted.context_pose_mm, truth))
        energies.append(hypotheses_score(lifted.hypotheses_mm, truth)[0][:, 1:])
        one_by_one = np.swapaxes(lifted.hypotheses_mm, 0, 1)
        best.append(np.min([mpjpe(hypothesis, truth) for hypothesis in one_by_one], axis=0))
        predicted = predict_uncertainty(lifted.hypotheses_mm, sampling, recalibration)
        assert predicted.radii is not None
        assert predicted.covariance_mm2 is not None
        distance = mahalanobis_squared(truth - lifted.pose_mm, predicted.covariance_mm2)
        inside.append(distance[:, 1:] <= predicted.radii[0.5] ** 2)
    assert figures[0]["n_poses"] == len(np.concatenate(errors))
    assert figures[0]["mpjpe_mm"] == pytest.approx(np.concatenate(errors).mean(), abs=0.01)
    alone = np.concatenate(context_errors).mean()
    assert context["mpjpe_mm"] == pytest.approx(alone, abs=0.01)
    assert figures[0]["energy_score_mm"] == pytest.approx(np.concatenate(energies).mean(), abs=0.01)
    found = figures[0]["oracle_best_of_n_mpjpe_mm"]
    assert found == pytest.approx(np.concatenate(best).mean(), abs=0.01)
    assert figures[0]["coverage50"] == pytest.approx(np.concatenate(inside).mean(), abs=0.002)
    poses = pq.read_table(Path(small_run) / "evaluation" / "poses.parquet")
    covariance = np.array(poses["diffpose/covariance_mm2"].to_pylist()).reshape(-1, 17, 6)
    assert (covariance[:, 1:, [0, 3, 5]] > 0).all()
    report = (Path(small_run) / "evaluation" / "report.html").read_text()
    assert "Energy score" in report
    assert f"{figures[2]['mpjpe_mm']:.1f}" in report
    assert "reverse process" in report


def test_baselines_share_the_encoder_and_stand_beside(
    ray_local: None,
    small_run: str,
    small_store: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Stand-Diff and Baseline A come from the same job through its config."""
    runs = {}
    for name, process in (("stand-diff", "gaussian"), ("baseline-a", "single_step")):
        runs[name] = str(tmp_path / name)
        recipe = {
            **SMALL_NETWORKS,
            "denoiser": {
                "width": 8,
                "n_blocks": 1,
                "n_heads": 2,
                "process": process,
                "condition": "none",
            },
            "store": small_store,
            "run": runs[name],
            "encoder": small_run,
        }
        assert train(validate(TrainSettings, recipe)) == 0
    arguments = [f"run={small_run}", f"store={small_store}"]
    others = f"compare=[{runs['stand-diff']},{runs['baseline-a']}]"
    target = tmp_path / "compared.json"
    status = evaluate_job.main([*arguments, others, "--json", str(target)])
    assert status == 0
    found = json.loads(target.read_text())
    assert set(found["runs"]) == {"diffpose", "stand-diff", "baseline-a"}
    assert found["runs"]["diffpose"]["mpjpe_mm"] == found["mpjpe_mm"]
    one_step = found["runs"]["baseline-a"]  # one answer: the Gaussian of its errors
    assert one_step["n_hypotheses"] == 1
    assert one_step["coverage90_before"] is None
    assert 0 < one_step["coverage50"] < one_step["coverage90"] < 1
    assert one_step["gaussian_energy_score_mm"] < one_step["energy_score_mm"]
    assert len({part["mpjpe_mm"] for part in found["runs"].values()}) == 3
    printed = capsys.readouterr().out
    assert "stand-diff" in printed
    assert "baseline-a" in printed


def test_wrong_runs_and_stores_are_explained(
    small_run: str, small_store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate_job.main([f"run={tmp_path}", f"store={small_store}"]) == 2
    assert "no trained context_encoder" in capsys.readouterr().err
    assert evaluate_job.main([f"run={small_run}", f"store={tmp_path}"]) == 2
    assert "no pose store" in capsys.readouterr().err
    assert evaluate_job.main([f"run={small_run}", f"store={small_store}", "sede=1"]) == 2
    assert "Did you mean 'seed'?" in capsys.readouterr().err
    assert evaluate_job.main([f"run={small_run}", f"store={small_store}", "seed=many"]) == 2
    assert "seed" in capsys.readouterr().err


def test_killed_training_goes_on_from_its_last_checkpoint(small_store: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = [
        *DIFFPOSE,
        "train",
        "stage=encoder",
        f"store={small_store}",
        f"run={run}",
        "context_encoder.width=16",
        "context_encoder.n_blocks=1",
        "encoder_training.epochs=24",
        "encoder_training.batch_size=4",
        "validation_poses=100",
    ]
    log = tmp_path / "train.log"
    first = Command(arguments, log)
    try:
        first.wait_until(
            lambda: (
                (run / "encoder_history.jsonl").exists() and len(history(str(run), "encoder")) >= 8
            )
        )
    finally:
        first.kill_driver()
    before = history(str(run), "encoder")
    assert len(before) < 24, "the driver was killed too late to test anything"
    assert not (run / "encoder" / "config.json").exists()

    status, output = run_command(arguments, log)
    assert status == 0, output
    after = history(str(run), "encoder")
    assert [r["epoch"] for r in after] == list(range(1, 25))
    # What was trained before the kill was not trained again: even the timings are the old ones.
    # The last epochs may have been recorded before Ray Train had taken note of their checkpoints.
    same = [one == other for one, other in zip(before, after, strict=False)]
    assert same[:2] == [True] * 2
    # And what had to be trained again came out the same.
    for one, other in zip(before, after, strict=False):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    assert load_encoder(str(run / "encoder"))[1]["trained_epochs"] == 24
