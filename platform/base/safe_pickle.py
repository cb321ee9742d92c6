"""Reading pickled files of this field without running what they might carry.

The usual ``.npz`` files of Human3.6M and MPI-INF-3DHP hold one pickled dictionary, and MotionBERT's
file is a pickle whole. Python's unpickler calls whatever a file names; this one makes numbers,
strings, lists, tuples, dictionaries and numpy arrays, and refuses everything else by name.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import read_bytes


class _Refused(pickle.UnpicklingError):
    """A file names something that is no plain data."""


def read_npz(uri: str) -> dict[str, Any]:
    """Read an npz file, objects in it included.

    Returns:
        name -> array, or the object where the file has a 0-dimensional array of one.

    Raises:
        SourceError: there is no such file, it is no npz file, or it holds more than plain data.
    """
    return npz_content(uri, _read(uri))


def npz_content(uri: str, data: bytes) -> dict[str, Any]:
    """Do what `read_npz` does with bytes that were read already; uri is for messages."""
    values: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.namelist():
                if not entry.endswith(".npy"):
                    raise SourceError(f"{uri!r} holds {entry!r}, which is no array; it is no npz "
                                      "file of numpy.savez.")  # fmt: skip
                values[entry.removesuffix(".npy")] = _array(archive.read(entry))
    except _Refused as error:
        raise SourceError(f"{uri!r} is refused: {error}") from None
    except (zipfile.BadZipFile, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise SourceError(f"{uri!r} cannot be read as an npz file: {error}") from None
    return values


def read_pickle(uri: str) -> Any:
    """Read a pickle of plain data.

    Raises:
        SourceError: there is no such file, it is no pickle, or it holds more than plain data.
    """
    try:
        return _load(io.BytesIO(_read(uri)))
    except _Refused as error:
        raise SourceError(f"{uri!r} is refused: {error}") from None
    except (pickle.UnpicklingError, ValueError, EOFError, IndexError, KeyError) as error:
        raise SourceError(f"{uri!r} cannot be read as a pickle: {error!r}") from None


def _read(uri: str) -> bytes:
    try:
        return read_bytes(uri)
    except (FileNotFoundError, IsADirectoryError):
        raise SourceError(f"There is no file {uri!r}.") from None


def _array(data: bytes) -> Any:
    """Read one member of an npz file."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if header is None:
        raise ValueError(f"its array format {version} is unknown")
    shape, fortran, dtype = header(stream)
    if not dtype.hasobject:
        stream.seek(0)
        return np.lib.format.read_array(stream, allow_pickle=False)
    if dtype != np.dtype(object):
        raise _Refused(f"it holds an array of {dtype}, objects within records")
    values = _load(stream)
    if not isinstance(values, np.ndarray) or values.shape != shape or fortran:
        raise ValueError("its header and its content differ")
    return values.item() if shape == () else values


def _load(stream: io.BytesIO) -> Any:
    return _Plain(stream, encoding="latin1").load()


class _Plain(pickle.Unpickler):
    """Makes plain data only."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a file may name; raise for anything else."""
        found = _ADMITTED.get((module.replace("numpy.core", "numpy._core"), name))
        if found is None:
            raise _Refused(
                f"it names {module}.{name}, and only numbers, strings, lists, dictionaries and "
                "numpy arrays are admitted. Do not open it with pickle unless you know who made it"
            )
        return found

    def persistent_load(self, pid: Any) -> Any:
        """Refuse objects that live outside the file."""
        raise _Refused(f"it refers to an object outside itself ({pid!r})")


def _array_of_nothing(kind: type, shape: tuple[int, ...], code: bytes) -> Any:
    """Do numpy's _reconstruct for plain arrays: an empty array whose state comes next."""
    if kind is not np.ndarray or shape != (0,):
        raise _Refused(f"it makes an array of {kind!r} {shape!r}")
    return np.ndarray((0,), np.dtype(code if isinstance(code, str) else code.decode()))


def _array_from_buffer(
    data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: str
) -> Any:
    """Do numpy's _frombuffer (protocol 5) for numbers; a copy, so that it can be written to."""
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise _Refused(f"it makes an array of {dtype!r}")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if order == "F" else "C").copy()


def _number(dtype: np.dtype[Any], data: bytes) -> Any:
    """Do numpy's scalar for numbers."""
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise _Refused(f"it makes a number of {dtype!r}")
    return np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype)[0]


def _text_to_bytes(text: str, encoding: str = "latin1") -> bytes:
    """Do _codecs.encode as old pickles of bytes need it."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"it encodes text as {encoding!r}")
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy._core.multiarray", "_reconstruct"): _array_of_nothing,
    ("numpy._core.multiarray", "scalar"): _number,
    ("numpy._core.numeric", "_frombuffer"): _array_from_buffer,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _text_to_bytes,
    ("collections", "OrderedDict"): OrderedDict,
}
