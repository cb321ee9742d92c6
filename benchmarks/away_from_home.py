#!/usr/bin/env python
"""Is what the model says of itself true where neither training nor recalibration has been?

    python benchmarks/away_from_home.py bandai=FOLDER cmu=FOLDER [folder=runs/away]

DiffPose and Baseline C are trained and recalibrated on each of two libraries of motions, then
measured on the test splits of both (benchmarks/away_from_home.yaml). bandai is that of
benchmarks/open_mocap.py; cmu holds sequences of the CMU Graphics Lab Motion Capture Database as BVH
with cgspeed's joint names, named cmu_train_ACTION_N.bvh and cmu_test_ACTION_N.bvh. Writes the
section "away from home" of benchmarks/RESULTS.md and benchmarks/results/away_from_home.json. Half
an hour on two cores; goes on where it stopped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from diffpose.benchmarks.open_mocap import CONFIG as HOME_CONFIG
from diffpose.benchmarks.open_mocap import TITLES, check_motions
from diffpose.benchmarks.results import RESULTS, processor, replace_section
from diffpose.platform.ablation.settings import AblationSettings
from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings, merged, read_yaml, validate
from diffpose.platform.base.storage import absolute, join, read_json, write_json
from diffpose.platform.evaluation.evaluate import evaluate_runs, summarise
from diffpose.platform.evaluation.figures import FIGURES, Figure
from diffpose.platform.evaluation.results import CONTEXT, MEASURES
from diffpose.platform.runs.model_files import answer_digests
from diffpose.platform.workflows.ablate import ablate, evaluations, holds

CONFIG = "benchmarks/away_from_home.yaml"
FIGURES_FILE = RESULTS.parent / "results" / "away_from_home.json"
ENCODER, SEED = "frame", 0
NAMES = {"bandai": "Bandai-Namco", "cmu": "CMU"}
# Keys of FIGURES: one table of errors, one of how sure.
ERRORS = (
    "mpjpe_mm", "p_mpjpe_mm", "joints_in_sight_mm", "hidden_joints_mm", "bone_length_std_mm",
    "bone_length_error_mm",
)  # fmt: skip
CLAIMS = (
    "coverage50", "coverage90", "hidden_coverage50", "hidden_coverage90", "calibration_error",
    "sharpness_mm", "energy_score_mm", "gaussian_energy_score_mm",
)  # fmt: skip


class AwaySettings(Settings):
    """Reliability at home and away."""

    bandai: str = Field(description="folder of the Bandai-Namco motions")
    cmu: str = Field(description="folder of the CMU motions")
    folder: str = Field("runs/away", description="where stores and runs go")


def benchmark(settings: AwaySettings) -> int:
    """Run what is left of it and write section and figures.

    Raises:
        SourceError: the Bandai-Namco motions are not those of the benchmark.
    """
    check_motions(settings.bandai)
    here = settings.model_copy(update={"folder": absolute(settings.folder)})
    ablations = {name: ablation_of(here, name) for name in NAMES}
    for ablation in ablations.values():
        ablate(ablation)
    figures = {
        f"{trained} -> {tested}": _measured(ablations[trained], ablations[tested], tested)
        for trained in NAMES
        for tested in NAMES
    }
    write_json(str(FIGURES_FILE), figures)
    replace_section("away from home", "\n".join(_section(figures)) + "\n")
    return 0


def ablation_of(settings: AwaySettings, library: str) -> AblationSettings:
    """Return the training of a library: the open benchmark's small profile with its own data."""
    own = read_yaml(CONFIG)
    libraries = own.pop("libraries")
    home = validate(
        AblationSettings,
        {
            **read_yaml(HOME_CONFIG),
            "profile": "small",
            "motion": getattr(settings, library),
            "folder": join(settings.folder, library),
        },
    ).resolved()
    values = {**home.model_dump(), **own, "tables": {}, "sweeps": {}}
    for key, value in libraries[library]["preprocess"].items():
        # other files are split otherwise: patterns of the one say nothing of the other
        old = values["preprocess"].get(key, {})
        values["preprocess"][key] = value if key == "split" else merged(old, value)
    return validate(AblationSettings, values)


def _measured(trained: AblationSettings, tested: AblationSettings, library: str) -> dict[str, Any]:
    """Return the figures of a library's runs on the test split of a library, by method."""
    here = trained.place(ENCODER, SEED)
    if trained is tested:  # measured by its ablation
        methods = evaluations(trained, ENCODER)[0]
    else:
        runs = {name: join(here, name) for name in trained.rows[ENCODER]}
        uri = join(here, f"on_{library}.json")
        wanted = {
            "store": tested.store,
            "digests": {name: answer_digests(run) for name, run in runs.items()},
            "measures": MEASURES,
        }
        if not holds(uri, wanted):
            found = evaluate_runs(tested.store, runs, "test", {}, SEED, None)
            summaries = {name: summarise(found, name) for name in (CONTEXT, *runs)}
            write_json(uri, {**wanted, "methods": summaries})
        methods = read_json(uri)["methods"]
    kept = {figure.key for figure in FIGURES}
    actions = methods[CONTEXT]["per_action"].values()
    return {
        "n_poses": sum(action["n_poses"] for action in actions),
        "methods": {
            name: {key: value for key, value in method.items() if key in kept}
            for name, method in methods.items()
        },
    }


def _section(figures: Mapping[str, Any]) -> list[str]:
    n_poses = {pair: part["n_poses"] for pair, part in figures.items()}
    on = {name: n_poses[f"{name} -> {name}"] for name in NAMES}
    hidden = {
        name: 100 * figures[f"{name} -> {name}"]["methods"][CONTEXT]["hidden_joints_share"]
        for name in NAMES
    }
    lines = [
        "## Away from home",
        "",
        "```",
        "python benchmarks/away_from_home.py bandai=FOLDER cmu=FOLDER",
        "```",
        "",
        f"Trained and recalibrated on one library of motions and its bodies, tested on the test "
        f"split of each ({CONFIG}: encoder frame, the open benchmark's small profile, 1 seed): "
        + ", ".join(f"{NAMES[n]} {on[n]} poses, {hidden[n]:.0f} % of the joints hidden" for n in on)
        + ". Hidden: the person's own body stands before the joint (model/geometry/body.py). "
        "Bones vary: standard deviation of a bone's length within a clip. Calibration error "
        "(ECE): mean difference between the claimed and the found share of truths over regions of "
        "10, 20 .. 90 %. Energy score: of the hypotheses; as Gaussian: of what is answered, mean "
        f"and recalibrated covariance. {os.cpu_count()} CPU cores ({processor()}).",
    ]
    known = {figure.key: figure for figure in FIGURES}
    for keys in (ERRORS, CLAIMS):
        heads = ["trained on", "tested on", "method", *(known[key].head for key in keys)]
        lines += ["", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        for pair, part in figures.items():
            trained, tested = pair.split(" -> ")
            place = f"{NAMES[trained]} | {NAMES[tested] if trained != tested else 'the same'}"
            for name, method in part["methods"].items():
                cells = " | ".join(_cell(known[key], method) for key in keys)
                lines.append(f"| {place} | {TITLES[name]} | {cells} |")
    return lines


def _cell(figure: Figure, method: Mapping[str, Any]) -> str:
    """Return before -> after, or what there is alone where nothing was claimed before."""
    alone = figure.before_after and method.get(f"{figure.key}_before") is None
    return (figure.plain if alone else figure).text(method, 1)


if __name__ == "__main__":
    raise SystemExit(command_line.run(AwaySettings, benchmark, sys.argv[1:]))
