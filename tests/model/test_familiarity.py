"""How far a pose lies from the training poses, and what that says of its errors."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from diffpose.model.uncertainty.familiarity import Familiarity, familiarity_of


def poses(n: int, seed: int, spread: float = 1.0) -> NDArray[np.float64]:
    """Poses about one stance; spread 1 is that of training."""
    rng = np.random.default_rng(seed)
    stance = np.random.default_rng(99).normal(0, 300, (17, 3))
    moved = stance + spread * rng.normal(0, 100, (n, 17, 3))
    return moved - moved[:, :1]


def test_poses_of_the_same_kind_are_usual_and_others_far() -> None:
    known = familiarity_of(poses(4000, 0)).measured_by(poses(500, 1))
    usual = known.growth(poses(500, 2))
    assert np.exp(np.log(usual).mean()) == pytest.approx(1.0, abs=0.03)
    assert usual.std() < 0.35
    further = known.growth(poses(500, 3, spread=2.0))
    assert np.median(further) > 1.3
    assert known.growth(np.random.default_rng(4).normal(0, 300, (5, 17, 3))).min() > 1.5


def test_the_distance_is_mahalanobis_and_free_of_size() -> None:
    training = poses(4000, 0)
    known, asked = familiarity_of(training), poses(20, 5)
    np.testing.assert_allclose(known.distance(3.0 * asked), known.distance(asked))
    # training poses themselves: the mean of d^2 is 1 up to the ridge
    assert (known.distance(training) ** 2).mean() == pytest.approx(1.0, abs=0.15)


def test_growth_has_limits() -> None:
    training = poses(400, 0)
    known = familiarity_of(training).measured_by(training)
    assert known.growth(training.mean(axis=0)[None])[0] >= 0.5
    assert known.growth(np.random.default_rng(0).normal(0, 5000, (50, 17, 3))).max() <= 3.0


def test_it_survives_its_file() -> None:
    known = familiarity_of(poses(400, 0)).measured_by(poses(50, 1))
    again = Familiarity.from_json(json.loads(json.dumps(known.to_json())))
    asked = poses(30, 2)
    np.testing.assert_allclose(again.growth(asked), known.growth(asked), rtol=1e-3)
    with pytest.raises(ValueError, match="familiarity of shape"):
        Familiarity.from_json({**known.to_json(), "mean": [0.0]})
