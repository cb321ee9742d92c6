"""All figures of an evaluation, each in one place: what it is, how it is computed, where it stands.

evaluation.json, the printed tables, poses.parquet, the report, ablations and comparisons read this
list: to add a figure, add it here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import bone_lengths
from diffpose.model.metrics.protocols import mpjve, n_mpjpe
from diffpose.model.uncertainty.covariances import LEVELS, MOVING, coverage
from diffpose.platform.evaluation.results import Evaluation, PoseErrors
from diffpose.platform.evaluation.uncertainty_measures import PoseUncertainty

DECILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
Value: TypeAlias = float | int | bool | None
# errors, uncertainty: tables of an evaluation, printed and in the report.  ablation: kept of every
# run of an ablation; ablation table: a column there.  comparison: a column; differences: compared
# pose by pose, with intervals.
Place: TypeAlias = Literal[
    "errors", "uncertainty", "ablation", "ablation table", "comparison", "differences"
]


@dataclass(frozen=True)
class OnPoses:
    """One method on all poses of an evaluation.

    Attributes:
        errors: pose by pose.
        truth_mm: (n, 17, 3).
        hidden: (n, 17), as in Evaluation.
        stretches: (k,), lengths of the stretches of frames that follow each other.
    """

    errors: PoseErrors
    truth_mm: NDArray[np.float32]
    hidden: NDArray[np.int8]
    stretches: NDArray[np.int64]


@dataclass(frozen=True)
class Figure:
    """A figure of a method.

    Attributes:
        key: in evaluation.json.
        name: in words, at the head of a column.
        unit: mm, %, or nothing.
        of: how it is computed; None where the method has no such thing.
        shown: where it is shown.
        digits: after the point, in printed tables.
        best: which value is the better one, None: neither.
        before_after: KEY_before and KEY_after are there too: before and after recalibration.
        per_pose: its values (n,) in poses.parquet, NAME/KEY.
    """

    key: str
    name: str
    unit: str
    of: Callable[[OnPoses], Value]
    shown: frozenset[Place] = frozenset()
    digits: int = 2
    best: Literal["lowest"] | None = "lowest"
    before_after: bool = False
    per_pose: Callable[[PoseErrors], NDArray[np.floating]] | None = None

    @property
    def head(self) -> str:
        """Return the head of its column."""
        return f"{self.name} {self.unit}".strip()

    @property
    def factor(self) -> float:
        """Return by what a value is multiplied to be in its unit."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def plain(self) -> Figure:
        """Return the figure of what the method answers alone, without before and after."""
        return replace(self, before_after=False)

    def in_unit(self, figures: Mapping[str, Any], suffix: str = "") -> float:
        """Return the value out of a method's figures, in its unit; NaN where there is none."""
        value = figures.get(self.key + suffix)
        return math.nan if value is None else self.factor * float(value)

    def text(self, figures: Mapping[str, Any], digits: int | None = None) -> str:
        """Return a cell of a table: a dash where there is none, before -> after where asked for."""
        suffixes = ("_before", "_after") if self.before_after else ("",)
        values = [self.in_unit(figures, suffix) for suffix in suffixes]
        places = self.digits if digits is None else digits
        return " -> ".join("-" if math.isnan(v) else f"{v:.{places}f}" for v in values)


def figures_of(evaluation: Evaluation, name: str) -> dict[str, Value]:
    """Return all figures of a method."""
    on = OnPoses(
        evaluation.methods[name], evaluation.truth_mm, evaluation.hidden, evaluation.stretches
    )
    return {figure.key: figure.of(on) for figure in FIGURES}


def shown_in(place: Place) -> list[Figure]:
    """Return the figures that stand in a place, in order."""
    return [figure for figure in FIGURES if place in figure.shown]


def per_joint_coverage(measured: PoseUncertainty) -> dict[str, list[float | None]]:
    """Return the share of truths within the answered ellipsoids: level in % -> joint, root None."""
    return {
        f"{round(100 * level)}": [
            None, *(known(coverage(measured.level[:, j], level)) for j in MOVING)
        ]
        for level in LEVELS
    }  # fmt: skip


def known(value: float) -> float | None:
    """Return a finite value, else None."""
    return value if math.isfinite(value) else None


