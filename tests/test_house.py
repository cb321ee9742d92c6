"""Rules of the house: layout, direction of imports, nothing of one machine in the files."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import house_rules
import pytest
import yaml
from house_rules import FOLDERS, ROOMS, RULES

from diffpose.jobs.main import JOBS, file_of
from diffpose.platform.ablation.settings import AblationSettings
from diffpose.platform.base.config import validate
from diffpose.platform.detector_training.settings import TrainDetectorSettings
from diffpose.platform.training.settings import TrainSettings
from diffpose.platform.workflows.evaluate import EvaluateSettings
from diffpose.preprocessing.render.settings import FilmSettings
from diffpose.preprocessing.settings import PreprocessSettings

ROOT = Path(__file__).resolve().parent.parent
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
    return house_rules.modules(ROOT, *folders)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_import_reader_sees_every_form() -> None:
    source = (
        "import ray.data\nfrom ray import serve\n"
        "def f():\n    from diffpose.platform.base import config as c\n"
        "    from ...model.geometry import camera\n    from . import errors\n"
    )
    assert house_rules.imported(source, "diffpose.platform.base") == {
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


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rules(rule: Callable[[Path], list[str]]) -> None:
    assert rule(ROOT) == []


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_there(room: str) -> None:
    assert (ROOT / room).is_dir() or (ROOT / f"{room}.py").is_file()


@pytest.mark.parametrize("library", sorted(house_rules.ONLY_IN))
def test_the_rules_see_the_users_of_frameworks(library: str) -> None:
    assert house_rules.users_of(ROOT, library)


BROKEN = {
    "homeless": {"model/somewhere.py": ""},
    "imports_of_later_rooms": {
        "model/geometry/camera.py": "def f():\n    import diffpose.model.networks.denoiser\n",
        "model/networks/denoiser.py": "g = 1\n",
    },
    "imports_without_prefix": {"jobs/train.py": "from model.geometry import camera\n"},
    "jobs_that_import_jobs": {"jobs/demo.py": "from diffpose.jobs import train\n"},
    "crowded_folders": {f"model/geometry/m{i}.py": "" for i in range(10)},
    "long_modules": {"model/geometry/camera.py": "x = 1\n" * 401},
    "frameworks_out_of_place": {"model/geometry/camera.py": "import ray.data\n"},
    "drawers": {"model/geometry/utils.py": ""},
    "type_switches": {"preprocessing/settings.py": "ok = isinstance(1, (int, MocapSource))\n"},
    "long_functions": {"model/geometry/camera.py": "def f():\n" + "    x = 1\n" * 80},
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_broken_house_is_noticed(rule: Callable[[Path], list[str]], tmp_path: Path) -> None:
    for name, text in BROKEN[rule.__name__].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert len(rule(tmp_path)) == 1
    others = [other for other in RULES if other is not rule]
    assert [text for other in others for text in other(tmp_path)] == []


@pytest.mark.parametrize("file", ["benchmarks/speed.py", "jobs/demo.py"])
def test_neither_jobs_nor_benchmarks_import_jobs(file: str, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text("from diffpose.jobs.train import main\n", encoding="utf-8")
    (found,) = house_rules.jobs_that_import_jobs(tmp_path)
    assert found == f"{file} imports the job diffpose.jobs.train.main"


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
    path = ROOT / "jobs" / f"{file_of(name)}.py"
    assert path.is_file()
    assert os.access(path, os.X_OK), f"{relative(path)} is not executable"
    assert path.read_text(encoding="utf-8").splitlines()[0] == "#!/usr/bin/env python"
    assert callable(importlib.import_module(f"diffpose.jobs.{file_of(name)}").main)


def test_every_job_file_is_a_known_job() -> None:
    files = {path.stem for path in (ROOT / "jobs").glob("*.py") if os.access(path, os.X_OK)}
    assert files == {file_of(name) for name in JOBS}
    assert files.isdisjoint(sys.stdlib_module_names)  # as a script, their folder is on the path


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
