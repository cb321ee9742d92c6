"""Calibrations as the field's programs write them, matched to recordings by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from films import write_film

from diffpose.model.multiview.calibrated_camera import CalibratedCamera, rotation_of_vector
from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.multiview.calibration_files import read_calibration
from diffpose.preprocessing.multiview.views import find_views, matched, sized, with_sidecars
from diffpose.preprocessing.videos.sidecar import read_sidecar

REAL = Path(__file__).parents[3] / "shared" / "real" / "pose2sim-single"
K = np.array([[1600.0, 0.0, 540.0], [0.0, 1610.0, 950.0], [0.0, 0.0, 1.0]])
BEND = np.array([-0.05, 0.14, 0.0006, 0.0007])
TURN = {"cam_01": np.array([1.7, 1.0, -0.4]), "cam_02": np.array([1.3, 1.6, -1.2])}
MOVE_MM = {"cam_01": np.array([320.0, 950.0, 2890.0]), "cam_02": np.array([-110.0, 770.0, 3070.0])}
POINT = np.array([100.0, -50.0, 1100.0])


def pixel(name: str, bend: np.ndarray = BEND) -> np.ndarray:
    """Where OpenCV's formulas put POINT."""
    x, y, z = rotation_of_vector(TURN[name]) @ POINT + MOVE_MM[name]
    u, v = x / z, y / z
    k1, k2, p1, p2 = bend
    r2 = u * u + v * v
    radial = 1 + k1 * r2 + k2 * r2**2
    bent = [
        u * radial + 2 * p1 * u * v + p2 * (r2 + 2 * u * u),
        v * radial + p1 * (r2 + 2 * v * v) + 2 * p2 * u * v,
    ]
    return np.array([K[0, 0] * bent[0] + K[0, 2], K[1, 1] * bent[1] + K[1, 2]])


def check(cameras: list[CalibratedCamera], names: list[str]) -> None:
    assert [camera.name for camera in cameras] == names
    for camera, name in zip(cameras, TURN, strict=True):
        np.testing.assert_allclose(camera.project(POINT), pixel(name), atol=1e-2)


def toml(path: Path, nested: bool = False, more: str = "") -> Path:
    parts = []
    for i, name in enumerate(TURN):
        head = f"[cameras.{i}]" if nested else f'[{name}]\nname = "{name}"'
        parts.append(
            f"{head}\nsize = [ 1088.0, 1920.0]\nmatrix = {K.tolist()}\n"
            f"distortions = {BEND.tolist()}\nrotation = {TURN[name].tolist()}\n"
            f"translation = {(MOVE_MM[name] / 1000).tolist()}\n{more}"
        )
    path.write_text("\n".join(parts) + "\n[metadata]\nadjusted = false\nerror = 0.0\n")
    return path


def easymocap(folder: Path, rotation: str = "R") -> Path:
    def matrix(values: np.ndarray) -> str:
        rows, columns = values.shape
        data = ", ".join(f"{v:.16e}" if v else "0." for v in values.ravel())
        return (
            f"!!opencv-matrix\n   rows: {rows}\n   cols: {columns}\n   dt: d\n   data: [ {data} ]\n"
        )

    inside = "%YAML:1.0\n---\nnames:\n" + "".join(f'   - "{name}"\n' for name in TURN)
    outside = inside
    for name, turn in TURN.items():
        inside += f"K_{name}: {matrix(K)}dist_{name}: {matrix(np.append(BEND, 0.0)[None])}"
        turned = turn[:, None] if rotation == "R" else rotation_of_vector(turn)
        outside += f"{rotation}_{name}: {matrix(turned)}"
        outside += f"T_{name}: {matrix(MOVE_MM[name][:, None] / 1000)}"
    (folder / "intri.yml").write_text(inside)
    (folder / "extri.yml").write_text(outside)
    return folder / "intri.yml"