def _mean(values: NDArray[np.floating]) -> float | None:
    """Return the mean, or None where a part is NaN or infinite (all are, or none)."""
    return known(float(values.mean(dtype=np.float64)))


def _errors(on: OnPoses, of: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]) -> float:
    return float(of(on.errors.pose_mm, on.truth_mm).mean())


def _mpjve(on: OnPoses) -> float | None:
    if not (on.stretches > 1).any():
        return None
    return mpjve(on.errors.pose_mm, on.truth_mm, on.stretches)


def _where(hidden: bool) -> Callable[[OnPoses], float | None]:
    """Return the mean error of the joints, the root left out, that are hidden, or in sight."""

    def mean(on: OnPoses) -> float | None:
        these = on.errors.joint_mm[:, MOVING][on.hidden[:, MOVING] == int(hidden)]
        return float(these.mean()) if len(these) else None

    return mean


def _hidden_share(on: OnPoses) -> float | None:
    known = on.hidden[:, MOVING][on.hidden[:, MOVING] >= 0]
    return float(known.mean()) if len(known) else None


def _hidden_coverage(level: float) -> Callable[[OnPoses], float | None]:
    def share(on: OnPoses) -> float | None:
        levels = on.errors.uncertainty.level[:, MOVING]
        return known(coverage(levels[on.hidden[:, MOVING] == 1], level))

    return share


