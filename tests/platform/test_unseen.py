"""What was not detected is never more certain than where it was."""

from __future__ import annotations

import numpy as np

from diffpose.platform.prediction.unseen import covering_unseen, spread_mm


def test_unseen_joints_are_as_uncertain_as_their_neighbours_in_time() -> None:
    rng = np.random.default_rng(0)
    hypotheses = rng.normal(0, 10, (9, 5, 17, 3)).astype(np.float32)
    hypotheses[2, :, 4] *= 5  # the frame before is uncertain
    hypotheses[3:6, :, 4] *= 0.01  # and what was not seen agrees by chance
    hypotheses[7, :, 4] *= 20  # unseen, and uncertain enough
    hypotheses[:, :, 0] = 0
    seen = np.ones((9, 17), bool)
    seen[3:6, 4] = seen[7, 4] = False
    seen[:, 9] = False  # never seen
    seen[3, 0] = False  # the root has no spread
    found = covering_unseen(hypotheses, seen)
    before, after = spread_mm(hypotheses), spread_mm(found)
    wanted = max(before[2, 4], before[6, 4])
    np.testing.assert_allclose(after[3:6, 4], wanted, rtol=1e-4)
    np.testing.assert_allclose(after[7, 4], before[7, 4], rtol=1e-4)
    np.testing.assert_array_equal(found[seen.all(axis=1)], hypotheses[seen.all(axis=1)])
    np.testing.assert_array_equal(found[:, :, 9], hypotheses[:, :, 9])
    np.testing.assert_allclose(found.mean(axis=1), hypotheses.mean(axis=1), atol=1e-4)
    assert np.isfinite(found).all()


def test_at_the_ends_the_one_neighbour_counts() -> None:
    hypotheses = np.random.default_rng(1).normal(0, 10, (4, 3, 17, 3)).astype(np.float32)
    hypotheses[0] *= 0.1
    hypotheses[3] *= 0.1
    seen = np.zeros((4, 17), bool)
    seen[1:3] = True
    after = spread_mm(covering_unseen(hypotheses, seen))
    np.testing.assert_allclose(after[0], spread_mm(hypotheses)[1], rtol=1e-4)
    np.testing.assert_allclose(after[3], spread_mm(hypotheses)[2], rtol=1e-4)


def test_one_hypothesis_stays_as_it_is() -> None:
    hypotheses = np.random.default_rng(2).normal(0, 10, (4, 1, 17, 3)).astype(np.float32)
    seen = np.ones((4, 17), bool)
    seen[2] = False
    np.testing.assert_array_equal(covering_unseen(hypotheses, seen), hypotheses)
