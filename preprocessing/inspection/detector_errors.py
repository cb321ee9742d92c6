"""Stages that compare a detector with known truth: coverage per temperature, keypoint errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffpose.model.geometry.body import hidden_by_own_body
from diffpose.model.geometry.camera import project
from diffpose.model.heatmaps import grid as hm
from diffpose.model.heatmaps.temperature import TruthCounts, locate_truth, quantised
from diffpose.platform.execution.ray_stages import Row, RowFunction
from diffpose.preprocessing.detectors.examples import person_boxes
from diffpose.preprocessing.detectors.registry import pixel_detector
from diffpose.preprocessing.detectors.simulated import SimulatedDetectorSettings
from diffpose.preprocessing.keypoints.recorded import RecordedSettings
from diffpose.preprocessing.planning.plan import Span
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.sources.video import straightened
from diffpose.preprocessing.videos.sidecar import Sidecar, read_sidecar, read_truth

TEMPERATURES = np.geomspace(0.4, 4.0, 41)


def make_compare_fn(settings: PreprocessSettings, uris: dict[str, str], every: int) -> RowFunction:
    """Return a function that turns a span into figures about its rows with known truth.

    Args:
        settings: of the detector.
        uris: of the sources.
        every: take each such row.

    The result holds ``counts``, the TruthCounts of model.calibration, ``error_in_boxes`` (R, 17),
    the keypoints' distance from the truth over the box's height, and ``hidden`` (R, 17), whether
    the person's own body is before the joint.
    """
    detector = settings.detector

    def compare(row: Row) -> Row:
        torch.set_num_threads(1)
        span = Span.model_validate_json(row["span"])
        errors = json.loads(row["errors"])
        bent = json.loads(row.get("bent", "{}"))
        parts: list[dict[str, Any]] = []
        for clip in span.clips:
            if clip.clip in errors:
                continue
            first = clip.first_row - span.first_row
            rows = np.arange(first, first + clip.n_rows, every)
            known = rows[np.isfinite(row["arrays"]["pose_3d"][rows]).all(axis=(1, 2))]
            if len(known) == 0:
                continue
            if isinstance(detector, SimulatedDetectorSettings | RecordedSettings):
                heatmaps = row["arrays"]["heatmaps"][known].astype(np.float32)
                crops = row["arrays"]["heatmap_crop"][known]
            else:
                heatmaps, crops = pixel_detector(detector, "cpu").detect(
                    row["pixels"][known], row["windows"][known]
                )
                if clip.clip in bent:  # truth_px below is of a straight lens, as in a store
                    crops = straightened(crops, Sidecar.model_validate_json(bent[clip.clip]))
            joints_mm = (
                row["arrays"]["pose_3d"][known] + row["arrays"]["root_position"][known, None]
            )
            truth_px = project(joints_mm.astype(np.float64), row["arrays"]["camera"][known, None])
            keypoints, _, _ = hm.summarise(quantised(heatmaps, np.ones(17)), crops)
            times = row["arrays"]["timestamp_s"][known]
            height = _box_heights(uris[clip.source], truth_px, times)
            located = locate_truth(heatmaps, crops, truth_px, TEMPERATURES)
            off = np.linalg.norm(keypoints - truth_px, axis=-1) / height[:, None]
            parts.append(
                {
                    "counts": located.counted(),
                    "error_in_boxes": off,
                    "hidden": hidden_by_own_body(joints_mm),
                }
            )
        return {
            "found": joined(parts) if parts else None,
            "rows": sum(len(p["hidden"]) for p in parts),
        }

    return compare


def joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Put what was found in parts of the data together."""
    return {
        "counts": TruthCounts.total([part["counts"] for part in parts]),
        **{n: np.concatenate([p[n] for p in parts]) for n in ("error_in_boxes", "hidden")},
    }


def _box_heights(
    uri: str, truth_px: NDArray[np.float64], times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the height of each true person's box: the silhouette's, else the joints'."""
    low, high = truth_px.min(axis=1), truth_px.max(axis=1)
    heights = high[:, 1] - low[:, 1]
    if not uri.endswith(".bvh"):
        sidecar = read_sidecar(uri)
        truth = read_truth(uri, sidecar)
        if truth is not None and truth.boxes_px is not None and sidecar.intrinsics_px is not None:
            joints = sidecar.project_px(truth.joints_mm)
            boxes = person_boxes(truth, joints)[:, np.maximum(truth.at(times), 0)]
            middle = (low + high) / 2
            off = np.linalg.norm((boxes[..., :2] + boxes[..., 2:]) / 2 - middle, axis=-1)
            nearest = np.nan_to_num(off, nan=np.inf).argmin(axis=0)
            own = boxes[nearest, np.arange(len(times))]
            heights = own[:, 3] - own[:, 1]
    return np.asarray(np.maximum(heights, 1.0))
