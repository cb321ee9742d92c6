"""ViTPose, RT-DETR and ONNX models: small real files through the real loading code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import transformers
from onnx import TensorProto, helper, numpy_helper
from pose_models import heatmap_model, vitpose_model

from diffpose.platform.base.config import validate
from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.detectors.interface import crops_from_windows
from diffpose.preprocessing.detectors.onnx_pose import (
    OnnxPoseDetector,
    OnnxPoseSettings,
    _probabilities,
)
from diffpose.preprocessing.detectors.rtdetr import RtDetrFinder
from diffpose.preprocessing.detectors.vitpose import VitPoseDetector, VitPoseSettings

WINDOWS = np.array([[100.0, 50.0, 1.5, 1.5], [-20.0, 10.0, 0.5, 0.5]], dtype=np.float32)


@pytest.fixture(scope="module")
def vitpose_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vitpose")
    vitpose_model(folder)
    return folder


@pytest.mark.parametrize("mirror", [False, True])
def test_vitpose_finds_joints_in_our_order(vitpose_folder: Path, mirror: bool) -> None:
    settings = validate(VitPoseSettings, {"model": str(vitpose_folder), "mirror": mirror})
    detector = VitPoseDetector(settings)
    assert detector.input_size == (256, 192)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 256, 192, 3), dtype=np.uint8)
    heatmaps, crops = detector.detect(pixels, WINDOWS)
    assert heatmaps.shape == (2, 17, 64, 48)
    assert (heatmaps >= 0).all()
    np.testing.assert_allclose(heatmaps.sum(axis=(2, 3)), 1, rtol=1e-4)
    np.testing.assert_array_equal(detector.detect(pixels, WINDOWS)[0], heatmaps)
    assert detector.version.startswith("vitpose-")
    # nose and wrists are COCO's own maps: the network's, clamped
    with torch.inference_mode():
        mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
        std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
        values = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std
        raw = detector.network(pixel_values=values).heatmaps.numpy().clip(min=0)
    if not mirror:
        for ours, theirs in ((9, 0), (13, 9), (16, 10)):
            own = raw[0, theirs] / raw[0, theirs].sum()
            np.testing.assert_allclose(heatmaps[0, ours], own, atol=1e-5)
    # where transformers' own post-processing puts heatmap cell (i, j), in pixel indices
    x0, y0, w, h = crops[0]
    for j in (0, 23, 47):
        theirs_x = 100.0 - 0.5 + 0.5 * 1.5 + j / 47 * (192 - 1) * 1.5
        assert x0 + (j + 0.5) * w - 0.5 == pytest.approx(theirs_x, abs=1e-3)
    for i in (0, 40, 63):
        theirs_y = 50.0 - 0.5 + 0.5 * 1.5 + i / 63 * (256 - 1) * 1.5
        assert y0 + (i + 0.5) * h - 0.5 == pytest.approx(theirs_y, abs=1e-3)


def test_missing_vitpose_is_explained(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="save_pretrained"):
        VitPoseDetector(VitPoseSettings(model=str(tmp_path)))


def test_rtdetr_finds_boxes_in_the_frame(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.RTDetrConfig(
        backbone_config=backbone, encoder_hidden_dim=32, encoder_in_channels=[8, 16, 16],
        encoder_ffn_dim=32, d_model=32, num_queries=12, decoder_ffn_dim=32, decoder_layers=1,
        encoder_layers=1, decoder_attention_heads=2, encoder_attention_heads=2,
        decoder_in_channels=[32, 32, 32], num_feature_levels=3, decoder_n_points=2,
        id2label={0: "person", 1: "car"},
    )  # fmt: skip
    transformers.RTDetrForObjectDetection(config).save_pretrained(tmp_path)
    finder = RtDetrFinder(str(tmp_path), threshold=1e-6)
    frames = np.random.default_rng(0).integers(0, 256, (2, 120, 200, 3), dtype=np.uint8)
    people = finder.find(frames)
    assert len(people) == 2
    found = np.concatenate(people)
    assert len(found) > 0
    assert (found[:, :2] <= found[:, 2:4]).all()
    assert (found[:, :4] >= 0).all()
    assert (found[:, [0, 2]] <= 200).all()
    assert (found[:, [1, 3]] <= 120).all()
    for rows in people:
        assert (np.diff(rows[:, 4]) <= 0).all()
    strict = RtDetrFinder(str(tmp_path), threshold=0.999).find(frames)
    assert [rows.shape for rows in strict] == [(0, 5), (0, 5)]


def simcc_model(path: Path, n_joints: int = 17) -> None:
    """Bins across and down: brightness of columns and rows, each pixel two bins."""
    nodes = [
        helper.make_node("Slice", ["image", "zero", "one", "axis"], ["red"]),
        helper.make_node("ReduceMax", ["red"], ["columns"], axes=[2], keepdims=0),
        helper.make_node("ReduceMax", ["red"], ["rows"], axes=[3], keepdims=0),
        helper.make_node("Unsqueeze", ["columns", "last"], ["c4"]),
        helper.make_node("Unsqueeze", ["rows", "last"], ["r4"]),
        helper.make_node("Expand", ["c4", "c_shape"], ["c_wide"]),
        helper.make_node("Expand", ["r4", "r_shape"], ["r_wide"]),
        helper.make_node("Reshape", ["c_wide", "c_flat"], ["simcc_x"]),
        helper.make_node("Reshape", ["r_wide", "r_flat"], ["simcc_y"]),
    ]
    constants = {
        "zero": [0], "one": [1], "axis": [1], "last": [3],
        "c_shape": [1, n_joints, 192, 2], "r_shape": [1, n_joints, 256, 2],
        "c_flat": [0, n_joints, 384], "r_flat": [0, n_joints, 512],
    }  # fmt: skip
    graph = helper.make_graph(
        nodes, "simcc",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 256, 192])],
        [
            helper.make_tensor_value_info("simcc_x", TensorProto.FLOAT, ["n", n_joints, 384]),
            helper.make_tensor_value_info("simcc_y", TensorProto.FLOAT, ["n", n_joints, 512]),
        ],
        [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)


def spot(row: int, column: int) -> np.ndarray:
    """A black input with one bright block of 4 x 4 pixels from (row, column) on."""
    pixels = np.zeros((1, 256, 192, 3), np.uint8)
    pixels[0, row : row + 4, column : column + 4, 0] = 255
    return pixels


PLAIN = {"mean": [0, 0, 0], "std": [10, 10, 10]}


def test_onnx_heatmaps_lie_where_the_pixels_are(tmp_path: Path) -> None:
    heatmap_model(tmp_path / "pose.onnx")
    settings = validate(OnnxPoseSettings, {"model": str(tmp_path / "pose.onnx"), **PLAIN})
    detector = OnnxPoseDetector(settings)
    assert detector.input_size == (256, 192)
    heatmaps, crops = detector.detect(spot(120, 60), WINDOWS[:1])
    assert heatmaps.shape == (1, 17, 64, 48)
    assert heatmaps[0, 9].argmax() == 30 * 48 + 15
    # the block's middle: input px (62, 122), in the image 100 + 1.5 * 62, 50 + 1.5 * 122
    x0, y0, w, h = crops[0]
    assert x0 + 15.5 * w == pytest.approx(100 + 1.5 * 62)
    assert y0 + 30.5 * h == pytest.approx(50 + 1.5 * 122)
    np.testing.assert_allclose(crops, crops_from_windows(WINDOWS[:1], (256, 192), "edges"))


def test_onnx_of_another_grid_covers_the_same_window(tmp_path: Path) -> None:
    heatmap_model(tmp_path / "pose.onnx", rows=96, columns=72)  # input 384 x 288
    settings = validate(OnnxPoseSettings, {"model": str(tmp_path / "pose.onnx"), **PLAIN})
    detector = OnnxPoseDetector(settings)
    pixels = np.zeros((1, 384, 288, 3), np.uint8)
    pixels[0, 192:204, 96:108, 0] = 255
    heatmaps, crops = detector.detect(pixels, WINDOWS[:1])
    p = heatmaps[0, 9]
    x0, y0, w, h = crops[0]
    x = x0 + w * (p.sum(axis=0) * (np.arange(48) + 0.5)).sum()
    y = y0 + h * (p.sum(axis=1) * (np.arange(64) + 0.5)).sum()
    assert x == pytest.approx(100 + 1.5 * 102, abs=0.01)
    assert y == pytest.approx(50 + 1.5 * 198, abs=0.01)


def test_simcc_becomes_heatmaps_at_the_right_place(tmp_path: Path) -> None:
    simcc_model(tmp_path / "pose.onnx")
    settings = validate(OnnxPoseSettings, {"model": str(tmp_path / "pose.onnx"), **PLAIN})
    heatmaps, crops = OnnxPoseDetector(settings).detect(spot(100, 80), WINDOWS[:1])
    p = heatmaps[0, 9]
    x0, y0, w, h = crops[0]
    x = x0 + w * (p.sum(axis=0) * (np.arange(48) + 0.5)).sum()
    y = y0 + h * (p.sum(axis=1) * (np.arange(64) + 0.5)).sum()
    # bins 160 .. 167 and 200 .. 207 light up: bin b stands for pixel index b / 2, centre + 0.5
    assert x == pytest.approx(100 + 1.5 * (np.arange(160, 168).mean() / 2 + 0.5), abs=0.02)
    assert y == pytest.approx(50 + 1.5 * (np.arange(200, 208).mean() / 2 + 0.5), abs=0.02)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layout": "halpe_26"}, ["17 joints", "halpe_26", "26"]),
        ({"model": "none.onnx"}, ["none.onnx", "cannot be read"]),
        ({"model": "{text}"}, ["no ONNX model"]),
    ],
)
def test_wrong_onnx_models_are_explained(
    tmp_path: Path, change: dict[str, str], words: list[str]
) -> None:
    heatmap_model(tmp_path / "pose.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    values = {"model": str(tmp_path / "pose.onnx"), **change}
    if values["model"] == "{text}":
        values["model"] = str(tmp_path / "text.onnx")
    with pytest.raises(SourceError) as caught:
        OnnxPoseDetector(validate(OnnxPoseSettings, values))
    for word in words:
        assert word in str(caught.value)


def test_simcc_outputs_are_sharpened_as_they_were_trained() -> None:
    """RTMPose's loss takes softmax(10 x): its outputs are bumps of height 1, not logits."""
    bins = np.arange(384.0)
    ideal = np.exp(-((bins - 190) ** 2) / (2 * 5.66**2))[None, None]
    sharp, blunt = (_probabilities(ideal, beta)[0, 0] for beta in (10.0, 1.0))
    near = np.abs(bins - 190) <= 12
    assert sharp[near].sum() > 0.99
    assert blunt[near].sum() < 0.2
    np.testing.assert_allclose(_probabilities(sharp[None, None], 10.0)[0, 0], sharp)  # no logits
