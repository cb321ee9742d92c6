"""A run that answers arrays of keypoints, in the calling process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffpose.model.heatmaps import grid as hm
from diffpose.model.lifting.lifter import row_seeds
from diffpose.model.lifting.long_sequence import lift_in_parts
from diffpose.model.lifting.sampling import Refine, SamplingSettings, Smooth
from diffpose.model.observations.initial_distribution import Observations
from diffpose.platform.answers.answer import Answer
from diffpose.platform.base.errors import ConfigError
from diffpose.platform.base.storage import absolute
from diffpose.platform.notebook.questions import boxes_around, camera_of, in_our_joints
from diffpose.platform.prediction.assembled import Film, assembled
from diffpose.platform.runs.load import load_run, sampling_of
from diffpose.preprocessing.keypoints.joint_layouts import Conversion, Layout
from diffpose.preprocessing.keypoints.recorded import RecordedSettings, drawn, recorded_places

# Heatmaps in the making are 650 kB per frame.
_FRAMES_AT_ONCE = 256


class PoseLifter:
    """A trained run, loaded once; ``diffpose.load`` makes one.

    Attributes:
        run: its path or URI.
        sampling: its own settings of the walk.
    """

    def __init__(self, run: str = "shipped://windows") -> None:
        """Load a run.

        Args:
            run: a run directory by path or URI, or one that comes along: "shipped://windows" looks
                at windows of frames, "shipped://frames" at each frame for itself.

        Raises:
            RunError: the run is missing, incomplete or damaged.
        """
        self.run = absolute(run)
        self._loaded = load_run(self.run)
        self.sampling: SamplingSettings = self._loaded.sampling

    def __repr__(self) -> str:
        """Name the run."""
        return f"PoseLifter({self.run!r}, N = {self.sampling.n_hypotheses})"

    def lift(
        self,
        keypoints_px: ArrayLike,
        *,
        image_size: tuple[int, int] | None = None,
        camera: float | Sequence[float] | NDArray[np.floating] | None = None,
        confidence: ArrayLike | None = None,
        fps: float = 30.0,
        layout: Layout | None = None,
        conversion: Conversion = "mean",
        n_hypotheses: int | None = None,
        refine: Refine | None = None,
        smooth: Smooth | None = None,
        height_m: float | None = None,
        widths: str = "measured",
        seed: int = 0,
        source: str = "keypoints",
    ) -> Answer:
        """Lift the 2D keypoints of one person over T frames that follow each other.

        The answer is the one of ``diffpose predict keypoints=`` for the same person.

        Args:
            keypoints_px: (T, K, 2) or (T, K, 3) with confidence last; (K, 2) for one frame. Missing
                joints are NaN or have confidence 0.
            image_size: (width, height) of the images in px. May be left out where the camera is
                given by four numbers.
            camera: focal length in px, or (fx, fy, cx, cy) in px, (4,) or (T, 4); default: 1.145
                times the longer side of the image, and the image's middle.
            confidence: (T, K), 0 .. 1; default: 1 for what is there.
            fps: frames per second of the keypoints.
            layout: of the joints: "h36m_17", "coco_17", "halpe_26", "body_25", "openpose_18",
                "mpii_16" or "blazepose_33". Default: by their number, where that tells.
            conversion: of COCO's joints to Human3.6M's: "mean" or "tuned".
            n_hypotheses: N; default: the run's own.
            refine: "none", "frame" or "clip"; default: the run's own.
            smooth: "none", "clip" or "causal"; default: the run's own.
            height_m: standing height of the person, where it is known.
            widths: how far the keypoints are off: "measured", "coco", or a file of
                ``diffpose calibrate``.
            seed: same seed, same answer.
            source: a name for the answer.

        Raises:
            ConfigError: an argument is wrong, or does not fit the others.
        """
        points, sure, known_box = in_our_joints(keypoints_px, confidence, layout, conversion)
        frames = len(points)
        size, intrinsics = camera_of(camera, image_size, frames)
        if not (np.isfinite(fps) and fps > 0):
            raise ConfigError(f"fps={fps!r} must be a positive number of frames per second.")
        if height_m is not None and not 0.5 <= height_m <= 2.7:
            raise ConfigError(f"height_m={height_m!r} must be from 0.5 to 2.7 m.")
        boxes = boxes_around(known_box)
        about = RecordedSettings(uri="memory", widths=widths)
        middles_px, sigma_px, crop_px = recorded_places(points, sure, boxes, about)
        asked = {"n_hypotheses": n_hypotheses, "refine": refine, "smooth": smooth}
        given = {name: value for name, value in asked.items() if value is not None}
        sampling = sampling_of(self._loaded, self.run, given)
        time_s = np.arange(frames) / fps
        parts = [slice(i, i + _FRAMES_AT_ONCE) for i in range(0, frames, _FRAMES_AT_ONCE)]

        def observed(rows: slice) -> tuple[Observations, NDArray[np.float32]]:
            maps, crops = drawn(middles_px[rows], sigma_px[rows], crop_px[rows])
            keypoints, certain, modes = hm.summarise(maps, crops)
            lens = intrinsics[rows]
            return Observations(maps, crops, keypoints, modes, lens, time_s[rows]), certain

        light, certainty = [], []
        for rows in parts:
            whole, certain = observed(rows)
            light.append(replace(whole, heatmaps=None))
            certainty.append(certain)
        joined = Observations.joined(light)
        lifted = lift_in_parts(
            self._loaded.lifter,
            joined,
            (observed(rows)[0] for rows in parts),
            sampling,
            row_seeds(seed, np.arange(frames)),
        )
        seen_arrays: dict[str, NDArray[Any]] = {
            "keypoints_px": joined.keypoints_px,
            "confidence": np.concatenate(certainty),
            "camera_px": intrinsics,
            "timestamp_s": time_s,
            "frame": np.arange(frames),
        }
        film = Film(source, 0, size[0], size[1], float(fps), self.run)
        return assembled(
            lifted, seen_arrays, film, sampling, self._loaded.recalibration,
            crops=crop_px, height_m=height_m,
        )  # fmt: skip
