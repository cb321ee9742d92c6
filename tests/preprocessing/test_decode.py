"""Decoding: frames, times, rotation, parts, and places to read from."""

from __future__ import annotations

import contextlib
import http.server
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import boto3
import numpy as np
import pytest
from films import picture, write_film
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.videos.decode import (
    choose_frames,
    decode,
    inspect_video,
    keyframe_segments,
)
from diffpose.preprocessing.videos.opening import Limits, named_videos


def bare(path: Path) -> list[tuple[int, np.ndarray]]:
    with av.open(str(path)) as container:
        return [(f.pts, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mov", "libx264", "yuv444p"),
        ("a.mkv", "libx265", "yuv420p10le"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.ts", "mpeg2video", "yuv420p"),
        ("a.mkv", "mjpeg", "yuvj420p"),
    ],
)
def test_frames_are_those_of_a_bare_loop(
    tmp_path: Path, name: str, codec: str, pix_fmt: str
) -> None:
    path = write_film(tmp_path / name, codec=codec, pix_fmt=pix_fmt, audio=name == "a.mp4")
    frames = list(decode(str(path)))
    expected = bare(path)
    assert [f.pts for f in frames] == [pts for pts, _ in expected]
    for frame, (_, pixels) in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(frame.pixels, pixels)
    assert len(frames) == 30
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(30) / 25, atol=2e-3)
    info = inspect_video(str(path))
    assert (info.width, info.height, info.damage) == (96, 64, "")
    assert info.average_fps == pytest.approx(25, rel=0.02)


