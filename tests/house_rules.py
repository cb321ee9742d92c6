"""The rules of the house as functions over a checkout; each returns what breaks it.

Kept apart from the tests of this tree, so that a broken tree can be given to them as well.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("platform", "jobs", "preprocessing", "model", "cluster", "benchmarks")

# A room imports only rooms that stand before it, inside functions as well. A module belongs to the
# longest name that fits; a name may be that of one module.
ROOMS = (
    # the method: pure torch and numpy
    "model/compiled",
    "model/geometry",
    "model/motion",
    "model/multiview",
    "model/heatmaps",
    "model/observations",
    "model/uncertainty",
    "model/metrics",
    "model/detector",
    "model/motion",
    "model/mixtures",
    "model/diffusion",
    "model/networks",
    "model/mixture_fitting",
    "model/refinement",
    "model/lifting",
    "model/released",
    # the ground floor of platform/: what every job stands on
    "platform/base",
    "platform/execution",
    "platform/store",
    "platform/runs",
    "platform/answers",
    "platform/exports",
    # recordings -> pose store
    "preprocessing/records",
    "preprocessing/videos",
    "preprocessing/mocap/cameras",
    "preprocessing/mocap",
    "preprocessing/mocap/procedural",
    "preprocessing/mocap/freestyle",
    "preprocessing/detectors/interface",
    "preprocessing/keypoints",
    "preprocessing/datasets",
    "preprocessing/detectors/blazepose",
    "preprocessing/detectors",
    "preprocessing/render/surfaces",
    "preprocessing/render/person",
    "preprocessing/render/scene",
    "preprocessing/render",
    "preprocessing/settings",
    "preprocessing/planning",
    "preprocessing/multiview",
    "preprocessing/people",
    "preprocessing/multiview",
    "preprocessing/sources",
    "preprocessing/pipeline",
    "preprocessing/derived",
    "preprocessing/inspection",
    # the upper floor of platform/: what is done with a store
    "platform/training",
    "platform/detector_training",
    "platform/evaluation",
    "platform/viewer",
    "platform/prediction",
    "platform/notebook",
    "platform/serving",
    "platform/ablation",
    "platform/downloads",
    "platform/synthesis",
    "platform/reports/page",
    "platform/reports",
    "platform/workflows",
    # what is started
    "benchmarks",
    "jobs",
)
MOST_MODULES = 9
# One file per command, beside each other: there the number of commands decides.
ONE_FILE_PER_COMMAND = {"jobs", "benchmarks"}
MOST_LINES = 400
MOST_FUNCTION_LINES = 80
# One compiled pass each over pixels, cells or pairs of poses: what they keep at hand in a loop's
# local variables would be handed on twenty values at a time.
LONG_FOR_A_REASON = {
    "model/geometry/procrustes.py:_similarities",
    "model/heatmaps/grid.py:_summarise_cells",
    "preprocessing/render/scene/raster.py:_rasterise",
    "preprocessing/render/surfaces/raster.py:rasterise",
    "preprocessing/render/surfaces/raster.py:shade",
}
ONLY_IN = {
    "zarr": ("platform/store",),
    "ray": (
        "platform/execution",
        "platform/training",
        "platform/detector_training",
        "platform/serving",
        "platform/workflows",
    ),
}


def modules(root: Path, *folders: str) -> list[Path]:
    """Return the Python files of some folders of a checkout."""
    return sorted(path for folder in folders for path in (root / folder).rglob("*.py"))


def imported(source: str, package: str = "") -> set[str]:
    """Return the dotted names that a module imports, at any depth, `from a import b` as a.b."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join(
                [*(parts if node.level else []), *([node.module] if node.module else [])]
            )
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def imports_of(root: Path, path: Path) -> set[str]:
    """Return the dotted names that a file of a checkout imports."""
    package = ".".join(["diffpose", *path.relative_to(root).parent.parts])
    return imported(path.read_text(encoding="utf-8"), package)


def room_of(name: str) -> str | None:
    """Return the room of a module, such as model/geometry/camera, or of what it defines."""
    fitting = [room for room in ROOMS if name == room or name.startswith(f"{room}/")]
    return max(fitting, key=len) if fitting else None


def _own_imports(root: Path) -> Iterator[tuple[str, str, str]]:
    """Yield file, imported name and its path for each import of ours."""
    for path in modules(root, *FOLDERS):
        for name in sorted(imports_of(root, path)):
            parts = name.split(".")
            if parts[0] == "diffpose" and len(parts) > 2 and parts[1] in FOLDERS:
                yield path.relative_to(root).as_posix(), name, "/".join(parts[1:])


