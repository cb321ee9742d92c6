"""What the figures of an evaluation are, and those that a data set's own protocol adds."""

from __future__ import annotations

from typing import Any

from diffpose.model.metrics.protocols import H36M_OF_MPI, mpi_figures
from diffpose.platform.evaluation.results import Evaluation

MPI_PROTOCOL = (
    "MPI-INF-3DHP: PCK strictly below 150 mm and AUC over 0, 5 .. 150 mm (31 thresholds), both in "
    "% over 14 joints (without pelvis, spine, head); MPJPE mm over all 17; valid frames"
)

_ROOTS = {
    "subtracted": "the predicted root is subtracted and counts with error 0",
    "predicted": "the predicted root is left in and its error counts",
}


def protocol(root: str = "subtracted") -> str:
    """Say in words what the figures of every evaluation are; ``root`` as in SamplingSettings."""
    return (
        f"root-relative, camera frame, mm; all 17 joints ({_ROOTS[root]}; mpjpe_16_mm leaves it "
        "out); plain mean over all poses of the split; P-MPJPE after similarity alignment per "
        "pose, N-MPJPE after the best scale; MPJVE mm per frame within clips; pose = mean of the "
        "hypotheses"
    )


def protocol_figures(
    dataset: dict[str, Any], evaluation: Evaluation, name: str
) -> dict[str, Any] | None:
    """Return the figures of one method by its data set's protocol.

    Args:
        dataset: what the store says of the data set it was made from (attribute ``dataset``).
        evaluation: errors of all methods; its actions are the data set's sequences.
        name: of the method.

    Returns:
        for MPI-INF-3DHP ``protocol``, ``poses`` (univ_annot3 or annot3) and ``sequences``: PCK,
        AUC, MPJPE and frames of each, "pooled" and "mean of sequences". None for others.
    """
    if dataset.get("name") != "mpi_inf_3dhp":
        return None
    order = list(H36M_OF_MPI)
    predicted, truth = evaluation.methods[name].pose_mm[:, order], evaluation.truth_mm[:, order]
    own = {
        sequence: (predicted[chosen], truth[chosen])
        for sequence in sorted(set(evaluation.actions.tolist()))
        if (chosen := evaluation.actions == sequence).any()
    }
    return {
        "protocol": f"{MPI_PROTOCOL}; poses: {dataset['poses']}",
        "poses": dataset["poses"],
        "sequences": mpi_figures(own),
    }
