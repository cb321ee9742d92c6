"""Files at any fsspec URI: join, read, atomic write.

A bare path is a local file; ``s3://bucket/key`` and friends go through fsspec with the credentials
and endpoint of the environment (for S3: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on).
``shipped://name`` is a run that comes with the package, wherever that is installed on a machine.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from diffpose.platform.base.errors import SourceError

SHIPPED = "shipped://"
_SHIPPED_FOLDER = Path(__file__).resolve().parents[1] / "runs" / "shipped"


def filesystem(uri: str) -> tuple[Any, str]:
    """Return the fsspec filesystem of a URI and the path within it.

    Raises:
        SourceError: the URI's protocol is unknown or its driver is not installed.
    """
    if uri.startswith(SHIPPED):
        return LocalFileSystem(), str(_SHIPPED_FOLDER / uri.removeprefix(SHIPPED))
    try:
        fs, path = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise SourceError(f"Cannot open the location {uri!r}: {error}") from None
    return fs, path


def is_local(uri: str) -> bool:
    """Tell whether a URI names a file of this machine."""
    return isinstance(filesystem(uri)[0], LocalFileSystem)


def absolute(uri: str) -> str:
    """Return a URI that means the same from any working directory (Ray workers have their own)."""
    if uri.startswith(SHIPPED):  # each worker has a package of its own
        return uri
    fs, path = filesystem(uri)
    return str(path) if isinstance(fs, LocalFileSystem) else uri


def join(uri: str, *parts: str) -> str:
    """Append path parts to a URI."""
    return "/".join([uri.rstrip("/"), *parts])


def exists(uri: str) -> bool:
    """Tell whether a file or folder is there (listings are never cached)."""
    fs, path = filesystem(uri)
    fs.invalidate_cache()
    return bool(fs.exists(path))


def read_bytes(uri: str) -> bytes:
    """Read a whole file.

    Raises:
        FileNotFoundError: there is no such file.
    """
    fs, path = filesystem(uri)
    return bytes(fs.cat_file(path))


def read_json(uri: str) -> Any:
    """Read a JSON file."""
    return json.loads(read_bytes(uri))


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part.

    Local files go through a temporary name, fsync and rename; object stores put whole objects.
    """
    fs, path = filesystem(uri)
    if not isinstance(fs, LocalFileSystem):
        fs.pipe_file(path, data)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def write_json(uri: str, value: Any) -> None:
    """Write a JSON file atomically."""
    write_bytes(uri, (json.dumps(value, indent=1) + "\n").encode())


def remove_folder(uri: str) -> None:
    """Remove a folder with all that is in it, if it is there."""
    fs, path = filesystem(uri)
    if exists(uri):
        fs.rm(path, recursive=True)


def list_names(uri: str, suffix: str = "") -> list[str]:
    """Return the sorted names of the files in a folder; empty when there is no such folder.

    Subfolders and half-written files are left out.
    """
    fs, path = filesystem(uri)
    fs.invalidate_cache()
    try:
        entries = fs.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    files = [entry for entry in entries if entry["type"] != "directory"]
    names = [str(entry["name"]).rsplit("/", 1)[-1] for entry in files]
    return sorted(n for n in names if n.endswith(suffix) and not n.endswith(".partial"))


def files_below(uri: str) -> list[str]:
    """Return the paths of all files below a folder, sorted, as its file system names them.

    Folders behind symbolic links are looked into as well, each once: fsspec passes them over.
    """
    fs, path = filesystem(uri)
    fs.invalidate_cache()
    if not is_local(uri):
        return sorted(str(name) for name in fs.find(path))
    found: list[str] = []
    seen: set[str] = set()
    for folder, inside, files in os.walk(path, followlinks=True):
        there = os.path.realpath(folder)  # noqa: PTH - os.walk's own names
        if there in seen:  # a link to a folder above would go on for ever
            inside.clear()
            continue
        seen.add(there)
        found += [f"{folder.rstrip('/')}/{name}" for name in files]
    return sorted(found)


def find_files(uri: str, suffix: str) -> list[str]:
    """Return the sorted relative names of all files below a folder that end in ``suffix``.

    Raises:
        SourceError: there is no such folder, or it holds no such file.
    """
    fs, path = filesystem(uri)
    fs.invalidate_cache()
    if not fs.exists(path):
        raise SourceError(f"There is no folder {uri!r}. Give an existing folder, local or by URI.")
    if fs.isfile(path):
        raise SourceError(f"{uri!r} is a file; give the folder that holds the *{suffix} files.")
    root = str(path).rstrip("/") + "/"
    names = files_below(uri)
    found = sorted(n.removeprefix(root) for n in names if n.lower().endswith(suffix))
    if not found:
        raise SourceError(
            f"The folder {uri!r} holds no *{suffix} file ({len(names)} other files were found)."
        )
    return found


def shortest_tails(paths: Sequence[str]) -> list[str]:
    """Return the fewest last parts of each path that tell all of them apart, as many of each.

    Raises:
        ValueError: two paths are the same.
    """
    if len(set(paths)) < len(paths):
        raise ValueError(f"the same path twice: {', '.join(paths)}")
    split = [path.split("/") for path in paths]
    for n in range(1, max(map(len, split)) + 1):
        tails = ["/".join(parts[-n:]) for parts in split]
        if len(set(tails)) == len(tails):
            return tails
    raise AssertionError("different paths differ when they are whole")