def _bone_std(on: OnPoses) -> float | None:
    """Return how much bones change within a stretch of frames; a person's do not change at all."""
    long = np.repeat(on.stretches > 1, on.stretches)
    lengths = bone_lengths(on.errors.pose_mm[long])
    sizes = on.stretches[on.stretches > 1]
    if not len(sizes):
        return None
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def means(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.add.reduceat(values, starts, axis=0) / sizes[:, None]

    # differences, not squares: the mean of squares less the square of means loses digits
    variance = means((lengths - np.repeat(means(lengths), sizes, axis=0)) ** 2)
    return float(np.average(np.sqrt(variance).mean(axis=1), weights=sizes))


def _bone_error(on: OnPoses) -> float:
    return float(np.abs(bone_lengths(on.errors.pose_mm) - bone_lengths(on.truth_mm)).mean())


def _rms_spread(on: OnPoses) -> float | None:
    measured = on.errors.uncertainty
    n = int(measured.n_hypotheses[0])
    variance = _mean(measured.sample_mm2[:, MOVING][..., [0, 3, 5]].sum(axis=-1))
    # as std_mm: over the N hypotheses, not N - 1
    return None if variance is None else math.sqrt(variance * (n - 1) / n)


def _of_joints(part: str) -> Callable[[OnPoses], float | None]:
    """Return the mean of a part of PoseUncertainty over poses and the 16 joints but the root."""
    return lambda on: _mean(getattr(on.errors.uncertainty, part)[:, MOVING])


def _of_poses(part: str) -> Callable[[OnPoses], float | None]:
    return lambda on: _mean(getattr(on.errors.uncertainty, part))


def _claims(
    key: str, name: str, unit: str, of: Callable[[PoseUncertainty, str], float | None]
) -> tuple[Figure, ...]:
    """Return a figure of what is claimed, and the same before and after recalibration.

    The figure itself is that of what the method answers: recalibrated where that was fitted.

    Args:
        key, name, unit: of the figure.
        of: from the measures and "before" or "after".
    """

    def answered(on: OnPoses) -> float | None:
        return of(on.errors.uncertainty, on.errors.uncertainty.answered)

    places: frozenset[Place] = frozenset({"uncertainty", "ablation", "comparison"})
    if unit == "%":
        places |= {"ablation table"}

    def before(on: OnPoses) -> float | None:
        return of(on.errors.uncertainty, "before")

    def after(on: OnPoses) -> float | None:
        return of(on.errors.uncertainty, "after")

    return (
        Figure(key, name, unit, answered, places, 1, None, before_after=True),
        Figure(f"{key}_before", f"{name}, before", unit, before),
        Figure(f"{key}_after", f"{name}, after", unit, after),
    )


def _coverage(level: float) -> tuple[Figure, ...]:
    percent = round(100 * level)

    def share(measured: PoseUncertainty, when: str) -> float | None:
        return known(coverage(getattr(measured, f"level_{when}")[:, MOVING], level))

    return _claims(f"coverage{percent}", f"{percent} % hold", "%", share)


def _calibration_error(measured: PoseUncertainty, when: str) -> float | None:
    levels = getattr(measured, f"level_{when}")[:, MOVING]
    return known(float(np.mean([abs(coverage(levels, level) - level) for level in DECILES])))


def _sharpness(measured: PoseUncertainty, when: str) -> float | None:
    return _mean(getattr(measured, f"size_{when}_mm")[:, MOVING])


_ERRORS: frozenset[Place] = frozenset({"errors", "ablation"})
_MAIN: frozenset[Place] = _ERRORS | {"ablation table", "comparison", "differences"}
_SCORE: frozenset[Place] = frozenset({"uncertainty", "ablation"})

FIGURES: tuple[Figure, ...] = (
    Figure(
        "mpjpe_mm", "MPJPE", "mm", lambda on: float(on.errors.mpjpe_mm.mean()), _MAIN,
        per_pose=lambda errors: errors.mpjpe_mm,
    ),
    Figure(
        "p_mpjpe_mm", "P-MPJPE", "mm", lambda on: float(on.errors.p_mpjpe_mm.mean()), _MAIN,
        per_pose=lambda errors: errors.p_mpjpe_mm,
    ),
    Figure(
        "mpjpe_16_mm", "MPJPE without root", "mm",
        lambda on: float(on.errors.joint_mm[:, MOVING].mean()),
    ),
    Figure("n_mpjpe_mm", "N-MPJPE", "mm", lambda on: _errors(on, n_mpjpe), _ERRORS),
    Figure("mpjve_mm_per_frame", "MPJVE", "mm", _mpjve, frozenset({"errors"})),
    Figure("bone_length_std_mm", "bones vary", "mm", _bone_std, _ERRORS),
    Figure("bone_length_error_mm", "bones' error", "mm", _bone_error),
    Figure("hidden_joints_mm", "hidden joints", "mm", _where(hidden=True), _ERRORS),
    Figure("joints_in_sight_mm", "joints in sight", "mm", _where(hidden=False)),
    Figure("hidden_joints_share", "hidden", "%", _hidden_share, best=None),
    Figure(
        "n_hypotheses", "N", "", lambda on: int(on.errors.uncertainty.n_hypotheses[0]), best=None
    ),
    Figure(
        "calibrated", "recalibrated", "", lambda on: bool(on.errors.uncertainty.calibrated.all()),
        best=None,
    ),
    *(figure for level in LEVELS for figure in _coverage(level)),
    # ECE: mean difference between claimed and found share of truths, over 10 %, 20 % .. 90 %
    *_claims("calibration_error", "calibration error", "%", _calibration_error),
    *(
        Figure(
            f"hidden_coverage{round(100 * level)}", f"{round(100 * level)} % hold, hidden joints",
            "%", _hidden_coverage(level), digits=1, best=None,
        )
        for level in LEVELS
    ),
    *_claims("sharpness_mm", "50 % size", "mm", _sharpness),
    Figure("rms_spread_mm", "spread of the hypotheses", "mm", _rms_spread),
    Figure(
        "energy_score_mm", "energy score", "mm", _of_joints("energy_mm"),
        _SCORE | {"ablation table", "comparison"}, 1,
        per_pose=lambda errors: errors.uncertainty.energy_mm[:, MOVING].mean(axis=1),
    ),
    Figure(
        "energy_score_pose_mm", "energy score of whole poses", "mm", _of_poses("energy_pose_mm")
    ),
    Figure(
        "gaussian_energy_score_mm", "as Gaussian", "mm", _of_joints("gaussian_energy_mm"), _SCORE, 1
    ),
    Figure(
        "gaussian_energy_score_pose_mm", "as Gaussian, of whole poses", "mm",
        _of_poses("gaussian_energy_pose_mm"),
    ),
    Figure(
        "oracle_best_of_n_mpjpe_mm", "oracle best of N", "mm", _of_poses("oracle_mm"), _SCORE, 1,
        per_pose=lambda errors: errors.uncertainty.oracle_mm,
    ),
)  # fmt: skip