@pytest.mark.parametrize("bframes", ["0", "3"])
def test_parts_join_to_the_whole(tmp_path: Path, bframes: str) -> None:
    options = {"bf": bframes, "x264-params": "open-gop=1"}
    path = write_film(tmp_path / "a.mp4", n_frames=95, gop=10, options=options)
    whole = list(decode(str(path)))
    info = inspect_video(str(path))
    parts = keyframe_segments(info, 20)
    assert len(parts) >= 3
    assert parts[0][0] is None
    assert parts[-1][1] is None
    joined = [f for a, b in parts for f in decode(str(path), first_pts=a, stop_pts=b)]
    assert [f.pts for f in joined] == [f.pts for f in whole]
    for one, other in zip(joined, whole, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
    chosen = {whole[i].pts for i in (17, 18, 44)}
    some = list(decode(str(path), first_pts=min(chosen), stop_pts=max(chosen) + 1, wanted=chosen))
    assert [f.pts for f in some] == sorted(chosen)
    np.testing.assert_array_equal(some[2].pixels, whole[44].pixels)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotated_films_come_upright(tmp_path: Path, rotation: int) -> None:
    plain = write_film(tmp_path / "plain.mp4")
    turned = write_film(tmp_path / "turned.mp4", rotation=rotation)
    info = inspect_video(str(turned))
    expected = next(decode(str(plain))).pixels
    found = next(decode(str(turned))).pixels
    # the flag says: turn the picture counter-clockwise by so much before it is shown
    np.testing.assert_array_equal(found, np.rot90(expected, info.rotation_deg // 90))
    assert info.rotation_deg in (rotation, 360 - rotation)
    assert (info.height, info.width) == found.shape[:2]
    assert (info.width, info.height) == ((64, 96) if rotation % 180 else (96, 64))


def test_variable_rates_keep_their_times(tmp_path: Path) -> None:
    times = [0, 40, 80, 400, 420, 900, 1000, 1033]
    path = write_film(tmp_path / "a.mkv", n_frames=8, times_ms=times)
    found = [f.time_s for f in decode(str(path))]
    np.testing.assert_allclose(found, np.array(times) / 1000, atol=2e-3)


@given(
    gaps=st.lists(st.floats(0.001, 0.5), min_size=1, max_size=60),
    fps=st.floats(0.5, 120),
)
@settings(max_examples=60, deadline=None)
def test_thinning_by_time(gaps: list[float], fps: float) -> None:
    times = 3.0 + np.cumsum([0.0, *gaps])
    chosen = choose_frames(times, fps)
    assert chosen[0] == 0
    assert (np.diff(chosen) > 0).all()
    # one frame per interval of 1/fps at most, and every interval that has a frame gives one
    slots = np.floor((times - times[0] + 5e-4) * fps)
    assert len(chosen) == len(np.unique(slots))
    assert len(np.unique(slots[chosen])) == len(chosen)
    np.testing.assert_array_equal(choose_frames(times, None), np.arange(len(times)))


def test_even_rates_are_thinned_evenly() -> None:
    times = np.arange(300) / 30
    assert choose_frames(times, 10).tolist() == list(range(0, 300, 3))
    rounded = np.round(np.arange(300) / 29.97 * 90000) / 90000
    assert np.diff(choose_frames(rounded, 9.99)).tolist() == [3] * 99


def test_names_are_short_and_unique(tmp_path: Path) -> None:
    for name in ("a/x.mp4", "a/y.MKV", "b/x.mp4", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"-")
    assert list(named_videos(str(tmp_path))) == ["a/x.mp4", "a/y.MKV", "b/x.mp4"]
    assert list(named_videos(f"{tmp_path}/*/x.mp4")) == ["a/x.mp4", "b/x.mp4"]
    assert list(named_videos([f"{tmp_path}/a", f"{tmp_path}/a/x.mp4"])) == ["x.mp4", "y.MKV"]
    # a film that comes later, further up, does not rename those that were there
    below = named_videos(f"{tmp_path}/a")
    (tmp_path / "a" / "deep").mkdir()
    (tmp_path / "a" / "deep" / "z.mp4").write_bytes(b"")
    (tmp_path / "a" / "x.mp4").unlink()
    (tmp_path / "a" / "y.MKV").unlink()
    assert list(named_videos(f"{tmp_path}/a")) == ["deep/z.mp4"]
    (tmp_path / "a" / "x.mp4").write_bytes(b"")
    assert named_videos(f"{tmp_path}/a")["x.mp4"] == below["x.mp4"]
    assert "deep/z.mp4" in named_videos(f"{tmp_path}/a")
    assert named_videos(f"{tmp_path}/b/notes.txt") == {"notes.txt": f"{tmp_path}/b/notes.txt"}
    for wrong in (f"{tmp_path}/none", f"{tmp_path}/*.webm", []):
        with pytest.raises(SourceError):
            named_videos(wrong)


def test_large_frames_are_refused_before_they_are_made(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", n_frames=2, size=(480, 640))
    with pytest.raises(SourceError, match=r"640 x 480 px, more than the 0.1 megapixels"):
        inspect_video(str(path), Limits(max_pixels=100_000))


class _Ranges(http.server.SimpleHTTPRequestHandler):
    """A server that answers ranges, as real ones do."""

    def do_GET(self) -> None:
        file = Path(self.directory) / self.path.lstrip("/")
        if not file.is_file():
            self.send_error(404)
            return
        data = file.read_bytes()
        asked = self.headers.get("Range")
        first, last = 0, len(data) - 1
        if asked:
            a, _, b = asked.removeprefix("bytes=").partition("-")
            first, last = int(a), min(int(b or last), last)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        self.wfile.write(data[first : last + 1])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def http_folder(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *a: _Ranges(*a, directory=str(tmp_path))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_films_over_http(http_folder: tuple[Path, str]) -> None:
    folder, url = http_folder
    path = write_film(folder / "a.mp4", n_frames=40)
    (name, uri) = next(iter(named_videos(f"{url}/a.mp4").items()))
    assert name == "a.mp4"
    info = inspect_video(uri)
    found = list(decode(uri, first_pts=info.keyframe_pts[2]))
    expected = bare(path)[20:]
    assert [f.pts for f in found] == [pts for pts, _ in expected]
    np.testing.assert_array_equal(found[3].pixels, expected[3][1])
    with pytest.raises(SourceError, match=r"none\.mp4"):
        list(decode(f"{url}/none.mp4"))


def test_films_on_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for key, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(key, value)
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="films")
        path = write_film(tmp_path / "a.mkv", n_frames=40)
        client.upload_file(str(path), "films", "some/a.mkv")
        names = named_videos("s3://films/some")
        assert list(names) == ["a.mkv"]
        found = list(decode(names["a.mkv"]))
        assert len(found) == 40
        np.testing.assert_array_equal(found[39].pixels, bare(path)[39][1])
    finally:
        server.stop()


def test_the_moving_block_is_where_it_was_drawn(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mkv", codec="ffv1", pix_fmt="bgr0")
    for i, frame in enumerate(decode(str(path))):
        np.testing.assert_array_equal(frame.pixels, picture(i, 64, 96))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"bf": "3", "x264-params": "open-gop=1"}),
        ("a.ts", "libx264", {"bf": "3"}),
        ("a.avi", "mpeg4", {"bf": "2"}),
        ("a.avi", "libx264", {"bf": "3"}),
        ("a.mpg", "mpeg2video", {"bf": "2"}),
        ("a.mkv", "libx264", {"bf": "3"}),
    ],
)
def test_every_frame_can_be_reached(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = write_film(tmp_path / name, n_frames=60, gop=12, codec=codec, options=options)
    whole = list(decode(str(path)))
    assert len(whole) == 60
    for i in range(57):
        first, stop = whole[i].pts, whole[i + 3].pts
        found = list(decode(str(path), first_pts=first, stop_pts=stop))
        assert [f.pts for f in found] == [f.pts for f in whole[i : i + 3]], i
        for one, other in zip(found, whole[i : i + 3], strict=True):
            np.testing.assert_array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize(("name", "codec"), [("a.ts", "libx264"), ("a.mpg", "mpeg2video")])
def test_parts_of_streams_without_an_index_join_to_the_whole(
    tmp_path: Path, name: str, codec: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (7, 96, 128, 3), dtype=np.uint8)
    path = write_film(
        tmp_path / name,
        n_frames=300,
        size=(96, 128),
        codec=codec,
        gop=25,
        options={"bf": "2"},
        frame=lambda i, rows, columns: noise[i % 7],
    )
    parts = keyframe_segments(inspect_video(str(path)), 75)
    assert len(parts) >= 3
    joined = [
        frame.pts
        for first, stop in parts
        for frame in decode(str(path), first_pts=first, stop_pts=stop, pixels=False)
    ]
    assert joined == [frame.pts for frame in decode(str(path), pixels=False)]
    assert len(joined) == 300


def test_what_an_edit_list_hides_is_no_damage(tmp_path: Path) -> None:
    source = write_film(tmp_path / "source.mp4", n_frames=50, gop=25, options={"bf": "2"})
    trimmed = tmp_path / "trimmed.mp4"
    with av.open(str(source)) as given, av.open(str(trimmed), "w") as output:
        stream = given.streams.video[0]
        target = output.add_stream_from_template(stream)
        shift = round(0.4 / stream.time_base)
        for packet in given.demux(stream):
            if packet.size:
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = target
                output.mux(packet)
    assert len(list(decode(str(trimmed)))) == len(bare(trimmed)) == 40


def test_phones_display_matrices(tmp_path: Path) -> None:
    plain = write_film(tmp_path / "plain.mp4")
    data = plain.read_bytes()
    at = data.find(b"tkhd") + 44
    expected = next(decode(str(plain))).pixels
    # rows of the matrix say where x and y go: here x becomes y, and y becomes -x
    for name, matrix, turns in (
        ("portrait.mp4", (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30), -1),
        ("nothing.mp4", (0,) * 9, 0),
    ):
        path = tmp_path / name
        path.write_bytes(data[:at] + struct.pack(">9i", *matrix) + data[at + 36 :])
        found = next(decode(str(path))).pixels
        np.testing.assert_array_equal(found, np.rot90(expected, turns))


@pytest.mark.parametrize("status", [403, 500, 200])
def test_servers_that_refuse_or_know_no_ranges(tmp_path: Path, status: int) -> None:
    path = write_film(tmp_path / "a.mp4", n_frames=12)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            if status == 200:
                with contextlib.suppress(OSError):  # clients may hang up early
                    self.wfile.write(path.read_bytes())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        uri = f"http://127.0.0.1:{server.server_port}/a.mp4"
        if status == 200:
            assert len(list(decode(uri))) == 12
            return
        for look in (named_videos, inspect_video):
            with pytest.raises(SourceError, match=r"a\.mp4"):
                look(uri)
    finally:
        server.shutdown()
        server.server_close()


def test_matroska_that_does_not_begin_at_0_is_whole(tmp_path: Path) -> None:
    times = [5000 + 40 * i for i in range(50)]
    path = write_film(tmp_path / "late.mkv", n_frames=50, times_ms=times)
    info = inspect_video(str(path))
    assert info.damage == ""
    assert len(list(decode(str(path)))) == 50
