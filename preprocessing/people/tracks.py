"""From boxes frame by frame to people over time, and the clips in which each is followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.base.errors import DiffPoseError, SourceError
from diffpose.platform.execution.ray_stages import Stage
from diffpose.platform.store.clips import Clip, Split, clip_id
from diffpose.preprocessing.detectors.examples import person_boxes
from diffpose.preprocessing.keypoints.recorded import Recording, recording_of
from diffpose.preprocessing.people.segments import InspectedVideo, LookedThrough, load_video
from diffpose.preprocessing.people.track_files import VideoTracks, write_tracks
from diffpose.preprocessing.people.tracking import Track, link, thinned
from diffpose.preprocessing.people.video_job import VideoJob
from diffpose.preprocessing.planning.plan import Probe
from diffpose.preprocessing.videos.decode import choose_frames
from diffpose.preprocessing.videos.sidecar import Sidecar, Truth, read_sidecar, read_truth


class VideoToTrack(NamedTuple):
    """A video whose segments were looked through, and the split that the plan gives it."""

    video: InspectedVideo
    split: Split


class Boxes(NamedTuple):
    """Where people are.

    Attributes:
        frames: (n,), numbers of the frames in which somebody was looked for.
        people: of each of these, (people, 5 or 6): x0, y0, x1, y1 in px, score, number over time.
    """

    frames: NDArray[np.int64]
    people: Sequence[NDArray[np.floating]]


@dataclass(frozen=True)
class TrackedVideo:
    """A video's people as tracks, and what its sidecar says of all of them.

    Attributes:
        tracks: everyone who is followed, in the frames that are kept.
        damage: what is wrong after the last frame, or "".
        has_truth: whether true poses are known.
        subject: who is seen.
        action: what is done.
        camera: its name.
        split: the sidecar's, or None.
    """

    tracks: VideoTracks
    damage: str
    has_truth: bool
    subject: str
    action: str
    camera: str
    split: Split | None


def make_tracks_fn(job: VideoJob) -> Stage:
    """Return a stage that links a video's boxes, saves the tracks and proposes its clips."""

    def track(found: VideoToTrack) -> Probe:
        video = found.video
        try:
            tracked = _tracked(job, video)
        except DiffPoseError as error:
            return Probe(video.name, error=str(error))
        write_tracks(job.settings.store, video.name, tracked.tracks)
        clips = _clips(video, tracked, found.split, job.source.clip_frames)
        return Probe(video.name, clips, damage=tracked.damage)

    return track


def _clips(
    video: InspectedVideo, tracked: TrackedVideo, planned: Split, longest: int
) -> tuple[Clip, ...]:
    tracks = tracked.tracks
    split: Split = tracked.split or (planned if tracked.has_truth else "test")
    starts = np.searchsorted(tracks.pts, video.keyframes)
    return tuple(
        Clip(
            clip=clip_id(video.name, start, stop - start, f"{tracked.camera}/{one.track}"),
            source=video.name,
            subject=tracked.subject,
            action=tracked.action,
            camera=tracked.camera,
            track=one.track,
            split=split,
            fps=_rate(tracks.time_s, video.fps),
            width=video.width,
            height=video.height,
            first_frame=start,
            first_row=0,
            n_rows=stop - start,
        )
        for one in tracks.tracks
        for start, stop in _pieces(one, longest, starts)
    )


def _tracked(job: VideoJob, video: InspectedVideo) -> TrackedVideo:
    name, uri = video.name, job.uris[video.name]
    looked = load_video(job.settings, video)
    damage = looked.damage or video.damage
    if len(looked.pts) == 0:
        raise SourceError(damage or f"{uri}: not one frame could be decoded.")
    chosen = choose_frames(looked.time_s, job.source.fps)
    sidecar = read_sidecar(uri)
    truth = read_truth(uri, sidecar)
    boxes = _boxes(job, uri, looked, sidecar, truth)
    # people are followed through all frames, and kept in the chosen ones
    people = job.settings.people
    followed = link(
        looked.time_s,
        boxes.frames.tolist(),
        boxes.people,
        several=people.several,
        patience_s=people.patience_s,
        shortest_s=people.shortest_s,
    )
    tracks = [part for track in followed if (part := thinned(track, chosen)) is not None]
    if not tracks:
        raise SourceError(
            f"{uri}: no person was found in {len(boxes.frames)} of its {len(looked.pts)} frames. "
            "Lower people.threshold, or use a detector of real people (diffpose get-detector "
            "blazepose), or people.finder=rtdetr." + (f" ({damage})" if damage else "")
        )
    stem = name.rsplit("/", 1)[-1].rpartition(".")[0] or name
    return TrackedVideo(
        tracks=VideoTracks(looked.pts[chosen], looked.time_s[chosen], chosen, tuple(tracks)),
        damage=damage,
        has_truth=truth is not None,
        subject=sidecar.subject or stem,
        action=sidecar.action or job.source.action_of(name),
        camera=sidecar.camera or "camera_0",
        split=sidecar.split,
    )


def _boxes(
    job: VideoJob, uri: str, looked: LookedThrough, sidecar: Sidecar, truth: Truth | None
) -> Boxes:
    if job.boxes_from == "finder":
        return Boxes(looked.looks, looked.boxes)
    if job.boxes_from == "recording":
        assert job.recorded is not None  # this is what boxes_from goes by
        return _recorded_boxes(recording_of(job.recorded, uri), len(looked.pts))
    if truth is None or sidecar.intrinsics_px is None:
        raise SourceError(
            f"{uri} has no sidecar with intrinsics_px and truth, which people.finder=sidecar "
            "takes the boxes from. Use people.finder=bundled, blazepose or rtdetr."
        )
    return _true_boxes(truth, sidecar, looked.time_s)


def _recorded_boxes(recording: Recording, n_frames: int) -> Boxes:
    frames = [i for i in range(n_frames) if recording.people(i)]
    people = [
        np.array([[*p.box_px, p.score, p.track] for p in recording.people(i)], np.float64)
        for i in frames
    ]
    return Boxes(np.array(frames, dtype=np.int64), people)


def _true_boxes(truth: Truth, sidecar: Sidecar, times: NDArray[np.float64]) -> Boxes:
    boxes = person_boxes(truth, sidecar.project_px(truth.joints_mm))
    moments = truth.at(times)
    frames: list[int] = []
    people: list[NDArray[np.floating]] = []
    for frame in np.flatnonzero(moments >= 0):
        there = [
            [*boxes[p, moments[frame]], 1.0, p]
            for p in range(len(boxes))
            if np.isfinite(boxes[p, moments[frame]]).all()
        ]
        if there:
            frames.append(int(frame))
            people.append(np.array(there))
    return Boxes(np.array(frames, dtype=np.int64), people)


def _pieces(track: Track, longest: int, starts: NDArray[np.integer]) -> list[tuple[int, int]]:
    """Cut a track into clips; at keyframes, if there is one in the later half of a clip.

    A clip that begins at a keyframe is decoded without decoding frames before it in vain.
    """
    pieces, first = [], track.first
    stop = track.first + len(track.boxes_px)
    while stop - first > longest:
        good = starts[(starts > first + longest // 2) & (starts <= first + longest)]
        cut = int(good.max()) if len(good) else first + longest
        pieces.append((first, cut))
        first = cut
    return [*pieces, (first, stop)]


def _rate(time_s: NDArray[np.float64], nominal: float) -> float:
    if len(time_s) < 2:
        return nominal or 1.0
    return float((len(time_s) - 1) / (time_s[-1] - time_s[0]))
