"""What every detector promises (detectors/interface.py, records/kinds.py), kept by all of them."""

from __future__ import annotations

import typing
from pathlib import Path

import numpy as np
import pytest
from pose_models import heatmap_model, vitpose_model
from tflite_models import blazepose_folder

from diffpose.platform.base.config import validate
from diffpose.preprocessing.detectors import bundled, onnx_pose, vitpose
from diffpose.preprocessing.detectors.interface import PixelDetectorKind
from diffpose.preprocessing.detectors.registry import DetectorSettings, temperatures
from diffpose.preprocessing.records.kinds import DetectorKind, Material

WINDOWS = np.array([[100.0, 50.0, 1.5, 1.5], [-20.0, 10.0, 0.5, 0.5]], dtype=np.float32)


def kinds() -> dict[str, type[DetectorKind]]:
    """All detectors that settings can name."""
    union = typing.get_args(typing.get_args(DetectorSettings)[0])
    classes = [typing.get_args(member)[0] for member in union]
    return {str(one.model_fields["kind"].default): one for one in classes}


def example(kind: str, folder: Path) -> DetectorKind:
    """Settings of each detector that can run here; one that is added needs its own."""
    values: dict[str, object] = {}
    if kind == "vitpose":
        vitpose_model(folder)
        values = {"model": str(folder)}
    elif kind == "onnx":
        heatmap_model(folder / "pose.onnx")
        values = {"model": str(folder / "pose.onnx")}
    elif kind == "blazepose":
        blazepose_folder(folder)
        values = {"weights": str(folder)}
    elif kind == "recorded":
        values = {"uri": str(folder)}
    return validate(kinds()[kind], values)


PIXELS = sorted(name for name, one in kinds().items() if issubclass(one, PixelDetectorKind))


@pytest.fixture(params=sorted(kinds()))
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> DetectorKind:
    return example(request.param, tmp_path)


@pytest.fixture(params=PIXELS)
def pixel_settings(request: pytest.FixtureRequest, tmp_path: Path) -> PixelDetectorKind:
    found = example(request.param, tmp_path)
    assert isinstance(found, PixelDetectorKind)
    return found


def test_settings_say_what_they_are(settings: DetectorKind) -> None:
    assert settings.reads in typing.get_args(Material)
    assert settings.version() == settings.version() != ""
    assert settings.temperature().shape == (17,)
    assert (settings.temperature() > 0).all()
    moved = settings.absolute()
    assert moved.absolute() == moved
    assert {settings: 1}[settings] == 1  # they key caches
    np.testing.assert_array_equal(
        temperatures(settings, None, settings.version()), settings.temperature()
    )


def test_settings_know_what_the_loaded_detector_is(pixel_settings: PixelDetectorKind) -> None:
    detector = pixel_settings.open("cpu")
    assert pixel_settings.version() == detector.version
    assert pixel_settings.crop_size() == detector.input_size


@pytest.mark.parametrize("kind", ["bundled", "vitpose"])
def test_a_version_needs_no_network(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = example(kind, tmp_path)
    assert isinstance(settings, PixelDetectorKind)

    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("a network was built")

    monkeypatch.setattr(bundled, "HeatmapNetwork", no_network)
    monkeypatch.setattr(vitpose.VitPoseDetector, "__init__", no_network)
    monkeypatch.setattr(onnx_pose.OnnxPoseDetector, "__init__", no_network)
    assert settings.version()
    assert settings.crop_size() == (256, 192)


def test_heatmaps_are_distributions_in_their_windows(pixel_settings: PixelDetectorKind) -> None:
    detector = pixel_settings.open("cpu")
    rows, columns = detector.input_size
    pixels = np.random.default_rng(0).integers(0, 256, (2, rows, columns, 3), dtype=np.uint8)
    before = pixels.copy()
    heatmaps, crops = detector.detect(pixels, WINDOWS)
    np.testing.assert_array_equal(pixels, before)
    assert heatmaps.shape == (2, 17, 64, 48)
    assert heatmaps.dtype == crops.dtype == np.float32
    assert np.isfinite(heatmaps).all()
    assert (heatmaps >= 0).all()
    assert (heatmaps.max(axis=(2, 3)) > 0).all()
    # the grid covers its window, to half a cell
    size = np.array([columns, rows]) * WINDOWS[:, 2:]
    middle = crops[:, :2] + crops[:, 2:] * [24, 32]
    assert np.abs(middle - (WINDOWS[:, :2] + size / 2)).max() < crops[:, 2:].max() / 2
    again, _ = detector.detect(pixels, WINDOWS)
    np.testing.assert_array_equal(again, heatmaps)
    alone, _ = detector.detect(pixels[1:], WINDOWS[1:])
    np.testing.assert_allclose(alone[0], heatmaps[1], atol=1e-5)
