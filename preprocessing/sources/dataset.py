"""A data set's own files as a source: no pictures, the true poses known."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.base.errors import DiffPoseError, SourceError
from diffpose.platform.base.progress import Progress
from diffpose.platform.execution.ray_stages import ActorStage, Stage
from diffpose.platform.store.clips import Clip, Split, clip_id
from diffpose.platform.store.fields import DETECTION_FIELDS, LARGEST_SPAN
from diffpose.preprocessing.datasets.checks import Findings, examine
from diffpose.preprocessing.datasets.interface import CameraView, DataSet
from diffpose.preprocessing.datasets.registry import DatasetSource, data_set
from diffpose.preprocessing.keypoints.dataset_keypoints import (
    DatasetKeypointSettings,
    ErrorsByConfidence,
    KeypointErrors,
    fit_by_confidence,
    fit_errors,
    rasterise_heatmaps,
)
from diffpose.preprocessing.planning.plan import Probe
from diffpose.preprocessing.planning.span_row import SpanRow, summary_of
from diffpose.preprocessing.records.splits import assign_splits
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.sources.interface import (
    SourceFile,
    SourceReport,
    WithoutPictures,
)

# A clip's heatmaps are in memory at once: 2048 frames are 107 MB.
_LONGEST_CLIP = 2048


@dataclass(frozen=True)
class DatasetRecordings(WithoutPictures):
    """The recordings of a data set with what its cameras' keypoints are; see Source."""

    settings: PreprocessSettings
    source: DatasetSource
    detector: DatasetKeypointSettings

    longest_span = LARGEST_SPAN

    @functools.cached_property
    def _files(self) -> DataSet:
        return data_set(self.source)

    @functools.cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self._files.recordings())

    def __getstate__(self) -> dict[str, Any]:
        """Leave the files behind: each worker opens them itself."""
        return {name: vars(self)[name] for name in self.__dataclass_fields__}

    def recordings(self) -> dict[str, str]:
        """Return the recordings, all of the one folder."""
        return dict.fromkeys(self._files.recordings(), self.source.uri)

    def splits(self, names: Sequence[str], earlier: Collection[str]) -> dict[str, Split]:
        """Test subjects test; of the training subjects' recordings some validate, as split.* says.

        Patterns of other sources may stand in split.*: they need not mean anything here.
        """
        del earlier
        training = [name for name in names if self._files.trains(name)]
        rule = self.settings.split.model_copy(update={"test": ["no such name"]})
        assigned = assign_splits(training, rule, self.settings.seed)
        return {name: assigned.get(name, "test") for name in names}

    def probe(self, files: Sequence[SourceFile]) -> list[Probe]:
        """Return the clips of recordings: each camera's frames, long ones in pieces."""
        probes = []
        for file in files:
            try:
                probes.append(Probe(file.name, self._clips(file)))
            except DiffPoseError as error:
                probes.append(Probe(file.name, error=str(error)))
        return probes

    def _clips(self, file: SourceFile) -> tuple[Clip, ...]:
        name, files = file.name, self._files
        self._check_there(name)
        return tuple(
            Clip(
                clip=clip_id(name, first, n_rows, shot.camera),
                source=name,
                subject=files.subject(name),
                action=files.action(name),
                camera=shot.camera,
                split=file.split,
                fps=shot.fps,
                width=shot.width,
                height=shot.height,
                first_frame=first,
                first_row=0,
                n_rows=n_rows,
            )
            for shot in files.shots(name)
            for first in range(0, shot.n_frames, _LONGEST_CLIP)
            for n_rows in (min(_LONGEST_CLIP, shot.n_frames - first),)
        )

    def _check_there(self, name: str) -> None:
        if name not in self._names:
            raise SourceError(
                f"{name} was there when the store was planned, and is no longer in "
                f"{self.source.uri!r}. Put the files back, or make a new store."
            )

    def stages(self, temperature: NDArray[np.float64] | None) -> list[Stage | ActorStage]:
        """Keypoints -> heatmaps as wide as the keypoints are wrong on the training subjects."""
        del temperature
        return [functools.partial(self._rasterise, errors=measured_errors(self._files))]

    def _rasterise(self, row: SpanRow, errors: KeypointErrors | ErrorsByConfidence) -> SpanRow:
        row = row.with_blank(DETECTION_FIELDS)
        views: dict[
            str, CameraView
        ] = {}  # of the recording at hand: its clips take turns by camera
        recording = ""
        for clip in row.span.clips:
            if clip.source != recording:
                recording, views = clip.source, {}
            frames = slice(clip.first_frame, clip.first_frame + clip.n_rows)
            try:
                if clip.camera not in views:
                    self._check_there(recording)
                    views[clip.camera] = self._files.view(recording, clip.camera)
                view = views[clip.camera]
            except DiffPoseError as error:
                row.errors[clip.clip] = str(error)
                continue
            joints = view.joints_mm[frames]
            known = {
                "pose_3d": joints - joints[:, :1],
                "root_position": joints[:, 0],
                "camera": np.tile(view.camera_px, (clip.n_rows, 1)),
                "timestamp_s": (clip.first_frame + np.arange(clip.n_rows)) / clip.fps,
            }
            confidence = None if view.confidence is None else view.confidence[frames]
            drawn = rasterise_heatmaps(view.keypoints_px[frames], errors, self.detector, confidence)
            row.fill(clip, {**known, **summary_of(*drawn)})
        return row

    def attributes(self) -> dict[str, Any]:
        """Return name, which poses, where the cameras come from."""
        return self._files.attributes()

    def check(self) -> SourceReport:
        """Hold files, cameras, poses and keypoints against each other."""
        progress = Progress("inspect", len(self._files.recordings()), "recordings")
        found = Findings()
        for found in examine(self._files):  # noqa: B007
            progress.advance(1)
        about, values = self._files.attributes(), found.as_json()
        report = SourceReport(f"{about['name']}: {self.source.uri}", problems=found.problems)
        report.found["poses"] = f"{about['poses']}: {about['poses_meaning']}"
        for what in ("subjects", "actions", "cameras"):
            report.found[what] = ", ".join(f"{name} ({n})" for name, n in values[what].items())
        report.found["frames"] = f"{values['frames']} in all views"
        if values["views_checked"]:
            report.found["poses against keypoints"] = (
                f"median {values['median_reprojection_px']:.2f} px, worst view "
                f"{values['worst_reprojection_px']:.2f} px, {values['views_checked']} views"
            )
        report.values = {"dataset": about, **values}
        return report


def measured_errors(files: DataSet) -> KeypointErrors | ErrorsByConfidence:
    """Return how wrong a data set's keypoints are on its training subjects."""
    found = files.residuals()
    if found.confidence is None:
        return fit_errors(found.offset_px)
    return fit_by_confidence(found.offset_px, found.confidence)
