"""Films of several calibrated cameras: their truth, calibration by it, the benchmark on it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from diffpose.benchmarks.real_people import RealPeopleSettings, benchmark
from diffpose.jobs import calibrate
from diffpose.model.metrics.truth_error import truth_error
from diffpose.platform.base.config import validate
from diffpose.platform.synthesis.render import render
from diffpose.platform.workflows.multiview import DetectedScene, detect_scene
from diffpose.preprocessing.render.settings import FilmSettings
from diffpose.preprocessing.videos.sidecar import Truth, read_sidecar, read_truth

pytestmark = pytest.mark.cluster


def placed(truth: np.ndarray, world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rotation and translation that take one camera's points (n, 3) to another's (Kabsch)."""
    a, b = world - world.mean(axis=0), truth - truth.mean(axis=0)
    u, _, v = np.linalg.svd(b.T @ a)
    r = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
    return r, truth.mean(axis=0) - r @ world.mean(axis=0)


def truth_of(film: Path) -> Truth:
    found = read_truth(str(film), read_sidecar(str(film)))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def scene_folder(
    ray_local: None, motion_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """One motion filmed by four cameras, and their calibration, in metres of the first one."""
    folder = tmp_path_factory.mktemp("scene")
    one = folder / "motion"
    one.mkdir()
    shutil.copy(sorted(motion_folder.rglob("*.bvh"))[0], one)
    recipe = {
        "source": {"uri": str(one)}, "out": str(folder / "rendered"), "cameras": {"count": 4},
        "fps": 10, "workers": 2,
    }  # fmt: skip
    assert render(validate(FilmSettings, recipe)) == 0
    films = folder / "films"
    films.mkdir()
    sections = []
    world = None
    for i, film in enumerate(sorted((folder / "rendered").glob("*.mp4"))):
        shutil.copy(film, films / f"cam{i + 1}.mp4")
        points = truth_of(film).joints_mm[0].reshape(-1, 3).astype(np.float64)
        world = points if world is None else world
        r, t = placed(points, world)
        fx, fy, cx, cy = read_sidecar(str(film)).intrinsics_px or (0, 0, 0, 0)
        sections.append(
            f"[cam_0{i + 1}]\nmatrix = {[[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]}\n"
            f"distortions = [0.0, 0.0, 0.0, 0.0]\nrotation = {r.tolist()}\n"
            f"translation = {(t / 1000).tolist()}\n"
        )
    (films / "Calib.toml").write_text("\n".join(sections))
    return folder


def detected(folder: Path) -> DetectedScene:
    recipe = {"detector": {"kind": "bundled"}}
    return detect_scene(str(folder / "films"), None, "m", str(folder / "work"), recipe, 2)


def test_a_truth_by_triangulation_is_as_far_off_as_it_says(scene_folder: Path) -> None:
    scene = detected(scene_folder)
    found = scene.detected.triangulated()
    own = truth_error(found.points_mm, found.covariance_mm2)
    exact = truth_of(sorted((scene_folder / "rendered").glob("*.mp4"))[0])
    moments = exact.at(scene.detected.time_s)
    assert (moments >= 0).all()
    # the world is the first camera's frame
    off = np.linalg.norm(found.points_mm - exact.joints_mm[0, moments], axis=-1)
    assert np.isfinite(off).mean() > 0.9
    real = float(np.sqrt(np.nanmean(np.minimum(off, 200) ** 2)))
    assert real / 3 < own.own_error_mm < 3 * real
    assert np.nanmedian(off) < 60


def test_calibrate_judges_each_camera_by_the_others(scene_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "calibration.json"
    arguments = [
        "source.kind=videos", f"source.uri={scene_folder / 'films'}", "detector.kind=bundled",
        f"views={scene_folder / 'films'}", "unit=m", "workers=2", "every=1", f"out={out}",
    ]  # fmt: skip
    assert calibrate.main(arguments) == 0
    saved = json.loads(out.read_text())
    assert len(saved["temperature"]) == 17
    assert saved["fit_frames"] > 20
    assert saved["report_frames"] > 20
    for level in ("50%", "90%"):
        after = np.array(saved["coverage"][level]["after"])
        assert ((after >= 0) & (after <= 1)).all()
    assert np.mean(saved["coverage"]["90%"]["after"]) > np.mean(saved["coverage"]["50%"]["after"])


def test_the_benchmark_of_real_people_runs_from_films_to_its_table(
    scene_folder: Path, small_run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = validate(
        RealPeopleSettings,
        {
            "films": str(scene_folder / "films"), "unit": "m", "run": small_run, "section": None,
            "detector": {"kind": "bundled"}, "folder": str(scene_folder / "work"), "workers": 2,
        },
    )  # fmt: skip
    assert benchmark(settings) == 0
    printed = capsys.readouterr().out
    assert "4 cameras x" in printed
    assert "| context encoder |" in printed
    assert "| P-MPJPE mm | cam_01 | cam_02 | cam_03 | cam_04 |" in printed
    row = next(line for line in printed.splitlines() if line.startswith("| run |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")][1:]
    mpjpe, n_mpjpe, p_mpjpe = (float(cell) for cell in cells[:3])
    assert p_mpjpe <= n_mpjpe <= mpjpe
    assert 0 <= float(cells[-2]) <= float(cells[-1]) <= 100
