"""Measures against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from diffpose.model.metrics.pose_errors import mpjpe
from diffpose.model.metrics.protocols import (
    AUC_THRESHOLDS_MM,
    MPI_COUNTED,
    MPI_GROUPS,
    auc,
    mpi_figures,
    mpjve,
    n_mpjpe,
    pck,
)


def test_scale_is_the_only_freedom_of_n_mpjpe() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(0, 300, (20, 17, 3))
    np.testing.assert_allclose(n_mpjpe(0.4 * target, target), 0, atol=1e-9)
    assert n_mpjpe(target + 50.0, target).min() > 10  # a shift stays
    # by hand: p = (1, 0, 0), (0, 2, 0); t = (2, 0, 0), (0, 2, 0): s = (2 + 4) / (1 + 4) = 1.2
    p = np.array([[[1.0, 0, 0], [0, 2, 0]]])
    t = np.array([[[2.0, 0, 0], [0, 2, 0]]])
    np.testing.assert_allclose(n_mpjpe(p, t), [(0.8 + 0.4) / 2])
    # the best scale in the sense of squares: no other one near is better
    noisy = target + rng.normal(0, 60, target.shape)
    size, product = (noisy**2).sum((1, 2)), (noisy * target).sum((1, 2))
    best = (((product / size)[:, None, None] * noisy - target) ** 2).sum((1, 2))
    for factor in (0.99, 1.01):
        other = (((factor * product / size)[:, None, None] * noisy - target) ** 2).sum((1, 2))
        assert (other > best).all()
    np.testing.assert_allclose(
        n_mpjpe(np.zeros((1, 17, 3)), target[:1]), mpjpe(target[:1] * 0, target[:1])
    )


def test_velocity_errors_stay_within_clips() -> None:
    target = np.zeros((5, 2, 3))
    predicted = np.zeros((5, 2, 3))
    predicted[:, :, 0] = np.array([0, 3, 6, 100, 104])[:, None]
    # within clips of 3 and 2 frames: 3, 3 and 4; across the border 94
    assert mpjve(predicted, target, np.array([3, 2])) == pytest.approx((3 + 3 + 4) / 3)
    assert mpjve(predicted, target) == pytest.approx((3 + 3 + 94 + 4) / 4)
    assert mpjve(predicted, target, np.array([1, 2, 2])) == pytest.approx((3 + 4) / 2)
    # clips without frames, first, last or between, are no borders of others
    for lengths in ([0, 5], [5, 0], [0, 0, 5, 0]):
        whole = mpjve(predicted, target, np.array(lengths))
        assert whole == pytest.approx((3 + 3 + 94 + 4) / 4)
    assert mpjve(predicted, target, np.array([3, 0, 2])) == pytest.approx((3 + 3 + 4) / 3)
    with pytest.raises(ValueError, match="no clip has that length"):
        mpjve(predicted, target, np.array([6, -1]))
    with pytest.raises(ValueError, match="add up to 4, there are 5"):
        mpjve(predicted, target, np.array([2, 2]))
    with pytest.raises(ValueError, match="at least two frames"):
        mpjve(predicted[:2], target[:2], np.array([1, 1]))


def test_pck_is_strictly_below_and_auc_has_31_thresholds() -> None:
    assert len(AUC_THRESHOLDS_MM) == 31
    target = np.zeros((1, 4, 3))
    predicted = np.zeros((1, 4, 3))
    predicted[0, :, 2] = [0.0, 149.999, 150.0, 62.0]
    assert pck(predicted, target) == 75.0
    # errors 0, 149.999, 150, 62 are below 30, 1, 0 and 18 of the thresholds 0, 5 .. 150
    assert auc(predicted, target) == pytest.approx(100 * (30 + 1 + 0 + 18) / (4 * 31))
    assert auc(target, target) == pytest.approx(100 * 30 / 31)  # never 100: nothing is below 0


def test_the_fourteen_joints_of_mpi_inf_3dhp() -> None:
    assert tuple(range(14)) == MPI_COUNTED
    assert [len(group) for group in MPI_GROUPS.values()] == [1, 1, 2, 2, 2, 2, 2, 2]


def test_both_ways_of_adding_sequences() -> None:
    target = {"TS1": np.zeros((3, 17, 3)), "TS2": np.zeros((1, 17, 3))}
    predicted = {name: values.copy() for name, values in target.items()}
    predicted["TS2"][:, :, 0] = 200.0
    predicted["TS2"][:, 14:, 0] = 0.0  # the root, spine and head count for MPJPE alone
    found = mpi_figures({name: (predicted[name], target[name]) for name in target})
    assert found["TS1"]["pck"] == 100
    assert found["TS2"]["pck"] == 0
    assert found["TS2"]["mpjpe_mm"] == pytest.approx(200 * 14 / 17)
    assert found["pooled"]["pck"] == pytest.approx(75)
    assert found["mean of sequences"]["pck"] == pytest.approx(50)
    assert found["pooled"]["mpjpe_mm"] == pytest.approx(50 * 14 / 17)
    assert found["mean of sequences"]["n_frames"] == found["pooled"]["n_frames"] == 4
