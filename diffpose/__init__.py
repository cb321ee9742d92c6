"""DiffPose at scale: 3D human pose by reverse diffusion, from video to served answer.

The code lives in the top-level folders ``platform``, ``jobs``, ``preprocessing``, ``model``,
``cluster`` and ``benchmarks``; this package makes them importable as ``diffpose.model`` and so on.
The symlinks beside this file serve editable installs, type checkers and Ray's uploaded working
directory; where links are lost (zip archives, Windows) the path below takes over.
"""

import pathlib as _pathlib

__version__ = "0.1.0"

_root = _pathlib.Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file():  # a checkout or an uploaded working_dir, not a wheel
    __path__.append(str(_root))
del _pathlib, _root
