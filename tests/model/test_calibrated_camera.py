"""Calibrated cameras and OpenCV's lens: by hand, as inverses, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffpose.model.geometry.lens import Lens
from diffpose.model.geometry.pinhole import look_at
from diffpose.model.multiview.calibrated_camera import CalibratedCamera, rotation_of_vector


def camera(
    distortion: tuple[float, ...] = (-0.05, 0.14, 0.0006, -0.0007, 0.01),
) -> CalibratedCamera:
    place = np.array([3.0, -2.0, 1.7])
    return CalibratedCamera(
        "a", 1088, 1920, (1681.0, 1680.0, 533.0, 948.0), distortion,  # type: ignore[arg-type]
        look_at(place, np.array([0.0, 0.0, 1.0])), 1000 * place,
    )  # fmt: skip


def test_opencvs_lens_bends_as_its_formula_by_hand() -> None:
    k1, k2, p1, p2, k3 = 0.1, -0.02, 0.003, -0.004, 0.005
    x, y = 0.3, -0.4
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    lens = Lens.opencv((1000.0, 900.0, 500.0, 400.0), np.array([k1, k2, p1, p2, k3]))
    seen = lens.project(np.array([[x * 2000, y * 2000, 2000.0]]))
    np.testing.assert_allclose(seen, [[1000 * u + 500, 900 * v + 400]], atol=1e-9)


def test_the_two_models_of_lenses_differ_in_their_tangential_part_alone() -> None:
    rays = np.array([[0.3, 0.2], [-0.5, 0.4]])
    theirs = Lens((1.0, 1.0), (0.0, 0.0), (0.1, 0.02, 0.0), (0.0, 0.0))
    opencv = Lens((1.0, 1.0), (0.0, 0.0), (0.1, 0.02, 0.0), (0.0, 0.0), "opencv")
    np.testing.assert_allclose(theirs.bend(rays), opencv.bend(rays), atol=1e-15)
    with_p = Lens((1.0, 1.0), (0.0, 0.0), (0.1, 0.02, 0.0), (0.01, 0.0), "opencv")
    assert np.abs(with_p.bend(rays) - opencv.bend(rays)).min() > 1e-4


@given(
    k1=st.floats(-0.3, 0.3), k2=st.floats(-0.1, 0.1), p=st.floats(-0.01, 0.01),
    x=st.floats(0, 1088), y=st.floats(0, 1920),
)  # fmt: skip
def test_straightening_is_the_inverse_of_bending_all_over_the_picture(
    k1: float, k2: float, p: float, x: float, y: float
) -> None:
    seen_by = camera((k1, k2, p, -p, 0.0))
    ray = seen_by.rays(np.array([[x, y]]))
    points = seen_by.world_from_camera(np.concatenate([ray, [[1.0]]], axis=1) * 3000)
    np.testing.assert_allclose(seen_by.project(points), [[x, y]], atol=1e-4)


def test_rays_beyond_where_a_lens_turns_back_stay_at_its_rim() -> None:
    lens = Lens.opencv((1000.0, 1000.0, 0.0, 0.0), np.array([-0.3, 0.0, 0.0, 0.0]))
    turning = 1 / np.sqrt(0.9)  # 1 - 3 * 0.3 r^2 = 0
    rim = lens.bend(np.array([turning, 0.0]))
    np.testing.assert_allclose(lens.bend(np.array([3.0, 0.0])), rim, atol=1e-12)
    assert rim[0] > lens.bend(np.array([0.9 * turning, 0.0]))[0]


def test_world_and_camera_frames_are_each_others_inverse_and_the_centre_is_the_origin() -> None:
    seen_by = camera()
    points = np.random.default_rng(0).normal(0, 1000, (5, 17, 3))
    back = seen_by.world_from_camera(seen_by.camera_from_world(points))
    np.testing.assert_allclose(back, points, atol=1e-9)
    np.testing.assert_allclose(seen_by.camera_from_world(seen_by.centre_mm), 0, atol=1e-9)
    ahead = seen_by.camera_from_world(np.array([0.0, 0.0, 1000.0]))
    np.testing.assert_allclose(ahead[:2], 0, atol=1e-9)
    assert ahead[2] > 0


def test_a_point_behind_the_camera_has_no_place_in_its_picture() -> None:
    seen_by = camera()
    behind = seen_by.world_from_camera(np.array([0.0, 0.0, -100.0]))
    assert np.isnan(seen_by.project(behind)).all()


def test_opencvs_rotation_and_translation_give_the_place() -> None:
    r = rotation_of_vector(np.array([0.3, -1.2, 0.7]))
    t = np.array([100.0, -200.0, 3000.0])
    k = np.array([[1000.0, 0, 500], [0, 1100.0, 400], [0, 0, 1]])
    one = CalibratedCamera.seeing("a", None, k, np.zeros(4), np.array([0.3, -1.2, 0.7]), t)
    point = np.array([50.0, 20.0, 900.0])
    local = r @ point + t
    expected = [1000 * local[0] / local[2] + 500, 1100 * local[1] / local[2] + 400]
    np.testing.assert_allclose(one.project(point), expected, atol=1e-9)


def test_a_rotation_vector_turns_about_its_axis_by_its_length() -> None:
    quarter = rotation_of_vector(np.array([0.0, 0.0, np.pi / 2]))
    np.testing.assert_allclose(quarter @ [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], atol=1e-15)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rotation": np.diag([1.0, 1.0, -1.0])}, "no rotation"),
        ({"rotation": 2 * np.eye(3)}, "no rotation"),
        ({"intrinsics_px": (-1.0, 1.0, 0.0, 0.0)}, "above 0"),
        ({"width": 0}, "size"),
        ({"centre_mm": np.array([0.0, np.nan, 0.0])}, "place"),
    ],
)
def test_what_is_no_camera_is_refused(change: dict[str, object], said: str) -> None:
    values = {
        "name": "a", "width": 10, "height": 10, "intrinsics_px": (1.0, 1.0, 5.0, 5.0),
        "distortion": (0.0,) * 5, "rotation": np.eye(3), "centre_mm": np.zeros(3), **change,
    }  # fmt: skip
    with pytest.raises(ValueError, match=said):
        CalibratedCamera(**values)  # type: ignore[arg-type]
