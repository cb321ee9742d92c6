"""Stages from video files to tracks of people, the ground on which clips are planned.

A video is inspected (packets only), cut into segments at keyframes, looked through once, segment by
segment in parallel, and its boxes are linked. What a segment gave is saved, so a rerun goes on; the
saved tracks also tell the detection stage which frames and windows to cut.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffpose.platform.base.errors import DiffPoseError, SourceError
from diffpose.platform.base.storage import exists, join, read_bytes, write_bytes
from diffpose.platform.execution.ray_stages import Row, RowFunction
from diffpose.platform.store.clips import Clip, Split, clip_id
from diffpose.preprocessing.detectors.bundled import BundledSettings
from diffpose.preprocessing.detectors.registry import person_finder
from diffpose.preprocessing.keypoints.recorded import RecordedSettings, recording_of
from diffpose.preprocessing.people.track_files import FOLDER, VideoTracks, digest, write_tracks
from diffpose.preprocessing.people.tracking import Track, link, thinned
from diffpose.preprocessing.planning.plan import Probe
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.videos.decode import (
    DamagedVideoError,
    Limits,
    choose_frames,
    decode,
    inspect_video,
    keyframe_segments,
)
from diffpose.preprocessing.videos.settings import VideoSource
from diffpose.preprocessing.videos.sidecar import Sidecar, Truth, read_sidecar, read_truth

# Frames that wait for the finder together, at most; whole frames are large.
_FRAMES_AT_ONCE = 8


@dataclass(frozen=True)
class LookedThrough:
    """What looking through a video's segments found, up to the first damage.

    Attributes:
        pts: (T,), presentation times of all frames, in the stream's ticks.
        boxes: the people of each of these, (people, 5): x0, y0, x1, y1 in px, score.
        looks: (n,), indices of the frames that were looked at.
        boxes: of each of these the people, (people, 6): x0, y0, x1, y1 in px, score, number.
        damage: what is wrong after the last frame, or "".
    """

    pts: NDArray[np.int64]
    time_s: NDArray[np.float64]
    looks: NDArray[np.int64]
    boxes: list[NDArray[np.float32]]
    damage: str


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


def limits_of(source: VideoSource) -> Limits:
    """Return what is refused."""
    return Limits(max_pixels=int(source.max_megapixels * 1e6))


def make_inspect_fn(settings: PreprocessSettings, uris: dict[str, str]) -> RowFunction:
    """Return a function that looks at a video's packets: {"source"} -> segments or an error."""
    source = _video_source(settings)

    def inspect(row: Row) -> Row:
        name = row["source"]
        try:
            info = inspect_video(uris[name], limits_of(source))
            read_sidecar(uris[name])
        except DiffPoseError as error:
            return {"source": name, "info": "", "error": str(error)}
        segments = keyframe_segments(info, source.segment_frames)
        found = {
            "width": info.width,
            "height": info.height,
            "fps": info.average_fps,
            "damage": info.damage,
            "segments": [list(segment) for segment in segments],
            "keyframes": list(info.keyframe_pts),
        }
        return {"source": name, "info": json.dumps(found), "error": ""}

    return inspect


def make_people_fn(
    settings: PreprocessSettings, uris: dict[str, str], device: str = "cpu"
) -> RowFunction:
    """Return a function that looks through one segment and saves times and boxes."""
    source = _video_source(settings)
    finder_name = _finder(settings)
    weights = settings.detector.weights if isinstance(settings.detector, BundledSettings) else None

    def look(row: Row) -> Row:
        torch.set_num_threads(1)
        first, stop = json.loads(row["range"])
        finder = person_finder(settings.people, weights, device) if finder_name == "model" else None
        pts: list[int] = []
        times: list[float] = []
        looks: list[int] = []
        boxes: list[NDArray[np.float32]] = []
        waiting: list[NDArray[np.uint8]] = []
        error, next_look_s = "", -np.inf

        def look_at_waiting() -> None:
            if finder is not None and waiting:
                boxes.extend(finder.find(np.stack(waiting)))
            waiting.clear()

        frames = decode(
            uris[row["source"]],
            first_pts=first,
            stop_pts=stop,
            limits=limits_of(source),
            pixels=finder is not None,
        )
        try:
            for frame in frames:
                if finder is not None and frame.time_s >= next_look_s - 1e-6:
                    looks.append(len(pts))
                    if waiting and waiting[0].shape != frame.pixels.shape:
                        look_at_waiting()
                    waiting.append(frame.pixels)
                    next_look_s = frame.time_s + 1.0 / settings.people.per_second
                    if len(waiting) == _FRAMES_AT_ONCE:
                        look_at_waiting()
                pts.append(frame.pts)
                times.append(frame.time_s)
        except DamagedVideoError as damage:
            error = str(damage)
        except DiffPoseError as refusal:
            error = str(refusal)
        look_at_waiting()
        counts = [len(people) for people in boxes]
        flat = np.concatenate(boxes) if boxes else np.zeros((0, 5), np.float32)
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer, pts=np.array(pts, np.int64), time_s=np.array(times), looks=np.array(looks),
            counts=np.array(counts, np.int64), boxes=flat, error=np.array(error),
        )  # fmt: skip
        write_bytes(segment_uri(settings, row, row["segment"]), buffer.getvalue())
        return {"source": row["source"], "segment": row["segment"], "frames": len(pts)}

    return look


