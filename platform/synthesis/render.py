"""Films with known truth from motion capture; restartable."""

from __future__ import annotations

from diffpose.platform.base.config import differences
from diffpose.platform.base.errors import StoreError
from diffpose.platform.base.progress import Progress
from diffpose.platform.base.storage import absolute, exists, find_files, join, read_json, write_json
from diffpose.platform.execution.ray_session import ray_session
from diffpose.platform.execution.ray_stages import run_stages
from diffpose.preprocessing.mocap.source import SUFFIX
from diffpose.preprocessing.records.splits import assign_splits, check_patterns
from diffpose.preprocessing.render.films import Shot, make_render_fn
from diffpose.preprocessing.render.settings import CONTENT_FIELDS, FilmSettings


def render(settings: FilmSettings) -> int:
    """Write the films that are not there yet; returns the exit status.

    Raises:
        SourceError: there is no motion.
        StoreError: the folder holds films of other settings.
    """
    source = settings.source.model_copy(update={"uri": absolute(settings.source.uri)})
    settings = settings.model_copy(update={"out": absolute(settings.out), "source": source})
    names = find_files(settings.source.uri, SUFFIX)
    _check_folder(settings)
    check_patterns(names, settings.split)
    splits = assign_splits(names, settings.split, settings.seed)
    shots = [Shot(name, camera) for name in names for camera in range(settings.cameras.count)]
    progress = Progress("render", len(shots), "motions x cameras")
    films = frames = 0
    failed: set[str] = set()
    with ray_session(settings.workers):
        stage = make_render_fn(settings, names, splits)
        for done in run_stages(shots, [stage], settings.workers):
            progress.advance(1)
            films += done.films
            frames += done.frames
            if done.error:
                failed.add(done.error)
    print(f"render: {films} new films, {frames} frames, {len(failed)} motions failed")
    for error in sorted(failed)[:10]:
        print(f"  failed: {error}")
    nothing = len(names) == len(failed)
    return 1 if nothing or (settings.strict and failed) else 0


def _check_folder(settings: FilmSettings) -> None:
    uri = join(settings.out, "render.json")
    if not exists(uri):
        write_json(uri, settings.model_dump(mode="json"))
        return
    changed = differences(settings, read_json(uri), CONTENT_FIELDS)
    if changed:
        raise StoreError(
            f"The films in {settings.out!r} were rendered with other settings:\n  "
            + "\n  ".join(changed)
            + "\nGive another out=, or the settings that they were rendered with."
        )