def qualisys(path: Path, more: str = "") -> Path:
    parts = []
    for name, turn in TURN.items():
        r = rotation_of_vector(turn)
        place = -r.T @ MOVE_MM[name]
        theirs = np.diag([1.0, -1.0, -1.0]) @ r
        cells = " ".join(f'r{i + 1}{k + 1}="{theirs[i, k]}"' for i in range(3) for k in range(3))
        axes = " ".join(f'{axis}="{v}"' for axis, v in zip("xyz", place, strict=True))
        parts.append(
            f'<camera active="1" serial="{name}" viewrotation="0">'
            '<fov_video bottom="1919" left="0" right="1087" top="0"/>'
            f"<transform {cells} {axes}/>"
            f'<intrinsic focalLengthU="{64 * K[0, 0]}" focalLengthV="{64 * K[1, 1]}" '
            f'centerPointU="{64 * K[0, 2]}" centerPointV="{64 * K[1, 2]}" '
            f'radialDistortion1="{BEND[0]}" radialDistortion2="{BEND[1]}" '
            'radialDistortion3="0.0" '
            f'tangentalDistortion1="{BEND[2]}" tangentalDistortion2="{BEND[3]}" {more}/>'
            "</camera>"
        )
    path.write_text(
        "<?xml version='1.0' encoding='ASCII'?>\n<calibration><cameras>"
        + "".join(parts)
        + "</cameras></calibration>"
    )
    return path


def test_a_qualisys_calibration_projects_as_opencvs_quantities_do(tmp_path: Path) -> None:
    cameras = read_calibration(str(qualisys(tmp_path / "Calib.qca.txt")))
    check(cameras, ["cam_01", "cam_02"])
    assert (cameras[0].width, cameras[0].height) == (1088, 1920)


def test_a_toml_calibration_projects_as_opencvs_quantities_do(tmp_path: Path) -> None:
    flat = toml(tmp_path / "Calib.toml")
    check(read_calibration(str(flat), "m"), ["cam_01", "cam_02"])
    nested = toml(tmp_path / "camera_array.toml", nested=True)
    check(read_calibration(str(nested), "m"), ["0", "1"])


def test_the_unit_of_a_toml_calibration_is_asked_for(tmp_path: Path) -> None:
    path = toml(tmp_path / "Calib.toml")
    with pytest.raises(SourceError, match="unit=m"):
        read_calibration(str(path))
    with pytest.raises(SourceError, match="m apart"):
        read_calibration(str(path), "mm")


@pytest.mark.parametrize("rotation", ["R", "Rot"])
def test_easymocaps_files_project_as_opencvs_quantities_do(tmp_path: Path, rotation: str) -> None:
    cameras = read_calibration(str(easymocap(tmp_path, rotation)))
    check(cameras, ["cam_01", "cam_02"])
    assert cameras[0].width is None


def test_a_camera_that_is_ignored_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "camera_array.toml"
    toml(path, nested=True)
    path.write_text(path.read_text() + "\n[cameras.7]\nignore = true\nsize = [10, 10]\n")
    assert len(read_calibration(str(path), "m")) == 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rotation = ", "turned = ", r"\[cam_01\] has no rotation"),
        ("[ 1088.0, 1920.0]", '"large"', r"\[cam_01\]: size must be finite numbers"),
        ("[[1600.0, 0.0", "[[-1600.0, 0.0", r"\[cam_01\].*focal lengths"),
        ("matrix", "intrinsics", "no table with a camera's matrix"),
        ("[cam_01]", "[cam_01", "is no TOML"),
    ],
)
def test_errors_name_file_section_and_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = toml(tmp_path / "Calib.toml")
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SourceError, match=said) as error:
        read_calibration(str(path), "m")
    assert "Calib.toml" in str(error.value)


def test_a_fisheye_lens_is_refused(tmp_path: Path) -> None:
    path = toml(tmp_path / "Calib.toml", more="fisheye = true\n")
    with pytest.raises(SourceError, match="fisheye"):
        read_calibration(str(path), "m")


def test_easymocaps_missing_key_and_missing_file_are_named(tmp_path: Path) -> None:
    easymocap(tmp_path)
    outside = tmp_path / "extri.yml"
    outside.write_text(outside.read_text().replace("T_cam_02", "T_cam_03"))
    with pytest.raises(SourceError, match="no T_cam_02"):
        read_calibration(str(tmp_path))
    outside.unlink()
    with pytest.raises(SourceError, match=r"needs .*extri.yml"):
        read_calibration(str(tmp_path))


