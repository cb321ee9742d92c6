"""Decoding videos in order, with PyAV and one thread: frames, true times, honest ends.

Times are seconds since the stream's first moment (``start_time``). Frames come in the order of
their presentation time stamps (pts); one whose pts does not rise is dropped, one without pts
follows its predecessor at the average rate. Packets that give no frame and no error are counted
and told at the end. The first packet that cannot be decoded, or the first
frame of another size, ends a video: frames before it are given, then DamagedVideoError is raised.
Packets that fail before the first frame (a recording that begins between keyframes) are skipped.
Time stamps that start again (recordings joined without a tool) end a video as damage does. Pixels
are square: those of another aspect are stretched along the shorter side; coordinates, those of
sidecars as well, are of square pixels. A mirroring display matrix counts as a turn.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.videos.opening import BROKEN, Limits, cause, named_videos, opened

__all__ = [
    "DamagedVideoError", "Frame", "Limits", "VideoInfo", "choose_frames", "decode", "inspect_video",
    "keyframe_segments", "named_videos",
]  # fmt: skip
# Packets in a row that may give no frame; encoders delay by some dozens at most.
_PATIENCE = 2000
# Formats with time stamps on some packets only: those between depend on where reading began.
_PARTLY_STAMPED = ("mpeg", "mpegvideo", "h264", "hevc", "m4v")
# Time stamps that go back by more are others: frames a little out of order are dropped.
_BACKWARDS_S = 0.5
_LEAST_ASPECT = Fraction(1, 4)
# How far before the wanted moment to seek, one after the other; None: decode from the begin.
_STEPS_BACK_S: tuple[float | None, ...] = (0.0, 2.0, 10.0, 60.0, None)


class DamagedVideoError(SourceError):
    """A video that ends before it should; the frames before the damage were given."""


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        pts: presentation time stamp, in the stream's time base.
        time_s: seconds since the stream's first moment.
        pixels: (H, W, 3) uint8 RGB, upright; empty where none were asked for.
    """

    pts: int
    time_s: float
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class VideoInfo:
    """What packets and the first frame tell.

    Attributes:
        uri: of the file.
        width, height: of the upright frame, px.
        rotation_deg: by which frames are turned to be upright, counter-clockwise.
        average_fps: frames per second on average, 0 where unknown.
        keyframe_pts: time stamps of keyframes, ascending.
        keyframe_index: number of packets before each.
        n_packets: about the number of frames.
        damage: what shows already that the file ends too early; empty if nothing does.
    """

    uri: str
    width: int
    height: int
    rotation_deg: int
    average_fps: float
    keyframe_pts: tuple[int, ...]
    keyframe_index: tuple[int, ...]
    n_packets: int
    damage: str


def inspect_video(uri: str, limits: Limits | None = None) -> VideoInfo:
    """Look at a video's packets and its first frame.

    Raises:
        SourceError: it cannot be opened, or not one frame can be decoded.
    """
    limits = limits or Limits()
    first = next(_decoded(uri, None, limits), None)
    if first is None:
        raise SourceError(f"{uri}: its video stream holds no frame.")
    with opened(uri, limits) as (container, stream):
        keyframes: list[tuple[int, int]] = []
        last = n_packets = 0
        error = ""
        try:
            for packet in container.demux(stream):
                if packet.size == 0:
                    continue
                stamp = packet.pts if packet.pts is not None else packet.dts
                if packet.is_keyframe and stamp is not None:
                    keyframes.append((stamp, n_packets))
                last = max(last, stamp or 0)
                n_packets += 1
                if n_packets > limits.max_packets:
                    raise SourceError(
                        f"{uri} holds more than {limits.max_packets} packets; cut it into parts."
                    )
        except BROKEN as problem:
            error = f"{uri}: after {n_packets} packets its data cannot be read: {cause(problem)}."
        damage = error or _too_short(uri, container, stream, n_packets, last)
        keyframes.sort()
        width, height = first.size
        if first.rotation % 180 != 0:
            width, height = height, width
        return VideoInfo(
            uri=uri,
            width=width,
            height=height,
            rotation_deg=first.rotation,
            average_fps=float(stream.average_rate or 0.0),
            keyframe_pts=tuple(stamp for stamp, _ in keyframes),
            keyframe_index=tuple(number for _, number in keyframes),
            n_packets=n_packets,
            damage=damage,
        )


def keyframe_segments(info: VideoInfo, target_frames: int) -> list[tuple[int | None, int | None]]:
    """Cut a video at keyframes into parts of at least ``target_frames`` frames (but the last).

    Returns:
        (first pts, stop pts) of each part; None for the video's own begin and end.
    """
    cuts: list[int] = []
    start = 0
    for stamp, number in zip(info.keyframe_pts, info.keyframe_index, strict=True):
        if number - start >= target_frames and info.n_packets - number >= target_frames // 2:
            cuts.append(stamp)
            start = number
    limits: list[int | None] = [None, *cuts, None]
    return list(itertools.pairwise(limits))


