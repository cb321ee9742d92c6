"""Rules of the house: layout, direction of imports, nothing of one machine in the files."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from diffpose.jobs.main import JOBS
from diffpose.platform.ablation.settings import AblationSettings
from diffpose.platform.base.config import validate
from diffpose.platform.detector_training.settings import TrainDetectorSettings
from diffpose.platform.training.settings import TrainSettings
from diffpose.platform.workflows.evaluate import EvaluateSettings
from diffpose.preprocessing.render.settings import FilmSettings
from diffpose.preprocessing.settings import PreprocessSettings

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("platform", "jobs", "preprocessing", "model", "cluster", "benchmarks")
MAY_IMPORT = {
    "model": {"model"},
    "platform": {"platform", "model"},
    "preprocessing": {"preprocessing", "platform", "model"},
    "jobs": {"jobs", "benchmarks", "preprocessing", "platform", "model"},
    "benchmarks": {"benchmarks", "jobs", "preprocessing", "platform", "model"},
    "cluster": {"cluster"},
}
RAY = ("platform/", "jobs/", "preprocessing/pipeline.py", "preprocessing/derived/refinement.py")
NOT_OURS = {".venv", ".git", "__pycache__", "demo", "runs", "stores", "build", "dist", "shared"}
MACHINE = re.compile(r"/(?:work|root)/|/home/[A-Za-z]|pypi\.org|files\.pythonhosted")
FILLED = {
    "preprocess": (PreprocessSettings, {"source": {"uri": "recordings"}, "store": "store"}),
    "benchmark": (AblationSettings, {"motion": "recordings", "folder": "runs"}),
    "train": (TrainSettings, {"store": "store", "run": "run"}),
    "evaluate": (EvaluateSettings, {"store": "store", "run": "run"}),
    "render": (FilmSettings, {"source": {"uri": "recordings"}, "out": "films"}),
    "train-detector": (TrainDetectorSettings, {"films": "films", "run": "run"}),
}


def text_files() -> list[Path]:
    found = []
    for folder, names, files in os.walk(ROOT):  # links to folders are not followed
        names[:] = [
            n
            for n in names
            if n not in NOT_OURS
            and not n.endswith((".egg-info", "_cache"))
            and n != ".hypothesis"
            and not (Path(folder) / n).is_symlink()
        ]
        found += [Path(folder) / f for f in files if b"\0" not in (Path(folder) / f).read_bytes()]
    return sorted(found)


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


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


def imports_of(path: Path) -> set[str]:
    package = ".".join(["diffpose", *path.relative_to(ROOT).parent.parts])
    return imported(path.read_text(encoding="utf-8"), package)


def test_the_import_reader_sees_every_form() -> None:
    source = (
        "import ray.data\nfrom ray import serve\n"
        "def f():\n    from diffpose.platform import config as c\n    from ..model import camera\n"
        "    from . import errors\n"
    )
    assert imported(source, "diffpose.platform") == {
        "ray.data",
        "ray.serve",
        "diffpose.platform.base.config",
        "diffpose.model.geometry.camera",
        "diffpose.platform.base.errors",
    }


def test_platform_is_no_package_at_the_top() -> None:
    # platform/__init__.py would hide the standard library's module of that name.
    assert not (ROOT / "platform" / "__init__.py").exists()
    assert [relative(p) for p in (ROOT / "tests").rglob("__init__.py")] == []


@pytest.mark.parametrize("how", ["-c", "-m"])
def test_standard_platform_module_still_works(how: str) -> None:
    what = (
        ["-c", "import platform; print(platform.system())"] if how == "-c" else ["-m", "platform"]
    )
    result = subprocess.run(
        [sys.executable, *what],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert os.uname().sysname in result.stdout


@pytest.mark.parametrize("folder", FOLDERS)
def test_symlinks_lead_to_the_folders(folder: str) -> None:
    link = ROOT / "diffpose" / folder
    assert link.is_symlink()
    assert link.readlink() == Path("..") / folder
    assert link.is_dir()


def test_every_package_folder_is_installed() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    setuptools = tool["setuptools"]
    folders = {path.parent.relative_to(ROOT) for path in modules(*FOLDERS)}
    wanted = {".".join(["diffpose", *folder.parts]) for folder in folders} | {"diffpose"}
    assert wanted - set(setuptools["packages"]) == set(), "not in packages of pyproject.toml"
    assert set(setuptools["packages"]) - wanted == set(), "packages without any module"
    tops = {"diffpose": "diffpose", **{f"diffpose.{name}": name for name in FOLDERS}}
    assert setuptools["package-dir"] == tops


@pytest.mark.parametrize("folder", FOLDERS)
def test_direction_of_imports(folder: str) -> None:
    wrong = []
    for path in modules(folder):
        for name in imports_of(path):
            parts = name.split(".")
            own = parts[0] == "diffpose" and len(parts) > 1 and parts[1] in FOLDERS
            if own and parts[1] not in MAY_IMPORT[folder]:
                wrong.append(f"{relative(path)} imports {name}")
            if parts[0] in set(FOLDERS) - {"platform"}:
                wrong.append(f"{relative(path)} imports {name} without diffpose.")
    assert sorted(wrong) == []


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        (
            "ray",
            lambda path: path.startswith(
                (
                    "platform/",
                    "jobs/",
                    "preprocessing/pipeline.py",
                    "preprocessing/derived/refinement.py",
                )
            ),
        ),
        ("zarr", lambda path: path == "platform/store/pose_store.py"),
    ],
)
def test_frameworks_stay_where_they_belong(library: str, allowed) -> None:
    users = {
        relative(path)
        for path in modules("diffpose", *FOLDERS)
        if any(name.split(".")[0] == library for name in imports_of(path))
    }
    users = {name for name in users if not name.startswith("diffpose/")}
    assert users, f"nobody imports {library}: this test looks at the wrong files"
    assert sorted(name for name in users if not allowed(name)) == []


def test_modules_are_short() -> None:
    lengths = {
        relative(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in modules(*FOLDERS, "tests")
    }
    assert {name: n for name, n in lengths.items() if n > 400} == {}


def test_no_module_is_a_drawer() -> None:
    assert [relative(p) for p in text_files() if p.name == "utils.py"] == []


def test_no_file_names_a_machine_or_a_registry() -> None:
    files = [path for path in text_files() if path != Path(__file__).resolve()]
    assert len(files) > 60
    found = [
        f"{relative(path)}:{number}: {line.strip()[:80]}"
        for path in files
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1)
        if MACHINE.search(line)
    ]
    assert found == []


def test_constraints_are_exact() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    assert "torch==2.13.0" in pins
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==\d+(\.\d+)+", pin)] == []
    assert len({pin.split("==")[0] for pin in pins}) == len(pins)


@pytest.mark.parametrize("name", JOBS)
def test_jobs_are_commands(name: str) -> None:
    path = ROOT / "jobs" / f"{name.replace('-', '_')}.py"
    assert path.is_file()
    assert os.access(path, os.X_OK), f"{relative(path)} is not executable"
    assert path.read_text(encoding="utf-8").splitlines()[0] == "#!/usr/bin/env python"
    assert callable(importlib.import_module(f"diffpose.jobs.{name.replace('-', '_')}").main)


def test_every_job_file_is_a_known_job() -> None:
    files = {
        path.stem.replace("_", "-")
        for path in (ROOT / "jobs").glob("*.py")
        if os.access(path, os.X_OK)
    }
    assert files == set(JOBS)


def recipes() -> list[str]:
    return sorted(relative(path) for path in (ROOT / "configs").glob("*/*.yaml"))


def test_there_are_recipes() -> None:
    assert {name.split("/")[1] for name in recipes()} >= {"preprocess", "train"}


@pytest.mark.parametrize("name", recipes())
def test_recipes_validate(name: str) -> None:
    job = name.split("/")[1]
    assert job in JOBS, f"{name} lies in a folder that is no job"
    given = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    model, required = FILLED.get(job) or pytest.skip(f"no required keys known for {job}")
    values = {**given, **required}
    if "source" in required:
        values["source"] = {**given.get("source", {}), **required["source"]}
    settings = validate(model, values)
    dumped = settings.model_dump(mode="json")
    for key, value in given.items():
        if not isinstance(value, dict):
            assert dumped[key] == value, f"{name}: {key} did not arrive"