def make_tracks_fn(settings: PreprocessSettings, uris: dict[str, str]) -> RowFunction:
    """Return a function that links a video's boxes and proposes its clips."""
    source = _video_source(settings)

    def track(row: Row) -> Row:
        name, info = row["source"], json.loads(row["info"])
        try:
            video = _tracked(settings, source, row, uris[name], info)
        except DiffPoseError as error:
            return {"source": name, "clips": "[]", "error": str(error), "damage": ""}
        tracks = video.tracks
        write_tracks(settings.store, name, tracks)
        split: Split = video.split or ("test" if not video.has_truth else row["split"])
        fps = _rate(tracks.time_s, info["fps"])
        starts = np.searchsorted(tracks.pts, info["keyframes"])
        clips = [
            Clip(
                clip=clip_id(name, start, stop - start, f"{video.camera}/{one.track}"),
                source=name,
                subject=video.subject,
                action=video.action,
                camera=video.camera,
                track=one.track,
                split=split,
                fps=fps,
                width=info["width"],
                height=info["height"],
                first_frame=start,
                first_row=0,
                n_rows=stop - start,
            )
            for one in tracks.tracks
            for start, stop in _pieces(one, source.clip_frames, starts)
        ]
        texts = [clip.model_dump(mode="json") for clip in clips]
        return {"source": name, "clips": json.dumps(texts), "error": "", "damage": video.damage}

    return track


def probe_from_row(row: Row) -> Probe:
    """Read a row of make_tracks_fn, or of make_inspect_fn where that failed."""
    clips = tuple(Clip.model_validate(c) for c in json.loads(row.get("clips") or "[]"))
    return Probe(row["source"], clips, row["error"], row.get("damage") or "")


def segment_uri(settings: PreprocessSettings, row: Row, segment: int) -> str:
    """Return where what a segment gave is saved.

    The name tells the video as inspected and the settings, so that nothing stale is taken.
    """
    content = settings.model_dump(mode="json", include={"source", "people", "detector"})
    key = digest(json.dumps([row["source"], row["info"], content], sort_keys=True))
    return join(settings.store, FOLDER, f"{key}.{segment:05d}.npz")