def decode(
    uri: str,
    *,
    first_pts: int | None = None,
    stop_pts: int | None = None,
    limits: Limits | None = None,
    wanted: set[int] | None = None,
    pixels: bool = True,
) -> Iterator[Frame]:
    """Decode frames in order, from the keyframe before the first one on.

    Args:
        uri: of the video.
        first_pts: frames before it are left out.
        stop_pts: it and all after it are left out.
        limits: what is refused.
        wanted: only frames with these time stamps; turning into RGB is half of the work.
        pixels: whether to give pixels at all.

    Raises:
        DamagedVideoError: after the frames that could be decoded.
        SourceError: the file cannot be opened.
    """
    limits = limits or Limits()
    reformatter = VideoReformatter()
    nothing = np.empty((0, 0, 3), dtype=np.uint8)
    last: int | None = None
    left = len(wanted) if wanted is not None else -1
    for one in _decoded(uri, first_pts, limits):
        stamp = one.pts
        if last is not None and stamp <= last:
            continue
        last = stamp
        if first_pts is not None and stamp < first_pts:
            continue
        if (stop_pts is not None and stamp >= stop_pts) or left == 0:
            return
        if wanted is not None:
            if stamp not in wanted:
                continue
            left -= 1
        image = nothing
        if pixels:
            width, height = one.size
            rgb = reformatter.reformat(one.frame, width, height, format="rgb24", threads=1)
            image = np.asarray(rgb.to_ndarray())
            if one.rotation:
                image = np.ascontiguousarray(np.rot90(image, one.rotation // 90))
        yield Frame(stamp, one.time_s, image)
        if left == 0:  # the next packet may be the damage, which is none of the caller's
            return


def choose_frames(
    time_s: Sequence[float] | NDArray[np.floating], fps: float | None
) -> NDArray[np.int64]:
    """Thin frames out by time: of each interval of 1/fps the first frame; never one twice.

    Args:
        time_s: (T,), ascending.
        fps: wanted rate; None keeps all frames.

    Returns:
        indices, ascending.
    """
    times = np.asarray(time_s, dtype=np.float64)
    if fps is None or len(times) == 0:
        return np.arange(len(times), dtype=np.int64)
    # half a millisecond: time stamps are rounded to their time base
    slots = np.floor((times - times[0] + 5e-4) * fps).astype(np.int64)
    return np.flatnonzero(np.diff(slots, prepend=-1) > 0).astype(np.int64)


@dataclass(frozen=True)
class _Decoded:
    frame: Any  # av.VideoFrame
    pts: int
    time_s: float
    rotation: int
    size: tuple[int, int]  # width, height in square pixels, before the turn


def _decoded(uri: str, first_pts: int | None, limits: Limits) -> Iterator[_Decoded]:
    """Yield frames in order; with ``first_pts`` from the one of that time stamp or one before it.

    A seek may land too late: containers that index decoding times or bytes (AVI, MPEG), and open
    groups of pictures, whose first frames need the group before. Then it is repeated further back.
    """
    if first_pts is None:
        yield from _decoded_from(uri, None, None, limits)
        return
    for back_s in _STEPS_BACK_S:
        frames = _decoded_from(uri, first_pts, back_s, limits)
        try:
            first = next(frames, None)
        except SourceError:
            if back_s is None:
                raise
            continue
        if back_s is None or (first is not None and first.pts <= first_pts):
            if first is not None:
                yield first
                yield from frames
            return
        frames.close()  # type: ignore[attr-defined]


def _decoded_from(  # noqa: PLR0912, PLR0915 - one loop over packets, one way out for each damage
    uri: str, first_pts: int | None, back_s: float | None, limits: Limits
) -> Iterator[_Decoded]:
    """Yield frames as the decoder gives them; DamagedVideoError where it cannot go on."""
    with opened(uri, limits) as (container, stream):
        # AVI has no presentation times; these decoders make none or wrong ones. Their frames come
        # in the order of presentation, so the n-th one gets the n-th smallest of the packets'
        # decoding times: counted from the beginning, because after a seek some give no frame.
        codec = stream.codec_context.name
        reordered = container.format.name == "avi" and codec in ("h264", "hevc", "mpeg4")
        unordered: list[int] | None = [] if reordered else None
        seekable = container.format.name not in _PARTLY_STAMPED and not reordered
        if first_pts is not None and back_s is not None and seekable:
            target = first_pts - round(back_s / float(stream.time_base))
            try:
                container.seek(target, stream=stream, backward=True)
            except BROKEN as error:
                raise SourceError(f"{uri}: cannot seek: {cause(error)}.") from None
        base = float(stream.time_base)
        start = stream.start_time or 0
        step = max(round(1 / (float(stream.average_rate or 25) * base)), 1)
        size: tuple[int, int] | None = None
        previous: int | None = None
        count = without = n_packets = 0
        reason = ""
        packets = _packets(container, stream)
        while True:
            try:
                packet = next(packets, None)
            except BROKEN as error:
                reason = f"its data cannot be read: {cause(error)}"
                break
            if packet is None:
                break
            # an edit list hides frames that are only decoded for others
            n_packets += 1 if packet.size and not packet.is_discard else 0
            if unordered is not None and packet.size and packet.dts is not None:
                heapq.heappush(unordered, packet.dts)
            try:
                frames = packet.decode()
            except BROKEN as error:
                if count == 0 and without < _PATIENCE and packet.size:
                    without += 1
                    reason = f"not one frame can be decoded: {cause(error)}"
                    continue
                reason = f"a frame cannot be decoded: {cause(error)}"
                break
            without = 0 if frames else without + 1
            if without > _PATIENCE:
                reason = f"{_PATIENCE} packets gave no frame"
                break
            for frame in frames:
                size = size or (frame.width, frame.height)
                what = _broken(uri, frame, size, limits)
                if what:
                    raise _damaged(uri, what, count, previous, start, base)
                stamp = heapq.heappop(unordered) if unordered else frame.pts
                if stamp is None:
                    stamp = start if previous is None else previous + step
                if previous is not None and (previous - stamp) * base > _BACKWARDS_S:
                    what = (
                        f"its time stamps start again at {(stamp - start) * base:.2f} s: were "
                        "recordings joined without a tool? Join them anew (ffmpeg's concat), or "
                        "give the parts"
                    )
                    raise _damaged(uri, what, count, previous, start, base)
                previous = stamp
                reason = ""
                count += 1
                shown = _square(frame.width, frame.height, stream.sample_aspect_ratio)
                yield _Decoded(frame, stamp, (stamp - start) * base, _turn(frame.rotation), shown)
        # pictures in two fields come in two packets; some of those without a picture are no damage
        if not reason and first_pts is None and 0.55 * n_packets < count < n_packets:
            reason = f"{n_packets - count} of {n_packets} packets gave no frame"
        if reason:
            raise _damaged(uri, reason, count, previous, start, base)


def _broken(uri: str, frame: Any, size: tuple[int, int], limits: Limits) -> str:
    """Say what is wrong with a frame, or nothing.

    Raises:
        SourceError: it is too large.
    """
    if frame.width * frame.height > limits.max_pixels:
        raise SourceError(
            f"{uri}: a frame of {frame.width} x {frame.height} px is larger than the "
            f"{limits.max_pixels / 1e6:g} megapixels allowed."
        )
    if frame.is_corrupt:
        return "a frame is broken"
    if size != (frame.width, frame.height):
        return f"the size changes from {size[0]} x {size[1]} to {frame.width} x {frame.height} px"
    return ""


def _square(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Return the size in square pixels of a frame; a pixel is ``aspect`` times as wide as high."""
    if not aspect or not _LEAST_ASPECT <= aspect <= 1 / _LEAST_ASPECT:  # nonsense is no aspect
        return width, height
    if aspect >= 1:
        return round(width * aspect), height
    return width, round(height / aspect)


def _turn(angle_deg: int) -> int:
    """Return the whole quarter turns of a display matrix; a matrix of zeros gives no angle."""
    return round(angle_deg / 90) * 90 % 360 if -180 <= angle_deg <= 180 else 0


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    yield from container.demux(stream)


def _damaged(
    uri: str, reason: str, count: int, previous: int | None, start: int, base: float
) -> DamagedVideoError:
    if previous is None:
        return DamagedVideoError(f"{uri}: {reason}.")
    at = (previous - start) * base
    return DamagedVideoError(f"{uri}: after {count} frames, at {at:.2f} s, {reason}.")


def _too_short(uri: str, container: Any, stream: Any, n_packets: int, last: int) -> str:
    """Say where a file holds less than its header promises."""
    if stream.frames and n_packets < stream.frames:
        return f"{uri} ends after {n_packets} of the {stream.frames} frames that its header names."
    if not stream.frames and container.duration:
        promised = container.duration / av.time_base
        # Matroska's duration counts from 0, others' from the first frame
        begin = 0 if "matroska" in container.format.name else stream.start_time or 0
        seen = (last - begin) * float(stream.time_base)
        # sound may go on after the last picture
        alone = len(container.streams) == 1
        frame = 1.0 / float(stream.average_rate or 25)
        if seen < promised - (2.5 * frame if alone else max(0.5, 0.1 * promised)):
            return f"{uri} ends at {seen:.1f} s of the {promised:.1f} s that its header names."
    return ""