def test_a_qualisys_file_with_a_missing_number_names_camera_and_key(tmp_path: Path) -> None:
    path = qualisys(tmp_path / "a.qca.txt")
    path.write_text(path.read_text().replace("focalLengthV", "focal"))
    with pytest.raises(SourceError, match="camera 'cam_01': focalLengthV"):
        read_calibration(str(path))


def test_a_folder_with_two_calibrations_or_none_asks_for_the_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no calibration"):
        read_calibration(str(tmp_path))
    toml(tmp_path / "a.toml")
    qualisys(tmp_path / "b.qca.txt")
    with pytest.raises(SourceError, match=r"a\.toml"):
        read_calibration(str(tmp_path))


def named(*names: str) -> list[CalibratedCamera]:
    lens = (1.0, 1.0, 0.0, 0.0)
    return [
        CalibratedCamera(n, 10, 10, lens, (0.0,) * 5, np.eye(3), np.array([500.0 * i, 0, 0]))  # type: ignore[arg-type]
        for i, n in enumerate(names)
    ]


def test_recordings_find_their_cameras_by_equal_then_by_plain_names_then_by_numbers() -> None:
    cameras = named("cam_01", "cam_02", "cam_10")
    assert matched(["cam_01.mp4"], cameras)["cam_01.mp4"].name == "cam_01"
    assert matched(["Cam1.mp4", "CAM10.mp4"], cameras)["CAM10.mp4"].name == "cam_10"
    assert matched(["video2.mp4"], cameras)["video2.mp4"].name == "cam_02"
    assert matched(["cam_02_json", "cam_01_json"], cameras)["cam_02_json"].name == "cam_02"


def test_recordings_without_a_camera_are_listed_with_the_cameras_there_are() -> None:
    with pytest.raises(SourceError, match=r"left\.mp4: the calibration has cam_01, cam_02"):
        matched(["cam01.mp4", "left.mp4"], named("cam_01", "cam_02"))
    with pytest.raises(SourceError, match="No camera of their own"):
        matched(["cam01.mp4", "cam1.avi"], named("cam_01", "cam_02"))


def test_a_scaled_film_scales_its_camera_and_another_shape_is_refused() -> None:
    one = CalibratedCamera(
        "a",
        1000,
        2000,
        (800.0, 810.0, 500.0, 990.0),
        (0.0,) * 5,
        np.eye(3),
        np.zeros(3),  # type: ignore[arg-type]
    )
    half = sized(one, (500, 1000), "a.mp4")
    assert half.intrinsics_px == (400.0, 405.0, 250.0, 495.0)
    cut = sized(one, (992, 2000), "a.mp4")
    assert (cut.width, cut.intrinsics_px) == (992, one.intrinsics_px)
    with pytest.raises(SourceError, match="calibrated for 1000 x 2000"):
        sized(one, (2000, 1000), "a.mp4")


def test_films_and_calibration_in_a_folder_become_films_with_lenses(tmp_path: Path) -> None:
    qualisys(tmp_path / "Calib.qca.txt")
    for name in ("cam01", "cam02"):
        write_film(tmp_path / f"{name}.mp4", n_frames=3, size=(192, 108))
    views = find_views(str(tmp_path))
    assert [view.camera.name for view in views] == ["cam_01", "cam_02"]
    names = with_sidecars(str(tmp_path / "work"), views, splits={views[0].name: "validation"})
    assert names == ["cam_01.mp4", "cam_02.mp4"]
    sidecar = read_sidecar(str(tmp_path / "work" / "cam_01.mp4"))
    assert (sidecar.camera, sidecar.split) == ("cam_01", "validation")
    local = views[0].camera.camera_from_world(POINT)
    np.testing.assert_allclose(sidecar.project_px(local), views[0].camera.project(POINT))


@pytest.mark.skipif(not REAL.exists(), reason="needs the films of ../shared/real")
def test_the_real_films_find_their_cameras() -> None:
    views = find_views(str(REAL))
    assert [view.camera.name for view in views] == ["cam01", "cam02", "cam03", "cam04"]
    for view in views:
        assert 1650 < view.camera.intrinsics_px[0] < 1700
        middle = view.camera.project(np.array([0.0, 0.0, 1000.0]))
        assert (np.array([0, 0]) < middle).all()
        assert (middle < [view.camera.width, view.camera.height]).all()
