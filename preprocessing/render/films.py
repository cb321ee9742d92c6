"""From a motion to films: people, cameras, surroundings, H.264, truth beside it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.base.errors import DiffPoseError
from diffpose.platform.base.storage import exists, join, write_bytes
from diffpose.platform.execution.ray_stages import Stage
from diffpose.platform.store.clips import Split
from diffpose.preprocessing.mocap.bodies import bone_factors, reshape_body
from diffpose.preprocessing.mocap.cameras.virtual_camera import centre
from diffpose.preprocessing.mocap.source import SUFFIX, Motion, read_motion
from diffpose.preprocessing.records.seeds import generator, number
from diffpose.preprocessing.render.frames import RenderCamera, random_lens, render_frames
from diffpose.preprocessing.render.person.look import random_build, random_look
from diffpose.preprocessing.render.scene.scene import random_scene
from diffpose.preprocessing.render.settings import FilmSettings
from diffpose.preprocessing.render.surfaces.parts import Array
from diffpose.preprocessing.videos.encode import encode
from diffpose.preprocessing.videos.sidecar import Sidecar, Truth, sidecar_uri, write_truth

# Others keep this far from the first person and from each other.
_APART_M = (0.8, 2.2)


def film_names(settings: FilmSettings, name: str, motion: Motion, camera: int) -> dict[str, range]:
    """Return the films of a motion and camera: file name -> frames of the motion."""
    stem = name[: -len(SUFFIX)].replace("/", "__")
    longest = max(int(settings.seconds * motion.fps), 1)
    pieces = [
        range(first, min(first + longest, stop))
        for start, stop in motion.segments
        for first in range(start, stop, longest)
    ]
    if len(pieces) == 1:
        return {f"{stem}_camera_{camera}.mp4": pieces[0]}
    return {f"{stem}_s{i:02d}_camera_{camera}.mp4": piece for i, piece in enumerate(pieces)}


class Shot(NamedTuple):
    """A motion before one of the cameras."""

    motion: str
    camera: int


class Rendered(NamedTuple):
    """New films of a shot, their frames, and what went wrong, or nothing."""

    films: int
    frames: int
    error: str


def make_render_fn(settings: FilmSettings, names: Sequence[str], splits: dict[str, Split]) -> Stage:
    """Return a stage from Shot to Rendered: writes the films of a motion and camera.

    Args:
        settings: of the films.
        names: all motions; other people's motions come from those of the same split.
        splits: of the motions.
    """

    def render(shot: Shot) -> Rendered:
        name, camera = shot.motion, shot.camera
        films = frames_written = 0
        try:
            motion = _read(settings, name)
            for film, frames in film_names(settings, name, motion, camera).items():
                uri = join(settings.out, film)
                if exists(sidecar_uri(uri)):
                    continue
                write_film(settings, names, splits, name, motion, frames, camera, uri)
                films += 1
                frames_written += len(frames)
        except DiffPoseError as error:
            return Rendered(films, frames_written, f"{name}: {error}")
        return Rendered(films, frames_written, "")

    return render


def write_film(
    settings: FilmSettings,
    names: Sequence[str],
    splits: dict[str, Split],
    name: str,
    motion: Motion,
    frames: range,
    camera: int,
    uri: str,
) -> None:
    """Render one film; the sidecar, written last, says that it is complete."""
    split = splits[name]
    film = uri.rpartition("/")[2]
    key = f"{name}#{frames.start}"  # all cameras see one scene with one cast
    own, body = _acting(settings, name, split, motion.positions_m[frames.start : frames.stop])
    people = [own]
    rivals = [other for other in names if splits[other] == split]
    rng = generator(settings.seed, "others", key)
    for _ in range(1, settings.people):
        other = rivals[int(rng.integers(len(rivals)))]
        start = int(rng.integers(10_000))
        people.append(_joining(settings, other, split, start, people, rng))
    cast_m = np.concatenate(people, axis=0)
    # the ring of cameras stands around everybody
    middle = cast_m[:, 0, :2].reshape(-1, 2)
    shift = (middle.min(axis=0) + middle.max(axis=0)) / 2
    for positions in people:
        positions[..., :2] -= shift
    placed = settings.cameras.camera(np.stack(people, axis=1), camera, settings.seed, key)
    rotation, position, intrinsics = placed.rotation, placed.position_m, placed.intrinsics_px
    film_camera = RenderCamera(rotation, position, intrinsics, (placed.height, placed.width))
    in_camera = [(positions - position) @ rotation.T for positions in people]
    rng = generator(settings.seed, "look", key)
    looks = []
    for _ in people:
        build = random_build(rng)
        looks.append(random_look(rng, build, settings.variety))
    reach = max(float(np.abs(p[:, 0, :2]).max()) for p in people) + 0.6
    occluder = bool(generator(settings.seed, "occluder", film).random() < settings.occluders)
    scene = random_scene(
        generator(settings.seed, "scene", film), position, reach, settings.clutter, occluder
    )
    rng = generator(settings.seed, "lens", film)
    lens = random_lens(rng, settings.variety)
    boxes: list[NDArray[np.float64]] = []

    def pictures() -> Iterator[tuple[None, NDArray[np.uint8]]]:
        for picture, box in render_frames(
            in_camera, looks, scene, film_camera, lens, motion.fps, rng
        ):
            boxes.append(box)
            yield None, picture

    buffer = io.BytesIO()
    encode(
        buffer, pictures(), motion.fps,
        crf=settings.crf, preset=settings.preset, gop=settings.gop,
    )  # fmt: skip
    write_bytes(uri, buffer.getvalue())
    truth = Truth(
        timestamp_s=np.arange(len(frames)) / motion.fps,
        joints_mm=(np.stack(in_camera) * 1000.0).astype(np.float32),
        boxes_px=np.stack(boxes, axis=1).astype(np.float32),
    )
    sidecar = Sidecar(
        subject=f"{split}_{body:02d}",
        action=settings.source.action_of(name),
        camera=f"camera_{camera}",
        split=split,
        intrinsics_px=tuple(intrinsics.tolist()),
    )
    write_truth(uri, sidecar, truth)


def _read(settings: FilmSettings, name: str) -> Motion:
    source = settings.source.model_copy(update={"poses_per_second": settings.fps})
    return read_motion(source, name)


def _acting(
    settings: FilmSettings, name: str, split: Split, positions_m: Array
) -> tuple[Array, int]:
    """Return a motion as one pseudo-subject of the split makes it, centred; and which one."""
    body = number(settings.seed, "body of", name) % int(getattr(settings.bodies, split))
    factors = bone_factors(settings.bodies, split, body, settings.seed, positions_m)
    return centre(reshape_body(positions_m, factors)), body


def _joining(
    settings: FilmSettings,
    name: str,
    split: Split,
    start: int,
    people: Sequence[Array],
    rng: np.random.Generator,
) -> Array:
    """Return another person's motion, as long as the first one's, beside those who are there."""
    n_frames = len(people[0])
    whole = _read(settings, name).positions_m
    # there and back again, so that no one jumps
    there_and_back = np.concatenate([whole, whole[::-1]])
    frames = (start + np.arange(n_frames)) % len(there_and_back)
    positions, _ = _acting(settings, name, split, there_and_back[frames])
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(*_APART_M)
    step = np.array([np.cos(angle), np.sin(angle)])
    place_m = people[0][:, 0, :2].mean(axis=0)
    for _ in range(20):
        away = min(
            float(np.linalg.norm(p[:, 0, :2] - (positions[:, 0, :2] + place_m), axis=-1).min())
            for p in people
        )
        if away >= distance:
            break
        place_m = place_m + 0.25 * step
    positions[..., :2] += place_m
    return positions
