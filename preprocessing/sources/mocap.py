"""Motion capture as a source: BVH files before virtual cameras and a simulated detector."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.base.errors import DiffPoseError
from diffpose.platform.base.progress import Progress
from diffpose.platform.base.storage import find_files, join
from diffpose.platform.execution.ray_stages import ActorStage, Stage, run_stages
from diffpose.platform.store.clips import Clip, Split, clip_id
from diffpose.platform.store.fields import DETECTION_FIELDS, LARGEST_SPAN
from diffpose.preprocessing.detectors import simulated
from diffpose.preprocessing.mocap.bodies import bone_factors, reshape_body
from diffpose.preprocessing.mocap.cameras.virtual_camera import centre, view
from diffpose.preprocessing.mocap.source import SUFFIX, MocapSource, Motion, read_motion
from diffpose.preprocessing.planning.plan import Probe, body_of
from diffpose.preprocessing.planning.run_spans import session
from diffpose.preprocessing.planning.span_row import SpanRow, summary_of
from diffpose.preprocessing.records.clip import ClipTruth
from diffpose.preprocessing.records.seeds import generator
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.sources.files import look_through
from diffpose.preprocessing.sources.interface import (
    SourceFile,
    SourceReport,
    WithoutPictures,
    splits_by_rule,
)


@dataclass
class PosedSpan:
    """A span with the true poses of its clips, by their number in it."""

    row: SpanRow
    truths: dict[int, ClipTruth]


@dataclass(frozen=True)
class MocapRecordings(WithoutPictures):
    """BVH files, filmed by virtual cameras; see Source."""

    settings: PreprocessSettings
    source: MocapSource
    detector: simulated.SimulatedDetectorSettings

    longest_span = LARGEST_SPAN

    def recordings(self) -> dict[str, str]:
        """Return the files."""
        uri = self.source.uri
        return {name: join(uri, name) for name in find_files(uri, SUFFIX)}

    def splits(self, names: Sequence[str], earlier: Collection[str]) -> dict[str, Split]:
        """Split by split.*."""
        return splits_by_rule(names, earlier, self.settings.split, self.settings.seed)

    def probe(self, files: Sequence[SourceFile]) -> list[Probe]:
        """Read every motion in parallel."""
        progress = Progress("probe", len(files), "files")
        probes = []
        with session(self.settings):
            for probe in run_stages(files, [self._probe], self.settings.workers):
                probes.append(probe)
                progress.advance(1)
        return probes

    def _probe(self, file: SourceFile) -> Probe:
        try:
            motion = read_motion(self.source, file.name)
        except DiffPoseError as error:
            return Probe(file.name, error=str(error))
        return Probe(file.name, self.clips(file.name, file.split, motion.fps, motion.segments))

    def clips(
        self, name: str, split: Split, fps: float, segments: Sequence[tuple[int, int]]
    ) -> tuple[Clip, ...]:
        """Return the clips of a motion, without rows yet: each frame range from each camera."""
        settings = self.settings
        cameras = settings.cameras

        def clip(start: int, stop: int, camera: int) -> Clip:
            width, height = cameras.size_px(camera, settings.seed, f"{name}#{start}")
            return Clip(
                clip=clip_id(name, start, stop - start, f"camera_{camera}"),
                source=name,
                subject=f"{split}_{body_of(settings, name, split):02d}",
                action=self.source.action_of(name),
                camera=f"camera_{camera}",
                split=split,
                fps=fps,
                width=width,
                height=height,
                first_frame=start,
                first_row=0,
                n_rows=stop - start,
            )

        return tuple(
            clip(start, stop, camera) for start, stop in segments for camera in range(cameras.count)
        )

    def stages(self, temperature: NDArray[np.float64] | None) -> list[Stage | ActorStage]:
        """Files -> true poses per clip -> heatmaps and their summaries; honest as they are."""
        del temperature
        return [self._load, self._detect]

    def _load(self, row: SpanRow) -> PosedSpan:
        read = functools.lru_cache(maxsize=2)(lambda name: read_motion(self.source, name))
        posed = PosedSpan(row.with_blank(DETECTION_FIELDS), {})
        for i, clip in enumerate(row.span.clips):
            try:
                posed.truths[i] = self._truth(clip, read(clip.source))
            except DiffPoseError as error:
                posed.row.errors[clip.clip] = str(error)
        return posed

    def _detect(self, posed: PosedSpan) -> SpanRow:
        row = posed.row
        for i, truth in posed.truths.items():
            clip = row.span.clips[i]
            rng = generator(
                self.settings.seed, "detector", clip.source, clip.first_frame, clip.camera
            )
            found = simulated.detect(truth, self.detector, rng)
            known = {
                "pose_3d": truth.pose_3d_mm,
                "root_position": truth.root_position_mm,
                "camera": truth.camera,
                "timestamp_s": truth.timestamp_s,
            }
            row.fill(clip, {**known, **summary_of(found.heatmaps, found.crops)})
        return row

    def _truth(self, clip: Clip, motion: Motion) -> ClipTruth:
        settings = self.settings
        frames = slice(clip.first_frame, clip.first_frame + clip.n_rows)
        body = body_of(settings, clip.source, clip.split)
        factors = bone_factors(settings.bodies, clip.split, body, settings.seed, motion.positions_m)
        positions = centre(reshape_body(motion.positions_m[frames], factors))
        camera = settings.cameras.camera(
            positions,
            int(clip.camera.removeprefix("camera_")),
            settings.seed,
            f"{clip.source}#{clip.first_frame}",
        )
        return view(positions, motion.timestamp_s[frames], camera)

    def check(self) -> SourceReport:
        """Read every motion."""

        def look(name: str, _uri: str) -> str:
            motion = read_motion(self.source, name)
            return f"{len(motion.positions_m)} poses at {motion.fps:.3g} per second"

        return look_through(self.recordings(), look)
