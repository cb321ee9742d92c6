"""diffpose inspect source...: what a source holds, what is missing, whether its files agree."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from diffpose.platform.base.errors import DiffPoseError
from diffpose.platform.base.progress import Progress
from diffpose.platform.base.storage import absolute, write_json
from diffpose.preprocessing.datasets.checks import Findings, examine
from diffpose.preprocessing.datasets.registry import DatasetSource, data_set
from diffpose.preprocessing.keypoints.recordings import KeypointSource, keypoint_recordings
from diffpose.preprocessing.mocap.source import MocapSource, read_motion
from diffpose.preprocessing.settings import SourceSettings
from diffpose.preprocessing.videos.decode import Limits, inspect_video, named_videos
from diffpose.preprocessing.videos.settings import VideoSource

_MOST = 20  # problems that are printed


def inspect_source(source: SourceSettings, json_file: str | None) -> int:
    """Print and save what a source holds; returns 1 where a check failed.

    Raises:
        SourceError: there is nothing, or a file is another kind of file.
    """
    uri = (
        [absolute(u) for u in source.uri] if isinstance(source.uri, list) else absolute(source.uri)
    )
    source = source.model_copy(update={"uri": uri})
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    if isinstance(source, DatasetSource):
        found = _data_set(source, console)
    else:
        found = _files(source)
        console.print(f"{len(found['files'])} readable files, {len(found['problems'])} not")
        for name, text in found["files"].items():
            console.print(f"  {name}: {text}", markup=False)
    problems = found["problems"]
    for problem in problems[:_MOST]:
        console.print(
            f"{problem['where']}: {problem['what']}. {problem['cause']}", style="red", markup=False
        )
    if len(problems) > _MOST:
        console.print(f"... and {len(problems) - _MOST} more; --json FILE has all")
    if not problems:
        console.print("every check passed")
    if json_file:
        write_json(json_file, found)
    return 1 if problems else 0


def _data_set(source: DatasetSource, console: Console) -> dict[str, Any]:
    data = data_set(source)
    progress = Progress("inspect", len(data.recordings()), "recordings")
    found = Findings()
    for found in examine(data):  # noqa: B007
        progress.advance(1)
    result = {"source": source.model_dump(mode="json"), "dataset": data.attributes()}
    result.update(found.as_json())
    table = Table("", "found", title=f"{result['dataset']['name']}: {source.uri}")
    table.add_row("poses", f"{result['dataset']['poses']}: {result['dataset']['poses_meaning']}")
    for what in ("subjects", "actions", "cameras"):
        counts = ", ".join(f"{name} ({n})" for name, n in result[what].items())
        table.add_row(what, counts)
    table.add_row("frames", f"{result['frames']} in all views")
    if result["views_checked"]:
        table.add_row(
            "poses against keypoints",
            f"median {result['median_reprojection_px']:.2f} px, worst view "
            f"{result['worst_reprojection_px']:.2f} px, {result['views_checked']} views",
        )
    console.print(table)
    return result


def _files(source: MocapSource | VideoSource | KeypointSource) -> dict[str, Any]:
    """Open every file of a source that is no data set."""
    from diffpose.platform.base.storage import find_files
    from diffpose.preprocessing.keypoints.recorded_formats import read_frames
    from diffpose.preprocessing.mocap.source import SUFFIX

    files: dict[str, str] = {}
    problems: list[dict[str, str]] = []

    def tried(name: str, look: Any) -> None:
        try:
            files[name] = look()
        except DiffPoseError as error:
            problems.append({"where": name, "what": "cannot be used", "cause": str(error)})

    def video(uri: str) -> str:
        info = inspect_video(uri, Limits(max_pixels=int(source.max_megapixels * 1e6)))  # type: ignore[union-attr]
        return f"{info.width} x {info.height}, {info.average_fps:.3g} frames per second" + (
            f", damaged: {info.damage}" if info.damage else ""
        )

    def motion(name: str) -> str:
        assert isinstance(source, MocapSource)
        found = read_motion(source, name)
        return f"{len(found.positions_m)} poses at {found.fps:.3g} per second"

    def keypoints(uri: str, name: str) -> str:
        frames = read_frames(uri, "auto", name).frames
        people = [len(p) for p in frames.values()]
        joints = sorted({len(p.keypoints_px) for one in frames.values() for p in one})
        return f"{len(frames)} frames, up to {max(people, default=0)} people, {joints} joints"

    if isinstance(source, VideoSource):
        for name, uri in named_videos(source.uri).items():
            tried(name, lambda uri=uri: video(uri))
    elif isinstance(source, KeypointSource):
        for name, located in keypoint_recordings(source.uri).items():
            tried(name, lambda located=located: keypoints(located.uri, located.video))
    else:
        for name in find_files(source.uri, SUFFIX):
            tried(name, lambda name=name: motion(name))
    return {"source": source.model_dump(mode="json"), "files": files, "problems": problems}
