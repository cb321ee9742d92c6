"""Fixtures that several test files share; Ray sessions are local and end with the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Never join a cluster that happens to run on this machine.
os.environ["RAY_ADDRESS"] = "local"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Detectors that somebody downloaded on this machine are not there for the tests.
os.environ["DIFFPOSE_DETECTORS"] = str(Path(__file__).parent / "no_such_folder")


# Stores, films and runs that tests of several files share.
SHARED = {"small_store", "small_run", "film_folder"}


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what shares stores in one process, that they are made once; else a file's Ray tests."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & SHARED:
            item.add_marker(pytest.mark.xdist_group("ray"))
        elif "ray_local" in fixtures or item.get_closest_marker("cluster"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


ACTIONS = ("walking", "waving", "squatting", "turning")
SMALL_NETWORKS = {
    "context_encoder": {"width": 16, "n_blocks": 1, "n_heads": 2, "dropout": 0.0},
    "denoiser": {"width": 8, "n_blocks": 1, "n_heads": 2},
    "encoder_training": {"epochs": 3, "batch_size": 64},
    "denoiser_training": {"epochs": 2, "batch_size": 64},
    "mixture": {"n_kernels": 3, "n_draws": 100},
    "validation_poses": 100,
}


@pytest.fixture(scope="session")
def motion_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 16 short procedural motions."""
    from diffpose.preprocessing.mocap.procedural.motion import write_motion_library

    folder = tmp_path_factory.mktemp("motion")
    write_motion_library(str(folder), ACTIONS, 4, 3.0, seed=1)
    return folder


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """One local Ray session of two CPUs for all tests of this process."""
    from diffpose.platform.execution.ray_session import ray_session

    with ray_session(2):
        yield


@pytest.fixture(scope="session")
def film_folder(
    ray_local: None, motion_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Sixteen rendered films of three seconds with sidecars; 10 frames per second."""
    from diffpose.platform.base.config import validate
    from diffpose.platform.synthesis.render import render
    from diffpose.preprocessing.render.settings import FilmSettings

    folder = tmp_path_factory.mktemp("films")
    recipe = {
        "source": {"uri": str(motion_folder)},
        "out": str(folder),
        "cameras": {"count": 1},
        "fps": 10,
        "workers": 2,
    }
    assert render(validate(FilmSettings, recipe)) == 0
    return folder


@pytest.fixture(scope="session")
def small_store(
    ray_local: None, motion_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A pose store of the motions with detections and histogram mixtures."""
    from diffpose.platform.base.config import validate
    from diffpose.platform.workflows.preprocess import preprocess
    from diffpose.preprocessing.settings import PreprocessSettings

    store = str(tmp_path_factory.mktemp("store") / "poses")
    settings = validate(PreprocessSettings, preprocess_recipe(motion_folder, store))
    assert preprocess(settings) == 0
    return store


@pytest.fixture(scope="session")
def small_run(ray_local: None, small_store: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run trained for a few epochs on the small store."""
    from diffpose.platform.base.config import validate
    from diffpose.platform.training.settings import TrainSettings
    from diffpose.platform.workflows.train import train

    run = str(tmp_path_factory.mktemp("run") / "diffpose")
    recipe = {**SMALL_NETWORKS, "store": small_store, "run": run, "workers": 2}
    assert train(validate(TrainSettings, recipe)) == 0
    return run


def preprocess_recipe(motion: Path | str, store: str) -> dict[str, object]:
    """The settings of the small store."""
    return {
        "source": {"uri": str(motion), "poses_per_second": 10},
        "cameras": {"count": 2},
        "store": store,
        "mixture": {"depth": "histogram", "spec": {"n_kernels": 3, "n_draws": 100}},
        "workers": 2,
    }
