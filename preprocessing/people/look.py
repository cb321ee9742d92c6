"""Looking at videos: packets first, then segment by segment at the frames, for people."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from diffpose.platform.base.errors import DiffPoseError
from diffpose.platform.execution.ray_stages import Stage
from diffpose.preprocessing.detectors.registry import person_finder
from diffpose.preprocessing.people.segments import (
    InspectedVideo,
    LookedThrough,
    Segment,
    save_segment,
)
from diffpose.preprocessing.people.video_job import VideoJob
from diffpose.preprocessing.videos.decode import decode, inspect_video, keyframe_segments
from diffpose.preprocessing.videos.sidecar import read_sidecar

# Frames that wait for the finder together, at most; whole frames are large.
_FRAMES_AT_ONCE = 8


def make_inspect_fn(job: VideoJob) -> Stage:
    """Return a stage that looks at a video's packets: name -> InspectedVideo."""

    def inspect(name: str) -> InspectedVideo:
        try:
            uri = job.uri_of(name)
            info = inspect_video(uri, job.source.limits())
            read_sidecar(uri)
        except DiffPoseError as error:
            return InspectedVideo(name, error=str(error))
        return InspectedVideo(
            name=name,
            width=info.width,
            height=info.height,
            fps=info.average_fps,
            damage=info.damage,
            segments=tuple(keyframe_segments(info, job.source.segment_frames)),
            keyframes=tuple(info.keyframe_pts),
        )

    return inspect


def make_look_fn(job: VideoJob, device: str = "cpu") -> Stage:
    """Return a stage that looks through a Segment and saves times and boxes; gives its frames."""
    people = job.settings.people
    finds = job.boxes_from == "finder"

    def look(segment: Segment) -> int:
        torch.set_num_threads(1)
        finder = person_finder(people, job.settings.detector, device) if finds else None
        pts: list[int] = []
        times: list[float] = []
        looks: list[int] = []
        boxes: list[NDArray[np.float32]] = []
        waiting: list[NDArray[np.uint8]] = []
        damage, next_look_s = "", -np.inf
        passed_over: NDArray[np.uint8] | None = None  # the last frame, where nobody looked

        def look_at_waiting() -> None:
            if finder is not None and waiting:
                boxes.extend(finder.find(np.stack(waiting)))
            waiting.clear()

        def look_at(number: int, pixels: NDArray[np.uint8]) -> None:
            looks.append(number)
            if waiting and waiting[0].shape != pixels.shape:
                look_at_waiting()
            waiting.append(pixels)
            if len(waiting) == _FRAMES_AT_ONCE:
                look_at_waiting()

        first, stop = segment.pts
        frames = decode(
            job.uris[segment.video.name],
            first_pts=first,
            stop_pts=stop,
            limits=job.source.limits(),
            pixels=finder is not None,
        )
        try:
            for frame in frames:
                passed_over = None if finder is None else frame.pixels
                if passed_over is not None and frame.time_s >= next_look_s - 1e-6:
                    look_at(len(pts), passed_over)
                    passed_over = None
                    next_look_s = frame.time_s + 1.0 / people.per_second
                pts.append(frame.pts)
                times.append(frame.time_s)
        except DiffPoseError as error:  # DamagedVideoError: the frames before it are kept
            damage = str(error)
        if passed_over is not None:  # boxes are known between looks: the last frame is one
            look_at(len(pts) - 1, passed_over)
        look_at_waiting()
        found = LookedThrough(
            np.array(pts, np.int64), np.array(times), np.array(looks, np.int64), boxes, damage
        )
        save_segment(job.settings, segment, found)
        return len(pts)

    return look
