"""Fetching networks that others give away: by pip, by npm, by URL, or out of a file at hand.

Everything is fetched into a folder of its own, checked there, and put in its place by a rename: an
interrupted download leaves nothing half-written behind.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import write_bytes

_SECONDS = 30  # without an answer of a server
_MOST_BYTES = 512 * 2**20  # of a file in an archive: what is larger is none of those wanted


@dataclass(frozen=True)
class Package:
    """A file of a package registry.

    Attributes:
        name: of the package and version, as its client takes it.
        sha256: of the file.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class Fetched:
    """A network that was put in its place."""

    path: Path
    size: int
    sha256: str

    def told(self) -> str:
        """Return one line about it."""
        return f"{self.path}  {self.size / 1e6:.1f} MB  sha256 {self.sha256}"


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def by_pip(package: Package, folder: Path) -> Path:
    """Download a wheel of CPython 3.11 on Linux, whatever runs here: it is opened, not installed.

    Raises:
        SourceError: pip failed, with its last line; or the file is another one.
    """
    return _by_client(package, folder, [
        sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check",
        "--dest", str(folder), "--only-binary", ":all:", "--implementation", "cp",
        "--python-version", "3.11", "--abi", "cp311", "--platform", "manylinux_2_28_x86_64",
        "--platform", "manylinux2014_x86_64", package.name,
    ], "pip", "*.whl")  # fmt: skip


def npm_is_there() -> bool:
    """Tell whether npm is installed."""
    return shutil.which("npm") is not None


def by_npm(package: Package, folder: Path) -> Path:
    """Download a package of npm.

    Raises:
        SourceError: npm failed, with its last line; or the file is another one.
    """
    command = [shutil.which("npm") or "npm", "pack", "--silent", package.name]
    return _by_client(package, folder, command, "npm", "*.tgz")


def _by_client(package: Package, folder: Path, command: list[str], client: str, made: str) -> Path:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise SourceError(f"{client} cannot be started: {error}. {_at_hand()}") from None
    found = sorted(folder.glob(made))
    if done.returncode or not found:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()] or [""]
        told = [line for line in said if "error" in line.lower()]
        last = (told or said)[-1]
        raise SourceError(f"{client} could not fetch {package.name}: {last.strip()} {_at_hand()}")
    check_sha256(found[0], package.sha256, f"the file of {package.name}")
    return found[0]


def _at_hand() -> str:
    return "Where the registry cannot be reached, give a file that was brought here: file=PATH."


def by_url(url: str, folder: Path) -> Path:
    """Download a file.

    Raises:
        SourceError: the server cannot be reached or refuses.
    """
    path = folder / url.rsplit("/", 1)[-1]
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer, path.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (urllib.error.URLError, OSError) as error:
        raise SourceError(
            f"{url} cannot be fetched ({error}). Fetch it elsewhere and give it: file=PATH."
        ) from None
    return path


def check_sha256(path: Path, wanted: str, what: str) -> None:
    """Refuse a file that is not the one that is meant.

    Raises:
        SourceError: its sha256 is another.
    """
    found = sha256_of(path)
    if found != wanted:
        raise SourceError(
            f"{path}: {what} has the sha256 {wanted}, this one has {found}. It was changed or cut "
            "short, and is not used."
        )


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of the files in a wheel, zip or tgz; a file alone yields itself.

    Raises:
        SourceError: there is no such file, or it cannot be read.
    """
    if not path.is_file():
        raise SourceError(f"There is no file {str(path)!r}: file= is a wheel, zip, tgz or network.")
    try:
        # a network with its description appended passes for a zip as well
        if path.suffix in (".tflite", ".onnx"):
            yield path.name, path.read_bytes()
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for one in archive.infolist():
                    if not one.is_dir() and one.file_size <= _MOST_BYTES:
                        yield one.filename, archive.read(one)
        elif tarfile.is_tarfile(path):
            with tarfile.open(path) as archive_of_npm:
                for entry in archive_of_npm:
                    if entry.isfile() and entry.size <= _MOST_BYTES:
                        file = archive_of_npm.extractfile(entry)
                        yield entry.name, file.read() if file else b""
        else:
            yield path.name, path.read_bytes()
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise SourceError(f"{path} cannot be read: {error}. Fetch it again.") from None


def take_networks(path: Path, known: Mapping[str, str], folder: Path) -> list[Fetched]:
    """Put the known .tflite networks of an archive, or one alone, into a folder.

    Args:
        path: wheel, zip, tgz or .tflite file.
        known: name without suffix -> sha256.
        folder: where they go.

    Raises:
        SourceError: none of them is in it, or one is another file than the known one: then
            nothing is written.
    """
    found: dict[str, bytes] = {}
    for name, content in members(path):
        stem, _, suffix = name.rsplit("/", 1)[-1].rpartition(".")
        if suffix != "tflite" or stem not in known:
            continue
        digest = hashlib.sha256(content).hexdigest()
        if digest != known[stem]:
            raise SourceError(
                f"{path}: {name} has the sha256 {digest}, the known one has {known[stem]}. It is "
                "of another release, was changed or cut short, and is not used."
            )
        found[stem] = content
    if not found:
        raise SourceError(f"{path} holds none of {', '.join(f'{name}.tflite' for name in known)}.")
    fetched = []
    for stem, content in sorted(found.items()):
        target = folder / f"{stem}.tflite"
        write_bytes(str(target), content)
        fetched.append(Fetched(target, len(content), known[stem]))
    return fetched
