"""Files at URIs: atomic writes, listings, errors; local and in fsspec's memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from diffpose.platform.base import storage
from diffpose.platform.base.errors import SourceError


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "root")
        return
    memory = fsspec.filesystem("memory")
    yield "memory://test-storage/root"
    if memory.exists("/test-storage"):
        memory.rm("/test-storage", recursive=True)


def test_bytes_and_json_round_trip(root: str) -> None:
    uri = storage.join(root, "deep", "er", "file.json")
    assert not storage.exists(uri)
    storage.write_json(uri, {"a": [1, None, "ü"]})
    assert storage.exists(uri)
    assert storage.exists(storage.join(root, "deep"))
    assert storage.read_json(uri) == {"a": [1, None, "ü"]}
    storage.write_bytes(uri, b"\x00new")
    assert storage.read_bytes(uri) == b"\x00new"


def test_reading_a_missing_file(root: str) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(storage.join(root, "none"))


@pytest.mark.parametrize("old", [b"old content", None])
def test_a_crash_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bytes | None
) -> None:
    target = tmp_path / "file"
    if old is not None:
        storage.write_bytes(str(target), old)

    def crash(descriptor: int) -> None:
        raise OSError("disk on fire")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="disk on fire"):
        storage.write_bytes(str(target), b"new content")
    assert [p.name for p in tmp_path.iterdir()] == ([] if old is None else ["file"])
    if old is not None:
        assert target.read_bytes() == old


def test_content_is_on_disk_before_it_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    storage.write_bytes(str(target), b"old")
    seen: list[tuple[bytes, list[str], int]] = []

    def look(descriptor: int) -> None:
        names = storage.list_names(str(tmp_path))
        seen.append((target.read_bytes(), names, os.fstat(descriptor).st_size))

    monkeypatch.setattr(os, "fsync", look)
    storage.write_bytes(str(target), b"longer new")
    # While the new content is written, readers see the old file and no other name.
    assert seen == [(b"old", ["file"], len(b"longer new"))]
    assert target.read_bytes() == b"longer new"


def test_list_names(root: str) -> None:
    assert storage.list_names(root) == []
    for name in ("b.json", "a.json", "c.txt", ".a.json.123.partial", "sub.json/x.json"):
        storage.write_bytes(storage.join(root, name), b"1")
    assert storage.list_names(root) == ["a.json", "b.json", "c.txt"]
    assert storage.list_names(root, ".json") == ["a.json", "b.json"]
    assert storage.list_names(storage.join(root, "none"), ".json") == []


def test_listings_are_fresh(root: str) -> None:
    storage.write_bytes(storage.join(root, "a"), b"1")
    assert storage.list_names(root) == ["a"]
    storage.write_bytes(storage.join(root, "b"), b"1")
    assert storage.list_names(root) == ["a", "b"]


def test_find_files(root: str) -> None:
    for name in ("b.bvh", "a/deep/c.BVH", "a/d.bvh", "readme.txt", "a/.e.bvh.1.partial"):
        storage.write_bytes(storage.join(root, name), b"1")
    expected = ["a/d.bvh", "a/deep/c.BVH", "b.bvh"]
    assert storage.find_files(root, ".bvh") == expected
    assert storage.find_files(root + "/", ".bvh") == expected
    for name in expected:
        assert storage.read_bytes(storage.join(root, name)) == b"1"


def test_find_files_without_folder(root: str) -> None:
    missing = storage.join(root, "none")
    with pytest.raises(SourceError) as caught:
        storage.find_files(missing, ".bvh")
    assert f"There is no folder {missing!r}" in str(caught.value)
    assert "Give an existing folder" in str(caught.value)


def test_find_files_in_a_file(root: str) -> None:
    file = storage.join(root, "a.bvh")
    storage.write_bytes(file, b"1")
    with pytest.raises(SourceError) as caught:
        storage.find_files(file, ".bvh")
    assert f"{file!r} is a file; give the folder that holds the *.bvh files" in str(caught.value)


def test_find_files_without_match(root: str) -> None:
    for name in ("a.txt", "b/c.fbx"):
        storage.write_bytes(storage.join(root, name), b"1")
    with pytest.raises(SourceError) as caught:
        storage.find_files(root, ".bvh")
    assert f"{root!r} holds no *.bvh file (2 other files were found)" in str(caught.value)


@pytest.mark.parametrize("call", [storage.exists, storage.read_bytes, storage.list_names])
def test_unknown_protocol(call) -> None:
    with pytest.raises(SourceError) as caught:
        call("nope://bucket/key")
    assert "'nope://bucket/key'" in str(caught.value)
    assert "nope" in str(caught.value).split("nope://bucket/key")[1]


def test_join() -> None:
    assert storage.join("a/b", "c", "d.json") == "a/b/c/d.json"
    assert storage.join("s3://bucket/", "c") == "s3://bucket/c"
    assert storage.join("/x//", "y") == "/x/y"


def test_shortest_tails() -> None:
    assert storage.shortest_tails(["/runs/a", "/runs/b"]) == ["a", "b"]
    assert storage.shortest_tails(["/x/run/1", "/y/run/1", "/z/2"]) == [
        "x/run/1",
        "y/run/1",
        "/z/2",
    ]
    assert storage.shortest_tails(["a", "/x/a"]) == ["a", "x/a"]
    with pytest.raises(ValueError, match="twice"):
        storage.shortest_tails(["/a", "/a"])


def test_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("runs/a") == str(tmp_path / "runs" / "a")
    assert storage.absolute("/x/y") == "/x/y"
    assert storage.absolute((tmp_path / "z").as_uri()) == str(tmp_path / "z")
    assert storage.absolute("memory://x/y") == "memory://x/y"


def test_is_local() -> None:
    assert storage.is_local("a/b")
    assert storage.is_local("file:///a/b")
    assert not storage.is_local("memory://a/b")


def test_folders_behind_symbolic_links_are_looked_into_once(tmp_path: Path) -> None:
    inside, other = tmp_path / "library", tmp_path / "elsewhere" / "takes"
    inside.mkdir()
    other.mkdir(parents=True)
    (inside / "a.bvh").write_text("x")
    (other / "b.bvh").write_text("x")
    (inside / "linked").symlink_to(other)
    (other / "back").symlink_to(inside)  # a circle
    (inside / "c.bvh").symlink_to(other / "b.bvh")
    found = storage.find_files(str(inside), ".bvh")
    assert found == ["a.bvh", "c.bvh", "linked/b.bvh"]
