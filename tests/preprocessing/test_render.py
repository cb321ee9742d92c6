"""Films: pictures that agree with their truth, the same from the same seed, and their files."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

from diffpose.model.geometry.pinhole import look_at, project
from diffpose.platform.base.config import validate
from diffpose.platform.base.errors import ConfigError, SourceError, StoreError
from diffpose.platform.synthesis.render import render
from diffpose.preprocessing.mocap.procedural.motion import write_motion_library
from diffpose.preprocessing.mocap.source import MocapSource, read_motion
from diffpose.preprocessing.records.splits import assign_splits
from diffpose.preprocessing.render.films import Rendered, Shot, film_names, make_render_fn
from diffpose.preprocessing.render.frames import RenderCamera, random_lens, render_frames
from diffpose.preprocessing.render.person.look import SKIN, random_build, random_look
from diffpose.preprocessing.render.scene.scene import random_scene
from diffpose.preprocessing.render.settings import FilmSettings
from diffpose.preprocessing.render.surfaces.parts import ellipsoid, tables
from diffpose.preprocessing.render.surfaces.raster import SUB, rasterise
from diffpose.preprocessing.videos.decode import decode, inspect_video
from diffpose.preprocessing.videos.encode import encode
from diffpose.preprocessing.videos.sidecar import read_sidecar, read_truth

INTRINSICS = np.array([300.0, 300.0, 120.0, 120.0])


@pytest.fixture(scope="module")
def motions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("motions")
    write_motion_library(str(folder), ("walking", "waving"), 2, 1.5, seed=3)
    return folder


def settings(motions: Path, out: Path, **changes: object) -> FilmSettings:
    recipe = {
        "source": {"uri": str(motions)},
        "out": str(out),
        "fps": 10,
        "cameras": {"count": 1, "width": 240, "height": 240},
        "workers": 2,
    }
    return validate(FilmSettings, {**recipe, **changes})


def render_one(chosen: FilmSettings, name: str) -> Rendered:
    names = sorted(path.name for path in Path(chosen.source.uri).glob("*.bvh"))
    splits = assign_splits(names, chosen.split, chosen.seed)
    rendered: Rendered = make_render_fn(chosen, names, splits)(Shot(name, 0))
    return rendered


@pytest.mark.parametrize("place", [(0.0, 0.0, 3.0), (0.7, -0.5, 2.5), (-0.9, 0.8, 4.0)])
def test_a_ball_is_seen_where_its_middle_projects(place: tuple[float, float, float]) -> None:
    centre = np.array([place])
    up, front = np.array([[0.0, -1.0, 0.0]]), np.array([[0.0, 0.0, -1.0]])
    part = ellipsoid(centre, up, front, (0.03, 0.03, 0.03), SKIN)
    depth = np.full((240 * SUB, 240 * SUB), 1e6, np.float32)
    owner = np.full(depth.shape, -1, np.int16)
    boxes = np.array([[np.inf, np.inf, -np.inf, -np.inf]])
    rasterise(tables([part], 0)[0], INTRINSICS, 0, 1, depth, owner, boxes)
    y, x = np.nonzero(owner >= 0)
    seen = np.array([x.mean() + 0.5, y.mean() + 0.5]) / SUB
    (expected,) = project(centre, INTRINSICS[None])
    np.testing.assert_allclose(seen, expected, atol=0.1)
    assert boxes[0, 0] < expected[0] < boxes[0, 2]
    assert depth.min() == pytest.approx(np.linalg.norm(place) * place[2] / np.linalg.norm(place)
                                        - 0.03, abs=0.01)  # fmt: skip


def test_joints_lie_on_the_body_and_in_its_box(motions: Path, tmp_path: Path) -> None:
    chosen = settings(motions, tmp_path, occluders=0, variety=0)
    assert render_one(chosen, "walking_000.bvh").error == ""
    uri = str(tmp_path / "walking_000_camera_0.mp4")
    sidecar = read_sidecar(uri)
    truth = read_truth(uri, sidecar)
    assert truth is not None
    assert sidecar.camera == "camera_0"
    assert sidecar.action == "walking"
    assert sidecar.intrinsics_px is not None
    joints = project(truth.joints_mm[0].astype(float), np.array(sidecar.intrinsics_px))
    assert truth.boxes_px is not None
    boxes = truth.boxes_px[0]
    assert (joints > boxes[:, None, :2] - 2).all()
    assert (joints < boxes[:, None, 2:] + 2).all()
    # hips, knees, shoulders and elbows: the same colour around them as between neighbours' frames
    frames = [frame.pixels for frame in decode(uri)]
    assert len(frames) == 15 == len(truth.timestamp_s)
    background = np.median(np.stack(frames), axis=0)
    moving = np.abs(np.stack(frames) - background).max(axis=(0, 3)) > 12
    inside = moving[boxes[:, 1].min().astype(int) : boxes[:, 3].max().astype(int)]
    assert inside.any()
    outside = moving.copy()
    low, high = boxes[:, :2].min(axis=0) - 25, boxes[:, 2:].max(axis=0) + 25
    outside[max(int(low[1]), 0) : int(high[1]), max(int(low[0]), 0) : int(high[0])] = False
    assert outside.mean() < 0.02  # nothing else moves, but for the shadow


def test_a_face_tells_front_from_back() -> None:
    """Seen from the front, skin shows where the nose is; from behind, hair."""
    rng = np.random.default_rng(3)
    look = next(
        look
        for look in (random_look(rng, random_build(rng), 0.0) for _ in range(200))
        if look.hair == "short" and look.materials[SKIN, :3].min() > 0.3
    )
    standing = np.zeros((1, 17, 3))
    heights = [0.95, 0.93, 0.5, 0.08, 0.93, 0.5, 0.08, 1.15, 1.42, 1.55, 1.68]
    heights += [1.42, 1.15, 0.9, 1.42, 1.15, 0.9]
    side = {1: -0.12, 2: -0.12, 3: -0.12, 14: -0.18, 15: -0.22, 16: -0.22}
    side |= {4: 0.12, 5: 0.12, 6: 0.12, 11: 0.18, 12: 0.22, 13: 0.22}
    for joint, height in enumerate(heights):
        standing[0, joint] = [0.0, side.get(joint, 0.0), height]  # faces +x, left on +y
    standing[0, 9, 0] = 0.1
    shades = {}
    for name, x in (("front", 3.0), ("back", -3.0)):
        position = np.array([x, 0.0, 1.5])
        rotation = look_at(position, np.array([0.0, 0.0, 1.2]))
        view = RenderCamera(rotation, position, INTRINSICS, (240, 240))
        scene = random_scene(np.random.default_rng(0), position, 1.0, 0.0, False)
        lens = random_lens(np.random.default_rng(0), 0.0)
        in_camera = (standing - position) @ rotation.T
        picture, _ = next(
            render_frames([in_camera], [look], scene, view, lens, 10.0, np.random.default_rng(0))
        )
        head = project((in_camera[0, 9] + in_camera[0, 10]) / 2, INTRINSICS)
        j, i = head.astype(int)
        shades[name] = picture[i - 2 : i + 3, j - 2 : j + 3].reshape(-1, 3).mean(axis=0)
    assert shades["front"].mean() > shades["back"].mean() + 20


def test_same_seed_same_film_other_seed_other_film(motions: Path, tmp_path: Path) -> None:
    films = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        render_one(settings(motions, tmp_path / name, seed=seed, people=2), "waving_001.bvh")
        films.append((tmp_path / name / "waving_001_camera_0.mp4").read_bytes())
    assert films[0] == films[1]
    assert films[0] != films[2]


def test_several_people_hide_each_other_and_have_their_truth(motions: Path, tmp_path: Path) -> None:
    render_one(settings(motions, tmp_path, people=3), "walking_001.bvh")
    uri = str(tmp_path / "walking_001_camera_0.mp4")
    truth = read_truth(uri, read_sidecar(uri))
    assert truth is not None
    assert truth.boxes_px is not None
    assert truth.joints_mm.shape == (3, 15, 17, 3)
    roots = truth.joints_mm[:, :, 0]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.linalg.norm(roots[a] - roots[b], axis=-1).min() > 500


def test_long_motions_are_cut_into_films(motions: Path, tmp_path: Path) -> None:
    chosen = settings(motions, tmp_path, seconds=0.6)
    source = MocapSource(uri=str(motions), poses_per_second=10)
    motion = read_motion(source, "waving_000.bvh")
    names = film_names(chosen, "waving_000.bvh", motion, 0)
    assert [len(frames) for frames in names.values()] == [6, 6, 3]
    assert render_one(chosen, "waving_000.bvh").films == 3
    assert sorted(p.name for p in tmp_path.glob("*.mp4")) == sorted(names)
    assert render_one(chosen, "waving_000.bvh").films == 0  # done already
    (tmp_path / "waving_000_s01_camera_0.json").unlink()
    assert render_one(chosen, "waving_000.bvh").films == 1


def test_films_have_their_rate_and_keyframes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(20)]
    buffer = io.BytesIO()
    timeless = ((None, picture) for picture in pictures)
    n_frames = encode(buffer, timeless, 29.97, crf=30, preset="ultrafast", gop=5)
    assert n_frames == len(pictures)
    data = buffer.getvalue()
    (tmp_path / "a.mp4").write_bytes(data)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert float(container.streams.video[0].average_rate or 0) == pytest.approx(29.97, abs=0.01)
    info = inspect_video(str(tmp_path / "a.mp4"))
    assert info.n_packets == 20
    assert len(info.keyframe_pts) >= 4


def test_films_keep_the_times_that_frames_really_have(tmp_path: Path) -> None:
    times_s = [0.0, 0.1, 0.15, 0.5, 0.5001, 2.0]  # as telephones take them; two all but at once
    pictures = [(t, np.full((48, 64, 3), 40 * i, np.uint8)) for i, t in enumerate(times_s)]
    film = str(tmp_path / "a.mp4")
    assert encode(film, iter(pictures), 30.0, crf=30, preset="ultrafast", gop=5) == 6
    frames = list(decode(film))
    np.testing.assert_allclose([frame.time_s for frame in frames], times_s, atol=1e-4)
    brightness = [float(frame.pixels.mean()) for frame in frames]
    np.testing.assert_allclose(brightness, 40.0 * np.arange(6), atol=5)


@pytest.mark.cluster
def test_the_job_goes_on_and_refuses_other_settings(
    ray_local: None, motions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "motions").mkdir()
    for path in motions.glob("*.bvh"):
        (tmp_path / "motions" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "motions" / "broken_000.bvh").write_text("HIERARCHY\n")
    chosen = settings(tmp_path / "motions", tmp_path / "out")
    assert render(chosen) == 0
    printed = capsys.readouterr().out
    assert "4 new films" in printed
    assert "broken_000.bvh" in printed
    splits = {read_sidecar(str(f)).split for f in (tmp_path / "out").glob("*.mp4")}
    names = sorted(path.name for path in (tmp_path / "motions").glob("*.bvh"))
    expected = assign_splits(names, chosen.split, chosen.seed)
    assert splits == {split for name, split in expected.items() if "broken" not in name}
    assert render(chosen) == 0
    assert "0 new films" in capsys.readouterr().out
    with pytest.raises(StoreError, match="fps: saved 10"):
        render(settings(tmp_path / "motions", tmp_path / "out", fps=12))
    with pytest.raises(SourceError):
        render(settings(tmp_path / "nowhere", tmp_path / "other"))


def test_odd_sizes_are_refused_and_focal_length_follows(motions: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="even"):
        settings(motions, tmp_path, cameras={"width": 241, "height": 240})
    assert settings(motions, tmp_path).cameras.focal_px == pytest.approx(240 * 1.145)
    own = settings(motions, tmp_path, cameras={"width": 240, "height": 240, "focal_px": 300})
    assert own.cameras.focal_px == 300
