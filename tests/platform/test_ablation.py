"""What an ablation is told and what it tells, without training."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from diffpose.benchmarks import away_from_home, open_mocap
from diffpose.platform.ablation.settings import AblationSettings
from diffpose.platform.ablation.tables import as_json, markdown, mean_rows
from diffpose.platform.base.config import Settings, merged, read_yaml, validate
from diffpose.platform.base.errors import ConfigError, SourceError
from diffpose.platform.detector_training.settings import TrainDetectorSettings
from diffpose.platform.evaluation.results import CONTEXT
from diffpose.platform.reports.ablation_report import write_report
from diffpose.platform.training.settings import TrainSettings
from diffpose.platform.workflows.evaluate import EvaluateSettings
from diffpose.preprocessing.records.splits import SplitSettings, assign_splits, check_patterns
from diffpose.preprocessing.render.settings import FilmSettings
from diffpose.preprocessing.settings import PreprocessSettings

ROOT = Path(__file__).parents[2]

RECIPE = {
    "motion": "motion",
    "folder": "folder",
    "encoders": {"frame": {"context_encoder": {"width": 16}}},
    "base": {"denoiser": {"width": 8}, "denoiser_training": {"epochs": 9}},
    "recipes": {"default": {}, "m1": {"mixture": {"n_kernels": 1}, "denoiser": {"n_blocks": 1}}},
    "rows": {"frame": ["default", "m1"]},
    "profiles": {"small": {"base": {"denoiser_training": {"epochs": 2}}, "seeds": [7]}},
}


SWEEP = {"encoder": "frame", "recipe": "default", "setting": "n_hypotheses", "values": [1]}


def settings(**changes: object) -> AblationSettings:
    return validate(AblationSettings, {**RECIPE, **changes})


def test_a_recipe_departs_from_the_base_and_shares_encoder_and_mixtures() -> None:
    made = settings()
    one, other = (made.denoiser_run("frame", name, 1) for name in ("default", "m1"))
    assert (one.denoiser.width, one.denoiser.n_blocks) == (8, 3)
    assert (other.denoiser.width, other.denoiser.n_blocks) == (8, 1)
    assert one.denoiser_training.epochs == other.denoiser_training.epochs == 9
    assert one.encoder == other.encoder == made.encoder_run("frame", 1).run
    assert one.seed == made.encoder_run("frame", 1).seed == 1
    assert made.encoder_run("frame", 1).context_encoder.width == 16
    # kernels of another number are other mixtures, of another seed as well
    names = {one.mixtures, other.mixtures, made.denoiser_run("frame", "default", 0).mixtures}
    assert len(names) == 3


def test_a_profile_departs_from_the_file() -> None:
    small = settings(profile="small").resolved()
    assert small.seeds == [7]
    assert small.denoiser_run("frame", "default", 7).denoiser_training.epochs == 2
    assert small.denoiser_run("frame", "default", 7).denoiser.width == 8


def test_a_profile_does_without_what_it_sets_to_null() -> None:
    given = {"tables": {"T": {"frame": ["m1"]}}, "sweeps": {"S": SWEEP, "R": SWEEP}}
    less = {"tables": None, "sweeps": {"S": None, "new": {**SWEEP, "values": [3]}}}
    resolved = settings(**given, profile="less", profiles={"less": less}).resolved()
    assert resolved.tables == {}
    assert set(resolved.sweeps) == {"R", "new"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {"video": ["default"]}}, "names the encoder 'video'"),
        ({"rows": {"frame": ["defualt"]}}, r"\['defualt'\], which recipes= lacks"),
        ({"profile": "tiny"}, "'tiny' is not one of full, small"),
        ({"only": ["none"]}, r"only names \['none'\], there are default, m1"),
        ({"on": ["fram"]}, r"on names \['fram'\], there are frame"),
        ({"tables": {"T": {"frame": ["m2"]}}}, r"tables names \['m2'\]"),
        ({"tables": {"T": {"video": ["m1"]}}}, r"tables names \['video'\]"),
        ({"sweeps": {"S": {**SWEEP, "recipe": "m2"}}}, r"sweeps names \['m2'\]"),
        ({"sweeps": {"S": {**SWEEP, "setting": "N"}}}, r"N"),
        ({"split": "tset"}, "split"),
    ],
)
def test_names_that_do_not_exist_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**changes)


def test_a_recipe_that_is_no_training_is_named() -> None:
    made = settings(recipes={"default": {"denoiser": {"widht": 4}}, "m1": {}})
    with pytest.raises(ConfigError, match=r"(?s)frame/default: .*width"):
        made.denoiser_run("frame", "default", 0)


def evaluation(context: float, default: float) -> dict[str, dict[str, float | None]]:
    return {
        CONTEXT: {"mpjpe_mm": context, "p_mpjpe_mm": 50.0, "coverage50": None},
        "default": {"mpjpe_mm": default, "p_mpjpe_mm": 40.0, "coverage50": 0.5},
    }


def test_rows_are_means_over_the_seeds_with_their_spread() -> None:
    context, default = mean_rows([evaluation(80.0, 72.0), evaluation(100.0, 92.0)])
    assert (context.mean("mpjpe_mm"), context.spread("mpjpe_mm")) == (90.0, 10.0)
    assert default.mean("ratio") == pytest.approx((0.9 + 0.92) / 2)  # seed by seed
    assert default.text("mpjpe_mm") == "82.00 ± 10.00"
    assert context.text("coverage50") == "-"
    figures = as_json({"frame": [context, default]}, {"frame": ["default", "m1"]})
    assert figures["frame"]["context_encoder"]["mpjpe_mm"] == 90.0
    assert figures["frame"]["context_encoder"]["coverage50"] is None
    assert figures["frame"]["default"]["coverage50"] == 0.5
    assert figures["frame"]["default"]["mpjpe_mm_of_seeds"] == [72.0, 92.0]
    assert "m1" not in figures["frame"]
    lines = markdown([context, default], ["default"], {"default": "DiffPose"})
    assert lines[-1].startswith("| DiffPose | 82.00 ± 10.00 | 40.00 ± 0.00 | 0.910")


def test_a_method_that_one_seed_lacks_has_no_row() -> None:
    half = evaluation(80.0, 72.0)
    del half["default"]
    assert [row.name for row in mean_rows([evaluation(80.0, 72.0), half])] == [CONTEXT]
    assert mean_rows([]) == []


def test_the_page_shows_tables_and_sweeps(tmp_path) -> None:
    made = settings(folder=str(tmp_path), tables={"Table 5": {"frame": ["default"]}})
    rows = {"frame": mean_rows([evaluation(80.0, 72.0), evaluation(100.0, 92.0)])}
    sweep = {"encoder": "frame", "recipe": "default", "setting": "n_hypotheses", "split": "test"}
    sweeps = {"Figure 4": {**sweep, "mpjpe_mm": {"1": [75.0, 77.0], "5": [70.0, 72.0]}}}
    assert write_report(made, rows, sweeps, "protocol <x>") == str(tmp_path / "ablation.html")
    page = (tmp_path / "ablation.html").read_text()
    for text in (
        "82.00 ± 10.00",
        "Table 5 (encoder frame)",
        "Figure 4",
        "76.00",
        "71.00",
        "protocol &lt;x&gt;",
    ):
        assert text in page
    assert page.count("<svg") == 3


def test_the_open_benchmark_is_an_ablation_of_trainings() -> None:
    values = read_yaml("configs/benchmark/open_mocap.yaml")
    made = validate(AblationSettings, {**values, "motion": "m", "folder": "f"})
    for profile in ("full", *made.profiles):
        resolved = made.model_copy(update={"profile": profile}).resolved()
        for encoder, recipes in resolved.rows.items():
            resolved.encoder_run(encoder, 0)
            for recipe in recipes:
                resolved.denoiser_run(encoder, recipe, 0)


@pytest.mark.parametrize("library", away_from_home.NAMES)
def test_the_benchmark_away_from_home_trains_each_library_as_it_is(library: str) -> None:
    settings = away_from_home.AwaySettings(bandai="b", cmu="c", folder="f")
    made = away_from_home.ablation_of(settings, library)
    assert (made.motion, made.folder) == (library[0], f"f/{library}")
    assert list(made.rows) == [away_from_home.ENCODER]
    made.encoder_run(away_from_home.ENCODER, away_from_home.SEED)
    for recipe in made.rows[away_from_home.ENCODER]:
        made.denoiser_run(away_from_home.ENCODER, recipe, away_from_home.SEED)
    given = merged(made.preprocess, {"source": {"uri": "u"}, "store": "s"})
    read = validate(PreprocessSettings, given)
    home = read_yaml("configs/benchmark/open_mocap.yaml")["preprocess"]
    assert read.detector.model_dump()["swap_leg"] == home["detector"]["swap_leg"]
    assert read.bodies.hip_width == {"bandai": 1.5, "cmu": 1.0}[library]
    assert (read.split.test == ["cmu_test_*"]) == (library == "cmu")
    assert read.source.model_dump()["poses_per_second"] == {"bandai": 3, "cmu": 10}[library]


def test_the_open_benchmark_s_motions_and_splits() -> None:
    names = (ROOT / open_mocap.MOTIONS).read_text().split()
    assert len(set(names)) == 230
    values = read_yaml("configs/benchmark/open_mocap.yaml")["preprocess"]["split"]
    split = SplitSettings.model_validate(values)
    check_patterns(names, split)
    counts = Counter(assign_splits(names, split, 0).values())
    assert counts == {"train": 145, "validation": 30, "test": 55}


def test_the_open_benchmark_is_of_its_motions_alone(tmp_path: Path) -> None:
    names = (ROOT / open_mocap.MOTIONS).read_text().split()
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    open_mocap.check_motions(str(tmp_path))
    (tmp_path / names[0]).rename(tmp_path / "bandai-1" / "other.bvh")
    with pytest.raises(SourceError, match=rf"1 are missing \({names[0]}.*1 are others .*other.bvh"):
        open_mocap.check_motions(str(tmp_path))


def test_presets_that_share_an_encoder_want_the_same_of_it() -> None:
    read = {
        name: validate(
            TrainSettings, {**read_yaml(f"configs/train/{name}_cpu.yaml"), "store": "s", "run": "r"}
        )
        for name in ("frame", "stand_diff", "baseline_a")
    }
    for preset in read.values():
        assert preset.context_encoder == read["frame"].context_encoder
        assert preset.mixture == read["frame"].mixture
        assert preset.denoiser_training == read["frame"].denoiser_training


JOBS: dict[str, tuple[type[Settings], dict[str, str]]] = {
    "train": (TrainSettings, {"store": "s", "run": "r"}),
    "evaluate": (EvaluateSettings, {"store": "s", "run": "r"}),
    "render": (FilmSettings, {"out": "o"}),
    "preprocess": (PreprocessSettings, {"store": "s"}),
    "train-detector": (TrainDetectorSettings, {"films": "f", "run": "r"}),
    "benchmark": (AblationSettings, {"motion": "m", "folder": "f"}),
}


@pytest.mark.parametrize(
    "file", sorted((ROOT / "configs").glob("*/*.yaml")), ids=lambda f: f"{f.parent.name}/{f.stem}"
)
def test_every_recipe_is_one(file: Path) -> None:
    kind, given = JOBS[file.parent.name]
    values = read_yaml(str(file))
    if "source" in values:  # the user's own files
        values["source"] = {"uri": "u", **values["source"]}
    validate(kind, {**values, **given})


def test_a_mean_is_held_only_where_there_are_estimates() -> None:
    held = {"sampling": {"held_mean": True}}
    clean = {"denoiser": {"parametrisation": "clean_pose"}, **held}
    made = settings(recipes={"default": clean, "m1": held})
    assert made.denoiser_run("frame", "default", 0).sampling.held_mean
    with pytest.raises(ConfigError, match=r"frame/m1: .*parametrisation=clean_pose"):
        made.denoiser_run("frame", "m1", 0)
