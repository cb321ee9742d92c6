"""diffpose import-checkpoint: released files in, a run that the other jobs use out."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from official_files import gcn_diff, gcn_pose, mixste, save_list, save_mixste

from diffpose.jobs import evaluate, import_checkpoint, recalibrate
from diffpose.model.observations.initial_distribution import Observations
from diffpose.model.released.official_lifter import OfficialLifter
from diffpose.platform.base.errors import RunError
from diffpose.platform.runs.load import load_run
from diffpose.platform.runs.model_files import weights_digest


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    return (
        save_list(tmp_path / "gcn_xyz_cpn.pth", gcn_pose()),
        save_mixste(tmp_path / "mixste_cpn_243f.bin", mixste()),
        save_list(tmp_path / "diffpose_uvxyz_cpn.pth", gcn_diff(), gcn_diff(9)),
    )


def standing(frames: int) -> Observations:
    rng = np.random.default_rng(0)
    points = rng.uniform(300, 700, (frames, 17, 2))
    camera = np.tile([1145.0, 1145.0, 500.0, 500.0], (frames, 1))
    return Observations.from_keypoints(points, camera, sigma_px=np.full((frames, 17), 4.0))


def lifted(run: str) -> np.ndarray:
    loaded = load_run(run)
    lifter, sampling = loaded.lifter, loaded.sampling
    poses = lifter.lift(standing(3), sampling, np.zeros(3, np.uint64)).pose_mm
    assert np.isfinite(poses).all()
    assert not poses[:, 0].any()
    return poses


def test_frames(files: tuple[str, str, str], tmp_path: Path, capsys) -> None:
    pose, _, diff = files
    run = str(tmp_path / "run")
    words = [f"context={pose}", f"denoiser={diff}"]
    assert import_checkpoint.main([*words, f"run={run}"]) == 0
    assert "gcn_xyz_cpn.pth" in capsys.readouterr().out
    loaded = load_run(run)
    lifter, sampling, config = loaded.lifter, loaded.sampling, loaded.config
    assert isinstance(lifter, OfficialLifter)
    assert sampling.n_hypotheses == 1
    assert lifter.grid == (13, 1, 0)
    assert config["origin"]["weights"] == "plain"
    assert len(config["origin"]["sha256"]) == 64
    assert config["official"]["cameras"][0]["name"] == "54138969"
    plain = lifted(run)

    assert import_checkpoint.main([*words, f"run={run}"]) == 2  # never over a run
    assert "holds a run already" in capsys.readouterr().err

    ema = str(tmp_path / "ema")
    assert import_checkpoint.main([*words, f"run={ema}", "weights=ema"]) == 0
    assert np.abs(lifted(ema) - plain).max() > 1
    assert weights_digest(ema) != weights_digest(run)


def test_windows(files: tuple[str, str, str], tmp_path: Path) -> None:
    _, encoder, diff = files
    run = str(tmp_path / "run")
    words = [f"context={encoder}", f"denoiser={diff}", f"run={run}", "context_heads=4"]
    assert import_checkpoint.main(words) == 0
    lifter = load_run(run).lifter
    assert isinstance(lifter, OfficialLifter)
    assert lifter.grid == (1, 0)
    assert lifter.process.mirror_context
    lifted(run)


def test_wrong_input_is_explained(files: tuple[str, str, str], tmp_path: Path, capsys) -> None:
    pose, _, diff = files
    run = f"run={tmp_path / 'run'}"
    assert import_checkpoint.main([f"context={diff}", f"denoiser={diff}", run]) == 2
    assert "give it as denoiser=" in capsys.readouterr().err
    words = [f"context={pose}", f"denoiser={diff}", run]
    assert import_checkpoint.main([*words, "visited=[0,60]"]) == 2
    assert "must fall" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_parts_of_two_imports_do_not_mix(files: tuple[str, str, str], tmp_path: Path) -> None:
    pose, _, diff = files
    other = save_list(tmp_path / "other.pth", gcn_pose(5))
    for name, context in (("a", pose), ("b", other)):
        words = [f"context={context}", f"denoiser={diff}", f"run={tmp_path / name}"]
        assert import_checkpoint.main(words) == 0
    (tmp_path / "a" / "encoder" / "weights.safetensors").write_bytes(
        (tmp_path / "b" / "encoder" / "weights.safetensors").read_bytes()
    )
    with pytest.raises(RunError, match="not imported together"):
        load_run(str(tmp_path / "a"))


def test_damaged_configs_are_explained(files: tuple[str, str, str], tmp_path: Path) -> None:
    pose, _, diff = files
    run = tmp_path / "run"
    words = [f"context={pose}", f"denoiser={diff}", f"run={run}"]
    assert import_checkpoint.main(words) == 0
    config = run / "denoiser" / "config.json"
    content = json.loads(config.read_text())
    del content["official"]["cameras"]
    config.write_text(json.dumps(content))
    with pytest.raises(RunError, match="Import it again"):
        load_run(str(run))


@pytest.mark.cluster
def test_an_imported_run_is_evaluated(
    files: tuple[str, str, str], small_store: str, tmp_path: Path, capsys
) -> None:
    pose, _, diff = files
    run, target = tmp_path / "run", tmp_path / "figures.json"
    words = [f"context={pose}", f"denoiser={diff}", f"run={run}"]
    assert import_checkpoint.main(words) == 0
    assert evaluate.main([f"run={run}", f"store={small_store}", "--json", str(target)]) == 0
    (figures,) = json.loads(target.read_text())["runs"].values()
    assert math.isfinite(figures["mpjpe_mm"])
    assert "noise" in (run / "evaluation" / "report.html").read_text()
    assert not figures["calibrated"]

    assert evaluate.main([f"run={run}", f"store={small_store}", "gpus=1"]) == 2
    assert "Imported runs lift on CPUs" in capsys.readouterr().err

    # what nobody knows of its errors is measured on poses of one's own
    words = [f"run={run}", f"store={small_store}"]
    assert evaluate.main([*words, "refine=frame"]) == 2
    assert "diffpose recalibrate" in capsys.readouterr().err
    assert recalibrate.main([*words, "split=train"]) == 0
    assert "recalibrated on" in capsys.readouterr().out
    free = figures["mpjpe_mm"]
    assert evaluate.main([*words, "root=predicted", "--json", str(target)]) == 0
    told = json.loads(target.read_text())
    (figures,) = told["runs"].values()
    assert "root is left in and its error counts" in told["protocol"]
    assert abs(figures["mpjpe_mm"] - free) > 0.1
    assert evaluate.main([*words, "root=predicted", "refine=frame"]) == 2
    assert "root=subtracted" in capsys.readouterr().err
    assert evaluate.main([*words, "refine=frame", "--json", str(target)]) == 0
    (figures,) = json.loads(target.read_text())["runs"].values()
    assert figures["calibrated"]
    assert figures["mpjpe_mm"] < free


@pytest.mark.parametrize(
    ("context", "denoiser", "grid"),
    [
        ("gcn_xyz_gt.pth", "diffpose_uvxyz_gt.pth", (7, 1, 0)),
        ("gcn_xyz_cpn.pth", "diffpose_uvxyz_cpn.pth", (13, 1, 0)),
        ("any.pth", "human36m-gt-2.pth", (7, 1, 0)),
        ("ckpt.pth", "weights.pth", None),
        ("gcn_xyz_gt.pth", "diffpose_uvxyz_cpn.pth", None),
    ],
)
def test_steps_are_those_of_the_keypoints_or_asked_for(
    tmp_path: Path, context: str, denoiser: str, grid: tuple[int, ...] | None, capsys
) -> None:
    """The authors' settings for true keypoints are [0, 6], on frames as on video."""
    save_list(tmp_path / context, gcn_pose())
    save_list(tmp_path / denoiser, gcn_diff())
    run = tmp_path / "run"
    words = [f"context={tmp_path / context}", f"denoiser={tmp_path / denoiser}", f"run={run}"]
    if grid is None:
        assert import_checkpoint.main(words) == 2
        asked = capsys.readouterr().err
        assert "visited=[0,12]" in asked
        assert "visited=[0,6]" in asked
        assert not run.exists()
        assert import_checkpoint.main([*words, "visited=[0,6]"]) == 0
        grid = (7, 1, 0)
    else:
        assert import_checkpoint.main(words) == 0
    assert load_run(str(run)).lifter.grid == grid
