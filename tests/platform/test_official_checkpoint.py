"""Checkpoints in the released layouts: equal outputs, clear errors, no code run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from official_files import (
    FRAMES,
    SMALL,
    gcn_diff,
    gcn_pose,
    graformer,
    mixste,
    save_list,
    save_mixste,
    with_module,
)

from diffpose.benchmarks.official_layers import OfficialGcn, OfficialSizes
from diffpose.model.networks.mixste import Mixste
from diffpose.model.released.chebyshev_gcn import ChebyshevGcn
from diffpose.platform.base.errors import RunError
from diffpose.platform.runs.official_checkpoint import read_context, read_denoiser, read_state

SCREEN = torch.rand(2, FRAMES, 17, 2, generator=torch.Generator().manual_seed(5)) - 0.5
STATE = torch.cat([SCREEN[0], torch.randn(FRAMES, 17, 3, generator=torch.Generator())], dim=-1)
K = torch.tensor([0, 12, 50, 3, 3, 7])


def damaged(path: Path, change: Any) -> str:
    """Write a GCNdiff checkpoint whose state dict ``change`` altered."""
    state = with_module(gcn_diff().state_dict())
    change(state)
    torch.save([state, {}, 0, 0], path)
    return str(path)


@torch.no_grad()
@pytest.mark.parametrize("make", [gcn_pose, graformer])
def test_frame_encoders_answer_as_released(make: Any, tmp_path: Path) -> None:
    official = make()
    network = read_context(save_list(tmp_path / "gcn.pth", official), "plain", None)
    assert isinstance(network, ChebyshevGcn)
    torch.testing.assert_close(network(SCREEN[0]), official(SCREEN[0]), atol=1e-5, rtol=0)


@torch.no_grad()
def test_graformers_own_files_are_known(tmp_path: Path) -> None:
    official = graformer()
    path = tmp_path / "ckpt_best.pth.tar"
    torch.save({"epoch": 1, "lr": 1e-3, "state_dict": official.state_dict(), "error": 50.0}, path)
    network = read_context(str(path), "plain", None)
    torch.testing.assert_close(network(SCREEN[0]), official(SCREEN[0]), atol=1e-5, rtol=0)


@torch.no_grad()
def test_gcndiff_answers_as_released(tmp_path: Path) -> None:
    official, averaged = gcn_diff(1), gcn_diff(2)
    path = save_list(tmp_path / "diff.pth", official, averaged)
    plain, ema = (read_denoiser(path, w, None, 51) for w in ("plain", "ema"))
    torch.testing.assert_close(plain(STATE, K), official(STATE, K), atol=1e-5, rtol=0)
    torch.testing.assert_close(ema(STATE, K), averaged(STATE, K), atol=1e-5, rtol=0)
    assert not torch.allclose(plain(STATE, K), ema(STATE, K), atol=0.1)


@torch.no_grad()
def test_mixste_answers_as_released(tmp_path: Path) -> None:
    official = mixste()
    network = read_context(save_mixste(tmp_path / "mixste.bin", official), "plain", 4)
    assert isinstance(network, Mixste)
    assert (network.config.frames, network.config.hop) == (FRAMES, FRAMES)
    ours = network.exit(network.exit_norm(network.features(SCREEN)))
    torch.testing.assert_close(ours, official(SCREEN), atol=1e-5, rtol=0)


def test_the_released_size_is_found(tmp_path: Path) -> None:
    network = OfficialGcn(OfficialSizes(), 5, 5, "used")
    read = read_denoiser(save_list(tmp_path / "d.pth", network), "plain", None, 51)
    assert sum(p.numel() for p in read.parameters()) == 1_025_674
    assert (read.config.width, read.config.n_layers, read.config.n_heads) == (96, 5, 4)


def test_missing_and_unknown_keys_are_listed(tmp_path: Path) -> None:
    def change(state: dict[str, torch.Tensor]) -> None:
        state["module.surplus.weight"] = torch.zeros(1)
        del state["module.temb.dense.1.bias"]

    path = damaged(tmp_path / "d.pth", change)
    with pytest.raises(RunError) as caught:
        read_denoiser(path, "plain", None, 51)
    message = str(caught.value)
    assert "missing: temb.dense.1.bias" in message
    assert "unknown: surplus.weight" in message
    assert "17 joints, 5 to 5 values, width 16, 2 layers" in message


def test_wrong_shapes_are_listed_with_what_fits(tmp_path: Path) -> None:
    key = "atten_layers.1.self_attn.linears.2.weight"

    def change(state: dict[str, torch.Tensor]) -> None:
        state[f"module.{key}"] = torch.zeros(16, 24)
        state["module.gconv_output.bias"] = torch.zeros(1, 1, 3)

    with pytest.raises(RunError) as caught:
        read_denoiser(damaged(tmp_path / "d.pth", change), "plain", None, 51)
    message = str(caught.value)
    assert f"{key} (16, 24)" in message
    assert "(48, 16)" in message
    assert "gconv_output.bias (1, 1, 3) (together they should give (5,))" in message


def test_networks_in_each_others_place_are_explained(tmp_path: Path) -> None:
    diff, pose = (
        save_list(tmp_path / "d.pth", gcn_diff()),
        save_list(tmp_path / "p.pth", gcn_pose()),
    )
    with pytest.raises(RunError, match="give it as denoiser="):
        read_context(diff, "plain", None)
    with pytest.raises(RunError, match=r"missing: gconv_layers\.0\.temb_proj"):
        read_denoiser(pose, "plain", None, 51)
    with pytest.raises(RunError, match=r"lacks 'gconv_input\.weight'"):
        read_denoiser(save_mixste(tmp_path / "m.bin", mixste()), "plain", None, 51)


def test_sixteen_joints_do_not_fit(tmp_path: Path) -> None:
    sizes = OfficialSizes(width=16, n_layers=1, n_joints=16)
    path = save_list(tmp_path / "p.pth", OfficialGcn(sizes, 2, 3, "none"))
    with pytest.raises(RunError, match="graph network of 16 joints"):
        read_context(path, "plain", None)


def test_heads_must_divide_the_width(tmp_path: Path) -> None:
    path = save_list(tmp_path / "p.pth", gcn_pose())
    with pytest.raises(RunError, match=re.escape("width 16, 2 layers, which 3 heads do not")):
        read_context(path, "plain", 3)


def test_averaged_weights_must_be_there(tmp_path: Path) -> None:
    path = damaged(tmp_path / "d.pth", lambda _: None)
    with pytest.raises(RunError, match="no averaged weights"):
        read_denoiser(path, "ema", None, 51)


class Hostile:
    """Unpickling it would create a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def test_a_hostile_pickle_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "owned"
    state = with_module(gcn_pose(sizes=SMALL).state_dict())
    torch.save([state, Hostile(target)], tmp_path / "bad.pth")
    with pytest.raises(RunError, match="is refused"):
        read_context(str(tmp_path / "bad.pth"), "plain", None)
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "unknown layout: list"),
        ({"epoch": 3}, "unknown layout: a dictionary of 'epoch'"),
        ([{}], "state dict is empty"),
        ([{"a": 3}], "has other things"),
    ],
)
def test_other_layouts_are_explained(content: Any, words: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(RunError, match=words):
        read_state(str(tmp_path / "x.pth"), "plain")


def test_other_files_are_explained(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no file"):
        read_state(str(tmp_path / "none.pth"), "plain")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(RunError, match=r"cannot be read|refused"):
        read_state(str(tmp_path / "text.pth"), "plain")
    (tmp_path / "empty.pth").write_bytes(b"")
    with pytest.raises(RunError, match="cannot be read"):
        read_state(str(tmp_path / "empty.pth"), "plain")
