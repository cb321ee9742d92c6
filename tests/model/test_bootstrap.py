"""The cluster bootstrap against cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from diffpose.model.metrics.bootstrap import paired_difference


def test_two_clips_by_hand() -> None:
    """Clip means -1 (three poses) and +2 (one): resamples are both of one, or one of each."""
    difference, clips = np.array([-1.0, -1, -1, 2]), np.array([0, 0, 0, 1])
    found = paired_difference(difference, clips, 20_000, 0)
    assert found.mean == pytest.approx(-0.25)
    assert (found.low, found.high) == (-1.0, 2.0)  # each has probability 1/4
    assert found.sign_flips == pytest.approx(0.25, abs=0.01)
    assert found.n_clips == 2


def test_equal_methods() -> None:
    found = paired_difference(np.zeros(8), np.arange(8) // 2, 200, 0)
    assert (found.mean, found.low, found.high, found.sign_flips) == (0, 0, 0, 0.5)


def test_a_constant_difference_is_certain() -> None:
    found = paired_difference(np.full(9, -3.0), np.arange(9) // 3, 200, 0)
    assert (found.low, found.high, found.sign_flips) == (-3, -3, 0)


def test_interval_is_that_of_the_clip_means() -> None:
    """Frames that repeat their clip's value: n frames say as much as one."""
    rng = np.random.default_rng(0)
    of_clip = rng.normal(1.0, 5.0, 400)
    alone = paired_difference(of_clip, np.arange(400), 4000, 1)
    repeated = paired_difference(np.repeat(of_clip, 50), np.repeat(np.arange(400), 50), 4000, 1)
    assert repeated.low == pytest.approx(alone.low)
    assert repeated.high == pytest.approx(alone.high)
    half = 1.96 * of_clip.std() / np.sqrt(400)
    assert alone.high - alone.mean == pytest.approx(half, rel=0.08)
    assert alone.mean - alone.low == pytest.approx(half, rel=0.08)
    as_poses = paired_difference(np.repeat(of_clip, 50), np.arange(20_000), 400, 1)
    assert as_poses.high - as_poses.low < 0.25 * (repeated.high - repeated.low)


def test_clip_numbers_may_have_gaps() -> None:
    found = paired_difference(np.array([1.0, 3.0]), np.array([2, 7]), 100, 0)
    assert (found.mean, found.n_clips) == (2.0, 2)


@pytest.mark.parametrize(
    ("difference", "clips", "words"),
    [
        ([1.0, 2.0], [0, 0], "at least two clips"),
        ([1.0, np.nan], [0, 1], "finite"),
        ([], [], "one clip per pose"),
        ([1.0], [0, 1], "one clip per pose"),
    ],
)
def test_what_cannot_be_resampled_is_said(
    difference: list[float], clips: list[int], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        paired_difference(np.array(difference), np.array(clips, dtype=int), 100, 0)
