"""Damaged and odd files, made from good ones: never a crash, a hang or unbounded memory.

Each file is looked at in a process of its own corpus run: with a limit on its memory and its time.
What comes out is either all frames, or those before the damage and a reason that names the file.
"""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from films import write_film, write_sound

MEMORY_GB = 4  # address space of the process that reads the corpus, imports of torch and all
TIME_S = 240
_READ = """
import hashlib, json, resource, sys
from pathlib import Path
limit = int(float(sys.argv[3]) * 2**30)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.videos.decode import decode, inspect_video, keyframe_segments
result = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    found = {"frames": [], "error": "", "damage": "", "segments": 0}
    try:
        info = inspect_video(str(path))
        found["damage"], found["size"] = info.damage, [info.height, info.width]
        found["segments"] = len(keyframe_segments(info, 8))
        for frame in decode(str(path)):
            digest = hashlib.sha256(frame.pixels.tobytes()).hexdigest()[:16]
            found["frames"].append([frame.pts, round(frame.time_s, 4), digest])
    except SourceError as error:
        found["error"] = str(error)
    result[path.name] = found
    Path(sys.argv[2]).write_text(json.dumps(result))
# not getrusage: its peak is that of the process that started this one, if that was larger
lines = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20
Path(sys.argv[2]).write_text(json.dumps({**result, "peak_gb": peak}))
"""


def _cut(share: float) -> Callable[[bytes], bytes]:
    return lambda data: data[: int(len(data) * share)]


