"""The one training loop, alone: a network of one weight, no store, no cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffpose.platform.base.errors import RunError
from diffpose.platform.training.checkpoints import Best, read_best, save_checkpoint
from diffpose.platform.training.loop import History, _validated, run_epoch
from diffpose.platform.training.optimiser import AveragedWeights, learning_rate
from diffpose.platform.training.settings import OptimiserSettings


class Line:
    """Learns y = 2 x; x are the batches 1, 2, 3, every epoch."""

    def __init__(self, *, broken: bool = False) -> None:
        self.name = {"stage": "line"}
        self.judged_by = "weight"
        self.network: nn.Module = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.network.weight)
        self.optimiser = OptimiserSettings(
            epochs=2, batch_size=1, learning_rate=0.1, weight_decay=0.0, ema_decay=0.5
        )
        self.batches_per_epoch, self.rows_per_epoch = 3, 3
        self.broken = broken
        self.epochs: list[int] = []

    def generator(self, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(epoch)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Tensor]:
        self.epochs.append(epoch)
        yield from (torch.tensor([[x]]) for x in (1.0, 2.0, 3.0))

    def loss(self, network: nn.Module, batch: Tensor, generator: torch.Generator) -> Tensor:
        scale = float("nan") if self.broken else 1.0
        return (scale * (network(batch) - 2 * batch) ** 2).mean()

    def validate(self) -> dict[str, Tensor]:
        assert not self.network.training
        return {"n": torch.tensor(2.0), "weight": 2 * self.network.weight.detach().sum()}

    def figures(self, means: dict[str, Tensor], n: int) -> dict[str, Any]:
        return {"n": n, **{name: float(value) for name, value in means.items()}}


def optimiser_of(line: Line) -> torch.optim.Optimizer:
    return torch.optim.AdamW(line.network.parameters(), lr=1.0, weight_decay=0.0)


def test_an_epoch_takes_every_batch_and_returns_their_mean_loss() -> None:
    line = Line()
    optimiser = optimiser_of(line)
    average = AveragedWeights(line.network, 0.5)
    seen: list[float] = []
    inner = line.loss

    def noted(network: nn.Module, batch: Tensor, generator: torch.Generator) -> Tensor:
        loss = inner(network, batch, generator)
        seen.append(float(loss.detach()))
        return loss

    line.loss = noted  # type: ignore[method-assign]
    mean = run_epoch(line, line.network, optimiser, average, 0)
    assert line.epochs == [0]
    assert seen[0] == 4.0  # (0 - 2)^2
    assert mean == pytest.approx(sum(seen) / 3)
    assert average.n_updates == 3
    assert 0 < line.network.weight.item() < 2  # it learns
    wanted = learning_rate(line.optimiser, 2, 3)  # of the last step
    assert optimiser.param_groups[0]["lr"] == pytest.approx(wanted)


def test_a_loss_that_is_no_number_ends_before_the_weights_are_touched() -> None:
    line = Line(broken=True)
    with pytest.raises(RunError, match=r"nan at step 3 \(epoch 2\).*line_training\.learning_rate"):
        run_epoch(line, line.network, optimiser_of(line), AveragedWeights(line.network, 0.5), 1)
    assert line.network.weight.item() == 0.0


def test_validation_measures_the_average_and_gives_the_weights_back() -> None:
    line = Line()
    average = AveragedWeights(line.network, 0.5)
    run_epoch(line, line.network, optimiser_of(line), average, 0)
    own = line.network.weight.item()
    (averaged,) = average.values.values()
    sums = _validated(line, average)
    assert float(sums["weight"]) == pytest.approx(2 * averaged.item())
    assert averaged.item() != own
    assert line.network.weight.item() == own


def test_history_forgets_epochs_after_the_checkpoint(tmp_path: Path) -> None:
    history = History(str(tmp_path), "line", 0, board=False)
    for epoch in (1, 2, 3):
        history.write({"epoch": epoch, "loss": 0.5})
    again = History(str(tmp_path), "line", 2, board=False)
    again.write({"epoch": 3, "loss": 0.25})
    lines = (tmp_path / "line_history.jsonl").read_text().splitlines()
    assert [json.loads(line)["loss"] for line in lines] == [0.5, 0.5, 0.25]
    assert not (tmp_path / "tensorboard").exists()


def test_checkpoints_hold_weights_average_and_optimiser(tmp_path: Path) -> None:
    line = Line()
    optimiser, average = optimiser_of(line), AveragedWeights(line.network, 0.5)
    run_epoch(line, line.network, optimiser, average, 0)
    best = Best()
    best.take({"epoch": 1, "weight": 3.0}, average, "weight")
    kept = average.values["weight"].item()
    run_epoch(line, line.network, optimiser, average, 1)
    save_checkpoint(tmp_path, line.network, optimiser, average, {"epoch": 2, "weight": 4.0}, best)
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["epoch"] == 2
    assert state["average_updates"] == 6
    metrics, weights = read_best(tmp_path)
    assert metrics == {"epoch": 1, "weight": 3.0}
    assert weights["weight"].item() == kept != average.values["weight"].item()
    names = {path.name for path in tmp_path.iterdir()}
    files = ("weights", "average", "best")
    assert names == {"state.json", "optimiser.pt", *(f"{name}.safetensors" for name in files)}
    # a checkpoint of earlier code knows its own epoch alone
    (tmp_path / "best.safetensors").unlink()
    metrics, weights = read_best(tmp_path)
    assert metrics["epoch"] == 2
    assert weights["weight"].item() == average.values["weight"].item()


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([3.0, 2.0, 2.5], 2), ([1.0, 1.0], 1), ([float("nan"), 5.0], 2), ([4.0, float("nan")], 1),
        ([float("nan")], 1),
    ],
)  # fmt: skip
def test_the_best_epoch_is_kept(values: list[float], kept: int) -> None:
    line, best = Line(), Best()
    average = AveragedWeights(line.network, 0.5)
    weights = []
    for epoch, value in enumerate(values):
        run_epoch(line, line.network, optimiser_of(line), average, epoch)
        weights.append(average.values["weight"].item())
        best.take({"epoch": epoch + 1, "weight": value}, average, "weight")
    assert best.metrics["epoch"] == kept
    assert best.weights["weight"].item() == weights[kept - 1]