def homeless(root: Path) -> list[str]:
    """Return the modules that no room holds."""
    files = [path.relative_to(root) for path in modules(root, *FOLDERS)]
    return [
        f"{file.as_posix()} stands in no room of ROOMS"
        for file in files
        if file.name != "__init__.py" and room_of(file.with_suffix("").as_posix()) is None
    ]


def imports_of_later_rooms(root: Path) -> list[str]:
    """Return the imports that go against the order of ROOMS."""
    wrong = []
    for file, name, target in _own_imports(root):
        here, there = room_of(file.removesuffix(".py")), room_of(target)
        if here and there and ROOMS.index(there) > ROOMS.index(here):
            wrong.append(f"{file} ({here}) imports {name} of the later room {there}")
    return wrong


def imports_without_prefix(root: Path) -> list[str]:
    """Return the imports of our folders as if they were packages of the path."""
    return [
        f"{path.relative_to(root).as_posix()} imports {name} without diffpose."
        for path in modules(root, *FOLDERS)
        for name in sorted(imports_of(root, path))
        if name.split(".")[0] in set(FOLDERS) - {"platform"}
    ]


def jobs_that_import_jobs(root: Path) -> list[str]:
    """Return the imports of a job by a job or a benchmark; what they share is a workflow."""
    return [
        f"{file} imports the job {name}"
        for file, name, target in _own_imports(root)
        if file.startswith(("jobs/", "benchmarks/")) and target.startswith("jobs/")
    ]


def crowded_folders(root: Path) -> list[str]:
    """Return the folders with more than nine modules."""
    held = Counter(
        path.parent.relative_to(root).as_posix()
        for path in modules(root, *FOLDERS)
        if path.name != "__init__.py"
    )
    return [
        f"{folder} holds {n} modules, {MOST_MODULES} at most"
        for folder, n in sorted(held.items())
        if n > MOST_MODULES and folder not in ONE_FILE_PER_COMMAND
    ]


def long_modules(root: Path) -> list[str]:
    """Return the modules of more than 400 lines."""
    lengths = {
        path.relative_to(root).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in modules(root, *FOLDERS, "tests")
    }
    return [
        f"{name} has {n} lines, {MOST_LINES} at most"
        for name, n in lengths.items()
        if n > MOST_LINES
    ]


def users_of(root: Path, library: str) -> list[str]:
    """Return the modules that import a library."""
    return [
        path.relative_to(root).as_posix()
        for path in modules(root, *FOLDERS)
        if any(name.split(".")[0] == library for name in imports_of(root, path))
    ]


def frameworks_out_of_place(root: Path) -> list[str]:
    """Return the imports of Ray and Zarr outside the rooms that may know them."""
    return [
        f"{file} imports {library}; only {', '.join(rooms)} may"
        for library, rooms in ONLY_IN.items()
        for file in users_of(root, library)
        if not file.startswith(tuple(f"{room}/" for room in rooms))
    ]


def drawers(root: Path) -> list[str]:
    """Return the modules whose name says nothing."""
    return [
        f"{path.relative_to(root).as_posix()}: name what it holds"
        for path in modules(root, *FOLDERS)
        if re.fullmatch(r"(utils?|helpers?|common|misc)\.py", path.name)
    ]


def type_switches(root: Path) -> list[str]:
    """Return the isinstance tests on sources, detectors and settings outside of registries."""
    wrong = []
    for path in modules(root, "preprocessing"):
        if path.name == "registry.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance"):
                continue
            classes = {getattr(n, "id", getattr(n, "attr", "")) for n in ast.walk(node.args[1])}
            kinds = sorted(n for n in classes if n.endswith(("Source", "Settings", "Kind")))
            if kinds:
                file = path.relative_to(root).as_posix()
                wrong.append(f"{file}:{node.lineno} asks for {', '.join(kinds)}; let it say itself")
    return wrong


def long_functions(root: Path) -> list[str]:
    """Return the functions of more than 80 lines, docstring apart, without a reason."""
    wrong = []
    for path in modules(root, *FOLDERS):
        file = path.relative_to(root).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            said = node.body[0] if ast.get_docstring(node) else None
            docstring = said.end_lineno - said.lineno + 1 if said and said.end_lineno else 0
            lines = (node.end_lineno or node.lineno) - node.lineno + 1 - docstring
            if lines > MOST_FUNCTION_LINES and f"{file}:{node.name}" not in LONG_FOR_A_REASON:
                wrong.append(
                    f"{file}: {node.name} has {lines} lines, {MOST_FUNCTION_LINES} at most"
                )
    return wrong


RULES = (
    homeless,
    imports_of_later_rooms,
    imports_without_prefix,
    jobs_that_import_jobs,
    crowded_folders,
    long_modules,
    frameworks_out_of_place,
    drawers,
    type_switches,
    long_functions,
)
