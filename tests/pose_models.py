"""Small real model files that tests write: ViTPose by save_pretrained, heatmaps in ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
import transformers
from onnx import TensorProto, helper, numpy_helper


def vitpose_model(folder: Path) -> None:
    """Save a tiny ViTPose with random weights."""
    torch.manual_seed(0)
    backbone = transformers.VitPoseBackboneConfig(
        image_size=[256, 192], patch_size=[16, 16], hidden_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_experts=1, out_indices=[1],
    )  # fmt: skip
    config = transformers.VitPoseConfig(
        backbone_config=backbone, num_labels=17, use_simple_decoder=True, scale_factor=4
    )
    transformers.VitPoseForPoseEstimation(config).save_pretrained(folder)


def heatmap_model(path: Path, n_joints: int = 17, rows: int = 64, columns: int = 48) -> None:
    """Every joint's heatmap is the red channel, averaged over 4 x 4 pixels."""
    weights = np.zeros((n_joints, 3, 4, 4), np.float32)
    weights[:, 0] = 1 / 16
    node = helper.make_node("Conv", ["image", "w"], ["heatmaps"], strides=[4, 4])
    image = ["n", 3, 4 * rows, 4 * columns]
    heatmaps = ["n", n_joints, rows, columns]
    graph = helper.make_graph(
        [node],
        "pose",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("heatmaps", TensorProto.FLOAT, heatmaps)],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
