"""Finding and opening video files anywhere: local paths, s3://, http:// and other fsspec URIs."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import av

from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import files_below, filesystem, is_local

# What PyAV raises on files that are not what they say; IndexError: streams that appear midway.
BROKEN = (av.FFmpegError, OSError, EOFError, ValueError, IndexError, MemoryError)
SUFFIXES = (
    ".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts",
    ".wmv", ".asf", ".3gp", ".3g2", ".flv", ".ogv",
)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What is refused, before any memory is given to it.

    Attributes:
        max_pixels: of a frame.
        max_packets: of a stream; at 60 frames per second ten million are two days.
    """

    max_pixels: int = 36_000_000
    max_packets: int = 10_000_000


def named_videos(uri: str | list[str]) -> dict[str, str]:
    """Find video files.

    Args:
        uri: a folder (searched with its subfolders for the usual suffixes), a pattern with ``*``,
            a file of any suffix, or a list of these.

    Returns:
        short name -> URI, sorted; the name is the path below the folder, the pattern's fixed part
        or the file's folder (of several places the deepest folder that all share). Files that come
        later do not change the names of those that were there.

    Raises:
        SourceError: one of the places holds no video.
    """
    found: dict[str, None] = {}
    folders = []
    for one in [uri] if isinstance(uri, str) else uri:
        folder, videos = _videos_at(one)
        folders.append(folder)
        found.update(dict.fromkeys(videos))
    uris = sorted(found)
    if not uris:
        raise SourceError("The list of videos is empty; give at least one file or folder.")
    parts = [folder.split("/") for folder in folders]
    depth = 0
    while all(len(p) > depth and p[depth] == parts[0][depth] for p in parts):
        depth += 1
    shared = "/".join(parts[0][:depth])
    return {one[len(shared) :].lstrip("/"): one for one in uris}


def _videos_at(uri: str) -> tuple[str, list[str]]:
    """Return the folder that names count from, and the videos."""
    fs, path = filesystem(uri)
    fs.invalidate_cache()
    try:
        if "*" in uri:
            names = [name for name in fs.glob(path) if not fs.isdir(name)]
            what = "pattern"
        elif fs.isdir(path):
            names = [name for name in files_below(uri) if name.lower().endswith(SUFFIXES)]
            what = "folder"
        elif fs.exists(path):
            file = str(path) if is_local(uri) else uri
            return file.rpartition("/")[0], [file]
        else:
            raise SourceError(f"There is no file or folder {uri!r}.")
    except SourceError:
        raise
    except Exception as error:  # each remote file system has errors of its own
        raise SourceError(f"{uri!r} cannot be listed: {error}") from None
    if not names:
        raise SourceError(
            f"The {what} {uri!r} holds no video (looked for {', '.join(SUFFIXES)}). A file with "
            "another suffix can be named itself."
        )
    whole = [name if is_local(uri) else str(fs.unstrip_protocol(name)) for name in names]
    base = str(path) if is_local(uri) else str(fs.unstrip_protocol(path))
    return base.partition("*")[0].rpartition("/")[0] if "*" in uri else base.rstrip("/"), whole


@contextlib.contextmanager
def opened(uri: str, limits: Limits) -> Iterator[tuple[Any, Any]]:
    """Open a video for reading by one thread; yields the PyAV container and its video stream.

    Raises:
        SourceError: it cannot be opened, holds no video, or its frames are too large.
    """
    av.logging.set_level(av.logging.PANIC)  # causes come as exceptions
    with contextlib.ExitStack() as stack:
        try:
            if is_local(uri):
                if os.path.getsize(uri) == 0:  # noqa: PTH202 - a URI that is a path
                    raise SourceError(f"{uri} is empty (0 bytes).")
                container = stack.enter_context(av.open(uri))
            else:
                container = stack.enter_context(av.open(_remote(uri, stack)))
        except SourceError:
            raise
        except BROKEN as error:
            raise SourceError(f"{uri} cannot be opened as a video: {cause(error)}.") from None
        stream = _video_stream(uri, container)
        context = stream.codec_context
        if context.width * context.height > limits.max_pixels:
            raise SourceError(
                f"{uri}: its header says {context.width} x {context.height} px, more than the "
                f"{limits.max_pixels / 1e6:g} megapixels allowed (source.max_megapixels)."
            )
        context.thread_type = "NONE"
        context.thread_count = 1
        # explode: what is broken must not come out as a frame that looks like one
        context.options = {"max_pixels": str(limits.max_pixels), "err_detect": "explode"}
        yield container, stream


class _RemoteFile:
    """A remote file whose own errors come out as OSError, while PyAV reads it, too."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, n_bytes: int) -> bytes:
        return bytes(self._guarded(self._file.read, n_bytes))

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._guarded(self._file.seek, offset, whence))

    def tell(self) -> int:
        return int(self._guarded(self._file.tell))

    @staticmethod
    def _guarded(call: Callable[..., Any], *arguments: int) -> Any:
        try:
            return call(*arguments)
        except Exception as error:
            raise OSError(cause(error)) from None


def _remote(uri: str, stack: contextlib.ExitStack) -> Any:
    """Open a remote file; what its server does not give in parts is first copied to this machine.

    Raises:
        SourceError: it cannot be read.
    """
    fs, path = filesystem(uri)
    try:
        file = stack.enter_context(fs.open(path, "rb"))
        if _gives_parts(file):
            return _RemoteFile(file)
        copy = stack.enter_context(tempfile.NamedTemporaryFile())  # noqa: SIM115 - it is one
        fs.get_file(path, copy.name)
        return copy.name
    except Exception as error:  # each remote file system has errors of its own
        raise SourceError(f"{uri} cannot be read: {cause(error)}.") from None


def _gives_parts(file: Any) -> bool:
    try:
        file.seek(max(int(file.seek(0, 2)) - 1, 0))
        file.read(1)
        file.seek(0)
    except Exception:
        return False
    return True


def cause(error: BaseException) -> str:
    """Return the reason that FFmpeg or the system gives, without numbers and file names."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).rstrip(".")


def _video_stream(uri: str, container: Any) -> Any:
    for stream in container.streams.video:
        if "attached_pic" not in str(stream.disposition).lower():
            if stream.codec_context is None or not hasattr(stream.codec_context, "width"):
                raise SourceError(f"{uri}: there is no decoder for its video stream.")
            return stream
    kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
    raise SourceError(f"{uri} has no video stream (it holds: {kinds}).")
