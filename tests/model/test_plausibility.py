"""Whether observations of one person hold together."""

from __future__ import annotations

import numpy as np
import pytest

from diffpose.model.observations.plausibility import (
    LEAST_CONFIDENCE,
    MOST_BONES,
    MOST_SPEED,
    plausibility,
)

T = 40
TIMES = np.arange(T) / 30.0
CROPS = np.tile([100.0, 50.0, 10.0, 10.0], (T, 1))  # a person 512 px tall
BODY = np.random.default_rng(0).uniform(100, 500, (17, 2))
SURE = np.full((T, 17), 0.9)


def test_a_body_that_moves_as_a_whole_holds_together() -> None:
    drift = np.linspace(0, 100, T)[:, None, None]
    found = plausibility(BODY + drift, SURE, CROPS + drift[:, 0] * [1, 1, 0, 0], TIMES)
    assert found.confidence == pytest.approx(0.9)
    assert found.bones == 0
    # 100 px both ways in 39 frames of a thirtieth of a second
    assert found.boxes == pytest.approx(100 * np.sqrt(2) / 512 / (39 / 30), rel=1e-6)
    assert found.doubts() == []


def test_joints_that_leap_are_told_with_figure_and_limit() -> None:
    leaping = BODY + np.random.default_rng(1).normal(0, 150, (T, 17, 2))
    found = plausibility(leaping, np.full((T, 17), 0.3), CROPS, TIMES)
    assert found.bones > MOST_BONES
    told = found.doubts()
    assert len(told) == 2
    assert "0.30" in told[0]
    assert f"{LEAST_CONFIDENCE:g}" in told[0]
    assert f"{MOST_BONES:.0%}" in told[1]


def test_a_box_that_jumps_between_people_is_told() -> None:
    crops = CROPS.copy()
    crops[::4, 0] += 600
    found = plausibility(BODY + np.zeros((T, 1, 1)), SURE, crops, TIMES)
    assert found.boxes > MOST_SPEED
    assert len(found.doubts()) == 1


def test_bones_seen_end_on_and_frames_far_apart_say_nothing() -> None:
    end_on = BODY[:1] + np.random.default_rng(2).normal(0, 4, (T, 17, 2))
    assert np.isnan(plausibility(end_on, SURE, CROPS, TIMES).bones)
    leaping = BODY + np.random.default_rng(1).normal(0, 150, (T, 17, 2))
    far = plausibility(leaping, SURE, CROPS, np.arange(T) * 1.0)
    assert np.isnan(far.bones)
    assert np.isnan(far.boxes)
    assert far.doubts() == []


def test_one_frame_can_be_judged_by_its_confidence_alone() -> None:
    found = plausibility(BODY[None], SURE[:1] / 9, CROPS[:1], TIMES[:1])
    assert found.confidence == pytest.approx(0.1)
    assert len(found.doubts()) == 1
