"""Stages from a data set's own files to stored detections: no pixels, the true poses known."""

from __future__ import annotations

import json

import numpy as np

from diffpose.platform.base.errors import DiffPoseError
from diffpose.platform.execution.ray_stages import Row, RowFunction
from diffpose.platform.store.clips import Clip, Split, clip_id
from diffpose.preprocessing.datasets.interface import View
from diffpose.preprocessing.datasets.registry import DatasetSource, data_set
from diffpose.preprocessing.keypoints.dataset_keypoints import (
    DatasetKeypointSettings,
    ErrorsByConfidence,
    KeypointErrors,
    draw_heatmaps,
    fit_by_confidence,
    fit_errors,
)
from diffpose.preprocessing.planning.plan import Probe, Span
from diffpose.preprocessing.records.splits import assign_splits
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.sources.mocap import blank_arrays, fill_rows
from diffpose.preprocessing.sources.video import summary_of

# A clip's heatmaps are in memory at once: 2048 frames are 107 MB.
_LONGEST_CLIP = 2048


def probe(settings: PreprocessSettings, names: list[str]) -> list[Probe]:
    """Return the clips of recordings: each camera's frames, long ones in pieces.

    Test subjects test; of the training subjects' recordings some validate, as split.* says.
    """
    source = settings.source
    assert isinstance(source, DatasetSource)
    files = data_set(source)
    training = [name for name in names if files.trains(name)]
    rule = settings.split.model_copy(update={"test": ["no such name"]})
    splits: dict[str, Split] = assign_splits(training, rule, settings.seed)
    probes = []
    for name in names:
        try:
            clips = [
                Clip(
                    clip=clip_id(
                        name, first, min(_LONGEST_CLIP, shot.n_frames - first), shot.camera
                    ),
                    source=name,
                    subject=files.subject(name),
                    action=files.action(name),
                    camera=shot.camera,
                    split=splits.get(name, "test"),
                    fps=shot.fps,
                    width=shot.width,
                    height=shot.height,
                    first_frame=first,
                    first_row=0,
                    n_rows=min(_LONGEST_CLIP, shot.n_frames - first),
                )
                for shot in files.shots(name)
                for first in range(0, shot.n_frames, _LONGEST_CLIP)
            ]
            probes.append(Probe(name, tuple(clips)))
        except DiffPoseError as error:
            probes.append(Probe(name, error=str(error)))
    return probes


def measured_errors(source: DatasetSource) -> KeypointErrors | ErrorsByConfidence:
    """Return how wrong the source's keypoints are on its training subjects."""
    found = data_set(source).residuals()
    if found.confidence is None:
        return fit_errors(found.offset_px)
    return fit_by_confidence(found.offset_px, found.confidence)


def make_dataset_fn(
    settings: PreprocessSettings, errors: KeypointErrors | ErrorsByConfidence
) -> RowFunction:
    """Return a function that adds to a span its clips' detections and true poses."""
    source, detector = settings.source, settings.detector
    assert isinstance(source, DatasetSource)
    assert isinstance(detector, DatasetKeypointSettings)

    def draw(row: Row) -> Row:
        span = Span.model_validate_json(row["span"])
        arrays = blank_arrays(span)
        failed: dict[str, str] = {}
        files = data_set(source)
        views: dict[str, View] = {}  # of the recording at hand: its clips take turns by camera
        recording = ""
        for clip in span.clips:
            if clip.source != recording:
                recording, views = clip.source, {}
            frames = slice(clip.first_frame, clip.first_frame + clip.n_rows)
            try:
                if clip.camera not in views:
                    views[clip.camera] = files.view(recording, clip.camera)
                view = views[clip.camera]
            except DiffPoseError as error:
                failed[clip.clip] = str(error)
                continue
            joints = view.joints_mm[frames]
            known = {
                "pose_3d": joints - joints[:, :1],
                "root_position": joints[:, 0],
                "camera": np.tile(view.camera_px, (clip.n_rows, 1)),
                "timestamp_s": (clip.first_frame + np.arange(clip.n_rows)) / clip.fps,
            }
            confidence = None if view.confidence is None else view.confidence[frames]
            drawn = draw_heatmaps(view.keypoints_px[frames], errors, detector, confidence)
            fill_rows(arrays, span, clip, {**known, **summary_of(*drawn)})
        return {"span": row["span"], "errors": json.dumps(failed), "arrays": arrays}

    return draw
