"""Stages from a data set's own files to stored detections: no pixels, the true poses known."""

from __future__ import annotations

import json

import numpy as np

from diffpose.platform.clips import Clip, Split, clip_id
from diffpose.platform.errors import DiffPoseError
from diffpose.platform.ray_stages import Row, RowFunction
from diffpose.preprocessing.datasets import human36m
from diffpose.preprocessing.datasets.human36m import Human36mSource
from diffpose.preprocessing.datasets.human36m_cameras import CAMERAS
from diffpose.preprocessing.detect_stages import blank_arrays, fill_rows
from diffpose.preprocessing.detectors.dataset import (
    DatasetKeypointSettings,
    KeypointErrors,
    draw_heatmaps,
    fit_errors,
)
from diffpose.preprocessing.plan import Probe, Span, assign_splits
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.video_stages import summary_of

# A clip's heatmaps are in memory at once: 2048 frames are 107 MB.
_LONGEST_CLIP = 2048


def probe(settings: PreprocessSettings, names: list[str]) -> list[Probe]:
    """Return the clips of recordings: each camera's frames, long ones in pieces.

    Test subjects test; of the training subjects' recordings some validate, as split.* says.
    """
    source = settings.source
    assert isinstance(source, Human36mSource)
    training = [name for name in names if name.split("/", 1)[0] in source.train_subjects]
    rule = settings.split.model_copy(update={"test": ["no such name"]})
    splits: dict[str, Split] = assign_splits(training, rule, settings.seed)
    probes = []
    for name in names:
        subject = name.split("/", 1)[0]
        try:
            total = human36m.n_frames(source, name)
            clips = [
                Clip(
                    clip=clip_id(name, first, min(_LONGEST_CLIP, total - first), camera.name),
                    source=name,
                    subject=subject,
                    action=human36m.action_of(name),
                    camera=camera.name,
                    split=splits.get(name, "test"),
                    fps=human36m.FPS / source.stride,
                    width=camera.width,
                    height=camera.height,
                    first_frame=first,
                    first_row=0,
                    n_rows=min(_LONGEST_CLIP, total - first),
                )
                for first in range(0, total, _LONGEST_CLIP)
                for _, camera, _ in human36m.views_of(subject)
            ]
            probes.append(Probe(name, tuple(clips)))
        except DiffPoseError as error:
            probes.append(Probe(name, error=str(error)))
    return probes


def measured_errors(source: Human36mSource) -> KeypointErrors:
    """Return how wrong the source's keypoints are on its training subjects."""
    return fit_errors(human36m.residuals(source))


def make_dataset_fn(settings: PreprocessSettings, errors: KeypointErrors) -> RowFunction:
    """Return a function that adds to a span its clips' detections and true poses."""
    source, detector = settings.source, settings.detector
    assert isinstance(source, Human36mSource)
    assert isinstance(detector, DatasetKeypointSettings)
    numbers = {camera.name: i for i, camera in enumerate(CAMERAS)}

    def draw(row: Row) -> Row:
        span = Span.model_validate_json(row["span"])
        arrays = blank_arrays(span)
        failed: dict[str, str] = {}
        for clip in span.clips:
            frames = slice(clip.first_frame, clip.first_frame + clip.n_rows)
            try:
                view = human36m.read_view(source, clip.source, numbers[clip.camera])
            except DiffPoseError as error:
                failed[clip.clip] = str(error)
                continue
            joints = view.joints_mm[frames]
            pinhole = CAMERAS[numbers[clip.camera]].lens.pinhole
            known = {
                "pose_3d": joints - joints[:, :1],
                "root_position": joints[:, 0],
                "camera": np.tile(pinhole, (clip.n_rows, 1)),
                "timestamp_s": (clip.first_frame + np.arange(clip.n_rows)) / clip.fps,
            }
            found = summary_of(*draw_heatmaps(view.keypoints_px[frames], errors, detector))
            fill_rows(arrays, span, clip, {**known, **found})
        return {"span": row["span"], "errors": json.dumps(failed), "arrays": arrays}

    return draw
