"""What g predicts, a class each: its skip, its target, the step that its answer leads to.

A further one is a class here and its name in `ParametrisationName`; no other module asks for names.
Notation: diffusion/process.py.
"""

from __future__ import annotations

from typing import Literal, Protocol, get_args

from torch import Tensor

from diffpose.model.diffusion.process import diffuse, towards_clean_pose

ParametrisationName = Literal["next_on_grid", "clean_pose"]


class Parametrisation(Protocol):
    """How the network's output is made, learnt and used."""

    needs_kernel_mean: bool
    """Whether a step needs the mean of the very kernel that h_K was drawn from."""
    estimates_clean_pose: bool
    """Whether the output of every step is an estimate of h_0."""

    def skip(self, h_k: Tensor, blend: Tensor, context_pose: Tensor) -> Tensor:
        """Return what the network's change is added to.

        Args:
            h_k: (B, J, 3).
            blend: alpha_k h_k + (1 - alpha_k) context pose.
            context_pose: the context encoder's, in the space of h.
        """
        ...

    def target(self, h0: Tensor, mu: Tensor, epsilon: Tensor, alpha_next: Tensor) -> Tensor:
        """Return what the output at h_k should be; ``alpha_next`` is that of the next visited k."""
        ...

    def step(
        self, h_k: Tensor, output: Tensor, mu: Tensor, alpha: Tensor, alpha_next: Tensor
    ) -> Tensor:
        """Return h at the next visited step."""
        ...


class NextOnGrid:
    """g predicts the next visited h, with the noise of h_k (eq. 8 and 9 on the DDIM grid)."""

    needs_kernel_mean = False
    estimates_clean_pose = False

    def skip(self, h_k: Tensor, blend: Tensor, context_pose: Tensor) -> Tensor:  # noqa: ARG002
        """Return h_k."""
        return h_k

    def target(self, h0: Tensor, mu: Tensor, epsilon: Tensor, alpha_next: Tensor) -> Tensor:
        """Return h at the next visited step (eq. 7)."""
        return diffuse(h0, mu, epsilon, alpha_next)

    def step(
        self,
        h_k: Tensor,  # noqa: ARG002
        output: Tensor,
        mu: Tensor,  # noqa: ARG002
        alpha: Tensor,  # noqa: ARG002
        alpha_next: Tensor,  # noqa: ARG002
    ) -> Tensor:
        """Return the output."""
        return output


class CleanPose:
    """g predicts h_0 at every step; the noise that h_k carries follows from eq. 7 (DDIM)."""

    needs_kernel_mean = True
    estimates_clean_pose = True

    def skip(self, h_k: Tensor, blend: Tensor, context_pose: Tensor) -> Tensor:  # noqa: ARG002
        """Return the blend: the context pose at alpha ~ 0, h_k at alpha ~ 1."""
        return blend

    def target(
        self,
        h0: Tensor,
        mu: Tensor,  # noqa: ARG002
        epsilon: Tensor,  # noqa: ARG002
        alpha_next: Tensor,  # noqa: ARG002
    ) -> Tensor:
        """Return h_0."""
        return h0

    def step(
        self, h_k: Tensor, output: Tensor, mu: Tensor, alpha: Tensor, alpha_next: Tensor
    ) -> Tensor:
        """Return h with the noise of h_k and the estimated h_0, at the next alpha."""
        return towards_clean_pose(h_k, output, mu, alpha, alpha_next)


class SingleStep(CleanPose):
    """No diffusion (the paper's Baseline A): h_0 in one step, as a change of the context pose."""

    needs_kernel_mean = False
    estimates_clean_pose = False  # one answer alone: nothing to hold the mean of

    def skip(self, h_k: Tensor, blend: Tensor, context_pose: Tensor) -> Tensor:  # noqa: ARG002
        """Return the context pose."""
        return context_pose


SINGLE_STEP = SingleStep()
PARAMETRISATIONS: dict[ParametrisationName, Parametrisation] = {
    "next_on_grid": NextOnGrid(),
    "clean_pose": CleanPose(),
}
assert set(PARAMETRISATIONS) == set(get_args(ParametrisationName))