def _tracked(
    settings: PreprocessSettings, source: VideoSource, row: Row, uri: str, info: dict[str, Any]
) -> TrackedVideo:
    name = row["source"]
    looked = _joined(settings, row, len(info["segments"]))
    pts, times = looked.pts, looked.time_s
    damage = looked.damage or info["damage"]
    if len(pts) == 0:
        raise SourceError(damage or f"{uri}: not one frame could be decoded.")
    chosen = choose_frames(times, source.fps)
    sidecar = read_sidecar(uri)
    truth = read_truth(uri, sidecar)
    finder = _finder(settings)
    looks: NDArray[np.int64] = looked.looks
    boxes: Sequence[NDArray[np.floating]] = looked.boxes
    if finder == "recorded":
        assert isinstance(settings.detector, RecordedSettings)
        recording = recording_of(settings.detector, uri)
        known = [i for i in range(len(pts)) if recording.people(i)]
        looks = np.array(known, dtype=np.int64)
        boxes = [
            np.array([[*p.box_px, p.score, p.track] for p in recording.people(i)], np.float64)
            for i in known
        ]
    elif finder == "sidecar":
        if truth is None or sidecar.intrinsics_px is None:
            raise SourceError(
                f"{uri} has no sidecar with intrinsics_px and truth, which people.finder=sidecar "
                "takes the boxes from. Use people.finder=bundled or rtdetr."
            )
        looks, boxes = _true_boxes(truth, sidecar, times)
    # people are followed through all frames, and kept in the chosen ones
    followed = link(
        times,
        looks.tolist(),
        boxes,
        several=settings.people.several,
        patience_s=settings.people.patience_s,
        shortest_s=settings.people.shortest_s,
    )
    tracks = [part for track in followed if (part := thinned(track, chosen)) is not None]
    if not tracks:
        raise SourceError(
            f"{uri}: no person was found in {len(looks)} of its {len(pts)} frames. Lower "
            "people.threshold, or try people.finder=rtdetr." + (f" ({damage})" if damage else "")
        )
    stem = name.rsplit("/", 1)[-1].rpartition(".")[0] or name
    return TrackedVideo(
        tracks=VideoTracks(pts[chosen], times[chosen], chosen, tuple(tracks)),
        damage=damage,
        has_truth=truth is not None,
        subject=sidecar.subject or stem,
        action=sidecar.action or source.action_of(name),
        camera=sidecar.camera or "camera_0",
        split=sidecar.split,
    )


def _joined(settings: PreprocessSettings, row: Row, n_segments: int) -> LookedThrough:
    """Put a video's segments together; from a damage on nothing is taken."""
    pts: list[NDArray[np.int64]] = []
    times: list[NDArray[np.float64]] = []
    looks: list[NDArray[np.int64]] = []
    boxes: list[NDArray[np.float32]] = []
    damage = ""
    count = 0
    for segment in range(n_segments):
        data = read_bytes(segment_uri(settings, row, segment))
        with np.load(io.BytesIO(data), allow_pickle=False) as saved:
            later = saved["pts"] > (pts[-1][-1] if pts and len(pts[-1]) else -(2**62))
            assert later.all(), f"segments of {row['source']} overlap"
            pts.append(saved["pts"])
            times.append(saved["time_s"])
            looks.append(saved["looks"] + count)
            boxes += (
                np.split(saved["boxes"], np.cumsum(saved["counts"])[:-1])
                if len(saved["counts"])
                else []
            )
            count += len(saved["pts"])
            damage = str(saved["error"])
        if damage:
            break
    return LookedThrough(
        pts=np.concatenate(pts),
        time_s=np.concatenate(times),
        looks=np.concatenate(looks).astype(np.int64),
        boxes=boxes,
        damage=damage,
    )


def _true_boxes(
    truth: Truth, sidecar: Sidecar, times: NDArray[np.float64]
) -> tuple[NDArray[np.int64], list[NDArray[np.floating]]]:
    from diffpose.preprocessing.detectors.examples import person_boxes

    boxes = person_boxes(truth, sidecar.project_px(truth.joints_mm))
    moments = truth.at(times)
    looks, found = [], []
    for frame in np.flatnonzero(moments >= 0):
        there = [
            [*boxes[p, moments[frame]], 1.0, p]
            for p in range(len(boxes))
            if np.isfinite(boxes[p, moments[frame]]).all()
        ]
        if there:
            looks.append(frame)
            found.append(np.array(there))
    return np.array(looks, dtype=np.int64), found


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


def _finder(settings: PreprocessSettings) -> str:
    """Return where boxes come from: a model, the recording, or the sidecar."""
    if settings.people.finder == "sidecar":
        return "sidecar"
    if settings.people.finder == "auto" and isinstance(settings.detector, RecordedSettings):
        return "recorded"
    return "model"


def _video_source(settings: PreprocessSettings) -> VideoSource:
    assert isinstance(settings.source, VideoSource)
    return settings.source


def has_segment(settings: PreprocessSettings, row: Row, segment: int) -> bool:
    """Tell whether a segment was looked through before, without damage."""
    uri = segment_uri(settings, row, segment)
    if not exists(uri):
        return False
    with np.load(io.BytesIO(read_bytes(uri)), allow_pickle=False) as saved:
        return not str(saved["error"])
