"""How hypotheses are drawn and walked back."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from pydantic import BaseModel, Field, model_validator
from torch import Tensor

from diffpose.model.uncertainty.covariances import Draws

# Whether, and over what, the answer is moved by map_refinement.
Refine: TypeAlias = Literal["none", "frame", "clip"]
# Whether, and by which frames, the answer is smoothed over time.
Smooth: TypeAlias = Literal["none", "clip", "causal"]


class SamplingSettings(BaseModel, frozen=True, extra="forbid"):
    """How hypotheses are drawn and walked back."""

    n_hypotheses: int = Field(5, ge=1, le=1000, description="N")
    temperature: float = Field(
        1.0,
        ge=0,
        le=4,
        description="1: start from draws of H_K (the paper); 0: from its mean (with start=mixture: "
        "from the drawn kernels' means); between: shrunk",
    )
    start: Literal["heatmap", "mixture"] = Field(
        "heatmap",
        description="heatmap: draw from H_K itself; mixture: from the mixture fitted to it "
        "(always so for clean_pose with several kernels: it needs the drawn one's mean)",
    )
    centred: bool = Field(
        False,
        description="shift and scale the N draws of a frame so that their mean is H_K's and their "
        "spread stays: less noise in the mean of few hypotheses",
    )
    held_mean: bool = Field(
        False,
        description="clean_pose: shift the N estimates of h_0 at every step so that their mean "
        "stays that of the first step, as conditional expectations must",
    )
    refine: Refine = Field(
        "none",
        description="move the mean to where heatmaps and bone lengths want it, given the errors "
        "that the run makes on known poses (map_refinement.py). frame: left and right bones are as "
        "long; clip: and the same over the whole sequence, which must be of one person",
    )
    smooth: Smooth = Field(
        "none",
        description="smooth the poses over time, after refine, by their covariances and by how "
        "people move (smoothing.py). clip: by all frames of a sequence, bones of one length "
        "throughout; causal: each frame, and its bones, by those up to it, as in a stream",
    )
    root: Literal["subtracted", "predicted"] = Field(
        "subtracted",
        description="subtracted: what the networks say of the root joint is taken off, it is 0 "
        "(DiffPose's evaluation); predicted: left in, so that its error counts (MixSTE's)",
    )
    mirror: bool = Field(
        False, description="lift the mirrored frame as well and take the mean (flip augmentation)"
    )

    @property
    def draws(self) -> Draws:
        """Return how the hypotheses of a frame hang together: what estimators must know.

        Of clean_pose with several kernels, which starts from the mixture whatever ``start`` says,
        centring is partial as well; the released recipes have one kernel there.
        """
        if self.centred:
            return "partly centred" if self.start == "mixture" else "centred"
        return "held" if self.held_mean else "independent"

    @model_validator(mode="after")
    def _refined_poses_have_their_root_at_0(self) -> SamplingSettings:
        if self.refine != "none" and self.root == "predicted":
            raise ValueError(
                f"refine={self.refine} moves poses whose root is 0; take root=subtracted or "
                "refine=none"
            )
        if self.smooth != "none" and self.root == "predicted":
            raise ValueError(
                f"smooth={self.smooth} moves poses whose root is 0; take root=subtracted or "
                "smooth=none"
            )
        return self


def unrefined(sampling: SamplingSettings) -> SamplingSettings:
    """Return the same without refinement and smoothing."""
    return sampling.model_copy(update={"refine": "none", "smooth": "none"})


def centred(deviations: Tensor, sampling: SamplingSettings) -> Tensor:
    """Give the N deviations (B, N, J, 3) of a frame the mean 0, their variance unchanged.

    The mean of N draws varies by 1/N of their variance; what is linear of it in the walk is
    gone with it (Ripley, Stochastic Simulation, 1987, control variates).
    """
    n = deviations.shape[1]
    if not sampling.centred or n == 1:
        return deviations
    moved = deviations - deviations.mean(dim=1, keepdim=True)
    return moved * math.sqrt(n / (n - 1))
