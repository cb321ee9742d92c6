"""A store and a run that earlier code made (tests/data/README.md) are read as they were."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffpose.jobs.inspect_store import describe_store
from diffpose.platform.base.config import validate
from diffpose.platform.base.storage import read_json
from diffpose.platform.store.pose_store import PoseStore
from diffpose.platform.workflows.evaluate import EvaluateSettings, evaluate
from diffpose.platform.workflows.preprocess import preprocess
from diffpose.preprocessing.settings import PreprocessSettings

ARCHIVE = Path(__file__).parent / "data" / "earlier_store_and_run.tar.gz"
ENCODER_GROUP = "encoder-325fd0bf-joint-full-2"
# Sums over the first clip, as the code that wrote them read them.
SUMS = {
    "pose_3d": -13999.705135822296,
    "keypoints_2d": 252019.5661315918,
    "heatmaps": 1391741.0,
    "mixtures/histogram/means_mm": -21098.95104946196,
}


# Figures that came after these.
SINCE = {
    "before_refinement",
    "bone_length_error_mm",
    "bone_length_std_mm",
    "calibration_error",
    "calibration_error_after",
    "calibration_error_before",
    "hidden_coverage50",
    "hidden_coverage90",
    "hidden_joints_mm",
    "hidden_joints_share",
    "joints_in_sight_mm",
    "smooth",
}


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def test_the_store_is_read_as_it_was_written(earlier: Path) -> None:
    store = PoseStore.open(str(earlier / "store"))
    assert [clip.first_row for clip in store.clips()] == [0, 15, 64, 128]
    assert store.mixture_names() == [ENCODER_GROUP, "histogram"]
    for name, total in SUMS.items():
        values = store.read(name, 0, 15).astype(np.float64)
        assert float(np.nansum(values)) == pytest.approx(total, rel=1e-9), name
    fitted = store.mixture_attributes(ENCODER_GROUP)
    assert fitted.complete
    assert fitted.spec.n_kernels == 2
    assert fitted.depth_kind == "encoder"
    assert store.context_attributes("325fd0bf").holds(mirrored=False)


def test_inspect_describes_the_store(earlier: Path) -> None:
    found = describe_store(PoseStore.open(str(earlier / "store")))
    assert found["rows"] == 60
    assert found["splits"]["train"]["clips"] == 2
    assert found["mixtures"]["histogram"]["depth"] == "histogram"


@pytest.mark.cluster
def test_the_run_is_as_wrong_as_it_was(earlier: Path, ray_local: None) -> None:
    settings = {"run": str(earlier / "run"), "store": str(earlier / "store")}
    evaluate(validate(EvaluateSettings, {**settings, "json_file": str(earlier / "again.json")}))
    before: dict[str, Any] = json.loads((earlier / "figures.json").read_text())
    again = read_json(str(earlier / "again.json"))
    assert again.keys() - before.keys() == SINCE
    assert before.keys() - again.keys() == set()
    assert 0 < again["hidden_joints_share"] < 0.5  # places and views are read from the store
    energies = ("energy_score_mm", "gaussian_energy_score_mm")  # its draws were not centred
    for name in ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm_per_frame", *energies):
        assert again[name] == pytest.approx(before[name], abs=0.01), name
    for name in ("coverage50", "coverage90"):
        assert again[name] == pytest.approx(before[name], abs=0.005), name


@pytest.mark.cluster
def test_preprocessing_of_the_store_goes_on(earlier: Path, ray_local: None) -> None:
    """With the settings that are saved in it there is nothing left to do, and nothing to refuse."""
    store = PoseStore.open(str(earlier / "store"))
    saved = {**store.attributes["config"], "store": str(earlier / "store")}
    # the plan remembers an absolute folder, which need not be there where all has been read
    assert preprocess(validate(PreprocessSettings, {**saved, "stages": ["mixtures"]})) == 0
    found = PoseStore.open(str(earlier / "store")).mixture_attributes("histogram")
    assert found == store.mixture_attributes("histogram")
