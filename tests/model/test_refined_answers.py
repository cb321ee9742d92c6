"""Answers that the lifter refines: as sequences, in parts, with their spread."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from untrained import make_lifter, observations, seeds

from diffpose.model.lifting.prediction import Lifted
from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.observations.initial_distribution import take_rows
from diffpose.model.uncertainty.covariances import N_VALUES


def test_refined_answers_are_moved_as_one_sequence_and_keep_their_spread() -> None:
    lifter, seen = make_lifter(), observations()
    free = SamplingSettings(n_hypotheses=3)
    plain = lifter.lift(seen, free, seeds())
    clip = free.model_copy(update={"refine": "clip"})
    with pytest.raises(ValueError, match="refine=clip needs the errors"):
        lifter.lift(seen, clip, seeds())
    lifter.errors_mm2 = np.eye(N_VALUES) * 200.0**2  # it is not trained
    refined = lifter.lift(seen, clip, seeds())
    moved = refined.pose_mm - plain.pose_mm
    assert np.abs(moved).max() > 5
    np.testing.assert_allclose(refined.hypotheses_mm, plain.hypotheses_mm + moved[:, None])
    np.testing.assert_allclose(refined.trajectory_mm[-1], refined.hypotheses_mm)
    np.testing.assert_allclose(refined.std_mm, plain.std_mm)

    # the moved pose projects nearer to what was detected
    def off(pose_mm: NDArray[np.float32]) -> float:
        rays = seen.detections().rays
        root = seen.detections().translation_mm(torch.from_numpy(pose_mm))
        at = torch.from_numpy(pose_mm) + root[:, None]
        return float((at[..., :2] / at[..., 2:] - rays).norm(dim=-1).mean())

    assert off(refined.pose_mm) < 0.7 * off(plain.pose_mm)
    # lifted in parts and refined at the end: the same
    parts = [
        lifter.lift(take_rows(seen, slice(a, b)), free, seeds(b - a, a)).ended()
        for a, b in ((0, 2), (2, 5))
    ]
    joined = lifter.refined(Lifted.joined(parts), seen.detections(), clip)
    np.testing.assert_allclose(joined.pose_mm, refined.pose_mm, atol=0.05)
    # sequences do not know each other's bones, frames are alone
    alone = lifter.lift(take_rows(seen, slice(2, 5)), clip, seeds(3, 2))
    together = lifter.lift(seen, clip, seeds(), lengths=[2, 3])
    np.testing.assert_allclose(together.pose_mm[2:], alone.pose_mm, atol=0.05)
    assert np.abs(together.pose_mm - refined.pose_mm).max() > 0.5
    frame = clip.model_copy(update={"refine": "frame"})
    one = lifter.lift(take_rows(seen, slice(3, 4)), frame, seeds(1, 3))
    np.testing.assert_allclose(
        lifter.lift(seen, frame, seeds()).pose_mm[3], one.pose_mm[0], atol=0.05
    )