def _flipped(seed: int, per_million: int) -> Callable[[bytes], bytes]:
    def flip(data: bytes) -> bytes:
        rng, changed = random.Random(seed), bytearray(data)
        for _ in range(max(len(data) * per_million // 1_000_000, 1)):
            changed[rng.randrange(len(data) // 3, len(data))] ^= 1 << rng.randrange(8)
        return bytes(changed)

    return flip


def _zeroed(first: float, last: float) -> Callable[[bytes], bytes]:
    def zero(data: bytes) -> bytes:
        a, b = int(len(data) * first), int(len(data) * last)
        return data[:a] + bytes(b - a) + data[b:]

    return zero


def _without_atom(name: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(name, b"none")


def _huge_header(data: bytes) -> bytes:
    """Write 30000 x 30000 into the sample description and the track header."""
    changed = bytearray(data)
    entry = data.find(b"avc1") + 4
    changed[entry + 24 : entry + 28] = struct.pack(">HH", 30000, 30000)
    header = data.find(b"tkhd") + 4
    changed[header + 76 : header + 84] = struct.pack(">II", 30000 << 16, 30000 << 16)
    return bytes(changed)


def _huge_pictures(data: bytes) -> bytes:
    """Write 60000 x 60000 into every JPEG's start of frame."""
    changed = bytearray(data)
    at = data.find(b"\xff\xc0")
    while at >= 0:
        changed[at + 5 : at + 9] = struct.pack(">HH", 60000, 60000)
        at = data.find(b"\xff\xc0", at + 2)
    return bytes(changed)


def _swapped(data: bytes) -> bytes:
    a, b, c = len(data) // 2, len(data) // 2 + 300, len(data) // 2 + 600
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def make_good(folder: Path) -> dict[str, Path]:
    """Films that damage starts from."""
    film = {"n_frames": 40, "gop": 8}
    return {
        "mp4": write_film(folder / "good.mp4", **film),
        "fast": write_film(
            folder / "fast.mp4", mux_options={"movflags": "faststart"}, audio=True, **film
        ),
        "fragments": write_film(
            folder / "fragments.mp4",
            mux_options={"movflags": "frag_keyframe+empty_moov"},
            **film,
        ),
        "mkv": write_film(folder / "good.mkv", **film),
        "avi": write_film(folder / "good.avi", codec="mpeg4", **film),
        "webm": write_film(folder / "good.webm", codec="libvpx", **film),
        "ts": write_film(folder / "good.ts", **film),
    }


def make_damaged(good: dict[str, Path], folder: Path) -> dict[str, str]:
    """Write damaged files; returns file name -> the good file it was made from."""
    ways: dict[str, Callable[[bytes], bytes]] = {
        **{f"cut{int(100 * s)}": _cut(s) for s in (0.02, 0.3, 0.6, 0.9)},
        **{f"flip{seed}": _flipped(seed, 300) for seed in (1, 2)},
        "flips": _flipped(3, 5000),
        "hole": _zeroed(0.5, 0.6),
    }
    origin = {}
    for kind, path in good.items():
        for way, change in ways.items():
            name = f"{way}_{kind}{path.suffix}"
            (folder / name).write_bytes(change(path.read_bytes()))
            origin[name] = kind
    data = good["mp4"].read_bytes()
    for name, content in {
        "no_moov.mp4": _without_atom(b"moov")(data),
        "moov_only.mp4": good["fast"].read_bytes()[: good["fast"].read_bytes().find(b"mdat") - 4],
        "no_samples.mp4": _without_atom(b"stbl")(data),
        "huge_header.mp4": _huge_header(data),
        "huge_pictures.avi": _huge_pictures(
            write_film(good["mp4"].parent / "m.avi", codec="mjpeg", pix_fmt="yuvj420p").read_bytes()
        ),
        "swapped.mp4": _swapped(data),
        "zero_bytes.mp4": bytes(5000),
        "empty.mp4": b"",
        "text.mp4": b"this is no film\n" * 40,
        "json.mkv": b'{"frames": []}',
        "one_byte.avi": b"R",
    }.items():
        (folder / name).write_bytes(content)
    return origin


def make_odd(folder: Path) -> dict[str, int]:
    """Write odd but whole files; returns file name -> frames that must come out."""
    whole = {}

    def add(name: str, n_frames: int = 12, **options: object) -> None:
        write_film(folder / name, n_frames=n_frames, **options)  # type: ignore[arg-type]
        whole[name] = n_frames

    add("one_frame.mp4", 1)
    add("odd_63x47.mkv", size=(63, 47), codec="libx264", pix_fmt="yuv444p")
    add("odd_17x9.mkv", size=(17, 9), codec="ffv1", pix_fmt="bgr0")
    add("tiny_2x2.mkv", size=(2, 2), codec="ffv1", pix_fmt="bgr0")
    add("wide_2x400.mkv", size=(2, 400), codec="ffv1", pix_fmt="bgr0")
    for angle in (90, 180, 270):
        add(f"turned_{angle}.mp4", rotation=angle)
    add("variable.mkv", 6, times_ms=[0, 10, 500, 510, 2000, 2040])
    add("slow.mkv", 3, times_ms=[0, 60_000, 120_000])
    add("fast_240.mp4", fps=240)
    add("colour_444.mp4", pix_fmt="yuv444p")
    add("deep_10bit.mp4", pix_fmt="yuv420p10le")
    add("gray.mkv", codec="ffv1", pix_fmt="gray")
    add("hevc.mp4", codec="libx265")
    add("mjpeg.avi", codec="mjpeg", pix_fmt="yuvj420p")
    add("vp9.webm", codec="libvpx-vp9")
    add("bframes.mp4", options={"bf": "5", "x264-params": "b-adapt=0"})
    add("one_key.mp4", 40, gop=250)
    add("all_keys.mp4", gop=1)
    add("interlaced.mp4", options={"x264-params": "interlaced=1"})
    add("with_sound.mp4", audio=True)
    write_film(folder / "film_named.txt", n_frames=12, container="mp4")
    whole["film_named.txt"] = 12
    garbage = write_film(folder / "tail.mkv", n_frames=12)
    garbage.write_bytes(garbage.read_bytes() + bytes(random.Random(0).randbytes(999)))
    whole["tail.mkv"] = 12
    write_sound(folder / "sound.mp4")
    whole["sound.mp4"] = -1
    return whole


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Write all files, read them in one limited process, return what came out."""
    base = tmp_path_factory.mktemp("corpus")
    good_folder, folder = base / "good", base / "files"
    good_folder.mkdir()
    folder.mkdir()
    good = make_good(good_folder)
    origin = make_damaged(good, folder)
    whole = make_odd(folder)
    for path in good.values():
        (folder / f"whole_{path.name}").write_bytes(path.read_bytes())
        whole[f"whole_{path.name}"] = 40
    out = base / "found.json"
    done = subprocess.run(
        [sys.executable, "-c", _READ, str(folder), str(out), str(MEMORY_GB)],
        capture_output=True,
        text=True,
        timeout=TIME_S,
        check=False,
    )
    found = json.loads(out.read_text())
    assert done.returncode == 0, f"after {len(found)} files: {done.stderr[-2000:]}"
    names = {kind: f"whole_{path.name}" for kind, path in good.items()}
    return {"found": found, "origin": origin, "whole": whole, "names": names, "folder": folder}


def test_there_are_many(corpus: dict[str, object]) -> None:
    damaged = set(corpus["found"]) - {"peak_gb"}  # type: ignore[call-overload]
    assert len(damaged) >= 90
    assert corpus["found"]["peak_gb"] < 1.5  # type: ignore[index]


def test_odd_files_come_out_whole(corpus: dict[str, object]) -> None:
    found, whole = corpus["found"], corpus["whole"]
    wrong = {
        name: (len(found[name]["frames"]), n, found[name]["error"], found[name]["damage"])  # type: ignore[index]
        for name, n in whole.items()  # type: ignore[attr-defined]
        if n > 0
        and (len(found[name]["frames"]) != n or found[name]["error"] or found[name]["damage"])  # type: ignore[index]
    }
    assert wrong == {}
    assert "no video stream" in found["sound.mp4"]["error"]  # type: ignore[index]
    assert found["turned_90.mp4"]["size"] == [96, 64]  # type: ignore[index]


def test_damaged_files_give_frames_before_the_damage_or_a_reason(
    corpus: dict[str, object],
) -> None:
    found, origin, names = corpus["found"], corpus["origin"], corpus["names"]
    kept_some = 0
    for name in sorted(set(found) - set(corpus["whole"]) - {"peak_gb"}):  # type: ignore[call-overload]
        one = found[name]  # type: ignore[index]
        reason = one["error"] or one["damage"]
        assert not reason or name in reason, f"{name}: {reason!r} does not name the file"
        if not one["frames"]:
            assert reason, f"{name}: no frame and no reason"
            continue
        if name not in origin:  # type: ignore[operator]
            continue
        true = found[names[origin[name]]]["frames"]  # type: ignore[index]
        # transport streams and fragments promise no length: what is lost of them may leave a
        # shorter whole
        promised = not name.endswith((".ts", "_fragments.mp4"))
        # one lost frame of a damaged index is within what a header's length can tell
        if len(one["frames"]) < len(true) - 1 and promised:
            assert reason, f"{name}: {len(one['frames'])} of {len(true)} frames without a reason"
        if name.startswith("cut"):
            n = len(one["frames"])
            assert one["frames"][: n - 1] == true[: n - 1], f"{name}: frames differ"
            kept_some += n > 5
    assert kept_some >= 8


def test_causes_are_told(corpus: dict[str, object]) -> None:
    found = corpus["found"]
    for name, words in {
        "empty.mp4": "0 bytes",
        "text.mp4": "Invalid data",
        "huge_pictures.avi": "not one frame can be decoded",
        "no_moov.mp4": "cannot be opened",
    }.items():
        assert words in found[name]["error"], found[name]["error"]  # type: ignore[index]


def test_a_real_picture_is_a_film_of_one_frame(tmp_path: Path) -> None:
    """A JPEG under a film's name is decoded as what it is."""
    from diffpose.preprocessing.videos.decode import decode

    with av.open(str(tmp_path / "still.jpg"), "w", format="image2") as output:
        stream = output.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        image = np.full((48, 64, 3), 120, np.uint8)
        output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode(None))
    (frame,) = decode(str(tmp_path / "still.jpg"))
    assert frame.pixels.shape == (48, 64, 3)
    assert abs(int(frame.pixels.mean()) - 120) <= 2


def test_asking_for_the_frames_before_a_damage_raises_nothing(tmp_path: Path) -> None:
    """A clip that ends where the damage begins is a whole clip."""
    from diffpose.platform.base.errors import SourceError
    from diffpose.preprocessing.videos.decode import decode

    data = write_film(tmp_path / "good.mkv", n_frames=60).read_bytes()
    path = tmp_path / "bad.mkv"
    n_damaged = 0
    for seed in range(12):
        changed = bytearray(data)
        changed[random.Random(seed).randrange(len(data) // 3, len(data) * 9 // 10)] ^= 255
        path.write_bytes(changed)
        before: list[int] = []
        try:
            for frame in decode(str(path), pixels=False):
                before.append(frame.pts)  # noqa: PERF401 - those before the error are kept
        except SourceError:
            n_damaged += 1
        if before:
            again = decode(
                str(path), first_pts=before[0], stop_pts=before[-1] + 1, wanted=set(before)
            )
            assert [frame.pts for frame in again] == before
    assert n_damaged >= 4
