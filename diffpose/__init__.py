"""DiffPose at scale: 3D human pose by reverse diffusion, from video to served answer.

In five lines, without Ray or a server (docs/python.md)::

    import diffpose

    lifter = diffpose.load()  # or load("RUN_DIR")
    answer = lifter.lift(keypoints_px, image_size=(1920, 1080), layout="coco_17", fps=30)
    answer.poses_mm, answer.covariance_mm2, answer.to_dataframe()

The code lives in the top-level folders ``platform``, ``jobs``, ``preprocessing``, ``model``,
``cluster`` and ``benchmarks``; this package makes them importable as ``diffpose.model`` and so on.
The symlinks beside this file serve editable installs, type checkers and Ray's uploaded working
directory; where links are lost (zip archives, Windows) the path below takes over.
"""

from __future__ import annotations

import pathlib as _pathlib
import typing as _typing

if _typing.TYPE_CHECKING:  # torch takes seconds to load: only what is asked for is
    from diffpose.platform.answers.answer import Answer
    from diffpose.platform.notebook.lifter import PoseLifter

__version__ = "0.1.0"
__all__ = ["Answer", "PoseLifter", "__version__", "load", "read_answer", "show"]

_root = _pathlib.Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file():  # a checkout or an uploaded working_dir, not a wheel
    __path__.append(str(_root))
del _pathlib, _root


def load(run: str = "shipped://windows") -> PoseLifter:
    """Load a trained run, ready to lift keypoints in this process.

    Args:
        run: a run directory by path or URI, or one that comes along: "shipped://windows",
            "shipped://frames".

    Raises:
        diffpose.platform.base.errors.RunError: it is missing, incomplete or damaged.
    """
    from diffpose.platform.notebook.lifter import PoseLifter

    return PoseLifter(run)


def read_answer(uri: str) -> Answer:
    """Read an answer that ``diffpose predict`` wrote.

    Args:
        uri: of its FILE.json or FILE.npz.

    Raises:
        diffpose.platform.base.errors.SourceError: a file is missing or damaged.
    """
    from diffpose.platform.answers.files import read_answer

    return read_answer(uri)


def show(answers: Answer | _typing.Sequence[Answer], film: str | None = None) -> _typing.Any:
    """Show answers of one film in a notebook: an orbitable skeleton with its uncertainty.

    Args:
        answers: one person, or the people of one film.
        film: its video, shown beside.

    Returns:
        What a notebook displays (an HTML frame); ``.save(path)`` writes the page.
    """
    from diffpose.platform.notebook.show import shown

    return shown(answers, film)


def __getattr__(name: str) -> _typing.Any:
    """Import a class of the package when it is asked for."""
    if name == "Answer":
        from diffpose.platform.answers.answer import Answer

        return Answer
    if name == "PoseLifter":
        from diffpose.platform.notebook.lifter import PoseLifter

        return PoseLifter
    raise AttributeError(f"module 'diffpose' has no attribute {name!r}")
