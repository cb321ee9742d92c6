"""MATLAB files: up to version 7 through scipy, version 7.3 (HDF5) through h5py.

Version 7.3 shows arrays with their axes reversed; they are turned back here, so that a caller sees
what MATLAB shows. Cells become object arrays.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.io

from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import read_bytes

_HDF5 = b"\x89HDF\r\n\x1a\n"


def read_mat(uri: str, names: Sequence[str]) -> dict[str, Any]:
    """Read some variables of a MATLAB file.

    Args:
        uri: of the file.
        names: of the variables; those that the file lacks are left out.

    Returns:
        name -> array in MATLAB's order of axes; a cell is an object array of arrays.

    Raises:
        SourceError: there is no such file, it is none of MATLAB, or h5py is needed and missing.
    """
    try:
        data = read_bytes(uri)
    except (FileNotFoundError, IsADirectoryError):
        raise SourceError(f"There is no file {uri!r}.") from None
    try:
        # a 7.3 file is HDF5 behind a text header of 512 bytes
        if data[:8] == _HDF5 or data[512:520] == _HDF5:
            return _read_hdf5(uri, data, names)
        found = scipy.io.loadmat(io.BytesIO(data), variable_names=list(names))
    except SourceError:
        raise
    # a damaged file may fail anywhere in its reader
    except Exception as error:
        raise SourceError(f"{uri!r} cannot be read as a MATLAB file: {error!r}") from None
    return {name: found[name] for name in names if name in found}


def _read_hdf5(uri: str, data: bytes, names: Sequence[str]) -> dict[str, Any]:
    try:
        import h5py
    except ImportError:
        raise SourceError(
            f"{uri!r} is a MATLAB file of version 7.3 (HDF5), which needs h5py: "
            "pip install 'diffpose-at-scale[mat73]'. Or save it in MATLAB with -v7."
        ) from None

    with h5py.File(io.BytesIO(data), "r") as file:

        def value(node: Any) -> Any:
            array = np.asarray(node[()])
            if array.dtype == h5py.ref_dtype:
                cells = np.empty(array.shape, dtype=object)
                for place in np.ndindex(array.shape):
                    cells[place] = value(file[array[place]])
                return cells.transpose()
            return array.transpose()

        return {name: value(file[name]) for name in names if name in file}
