"""Checkpoints: equal outputs after loading; damaged, missing and mixed-up parts are explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import diffpose
from diffpose.model.lifting.lifter import DiffusionLifter
from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.mixtures.gaussian_mixture import MixtureSpec
from diffpose.model.networks.denoiser import Denoiser, DenoiserConfig
from diffpose.model.networks.graformer import Graformer, GraformerConfig
from diffpose.model.observations.initial_distribution import EncoderDepth, HistogramDepth
from diffpose.platform.base.errors import RunError
from diffpose.platform.base.storage import join, read_json, write_json
from diffpose.platform.runs import model_files as cp
from diffpose.platform.runs.load import load_run

ENCODER = GraformerConfig(width=8, n_blocks=1, n_heads=2, dropout=0.5)
DENOISER = DenoiserConfig(width=8, n_blocks=1, n_heads=2, n_steps=10, dropout=0.5)
SIGMA = torch.linspace(0.1, 90, 17)


def randomised(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return network.eval()


def save_encoder(run: str, seed: int = 0, config: GraformerConfig = ENCODER) -> Graformer:
    encoder = randomised(Graformer(config), seed)
    description = {"architecture": config.model_dump(), "depth_sigma_mm": SIGMA.tolist()}
    cp.save_model(join(run, "encoder"), "context_encoder", encoder.state_dict(), description)
    return encoder


def save_denoiser(run: str, seed: int = 1, **changes: Any) -> Denoiser:
    denoiser = randomised(Denoiser(DENOISER, ENCODER.width), seed)
    description = {
        "architecture": DENOISER.model_dump(),
        "context_width": ENCODER.width,
        "encoder_digest": cp.encoder_digest(join(run, "encoder")),
        "depth": cp.depth_to_json(EncoderDepth(SIGMA)),
        "mixture_spec": MixtureSpec(n_kernels=3).model_dump(),
        "sampling": SamplingSettings(n_hypotheses=7).model_dump(),
        **changes,
    }
    cp.save_model(join(run, "denoiser"), "denoiser", denoiser.state_dict(), description)
    return denoiser


@pytest.fixture
def run(tmp_path: Path) -> str:
    folder = str(tmp_path / "run")
    save_encoder(folder)
    save_denoiser(folder)
    return folder


def explanation(load, *arguments: str) -> str:
    with pytest.raises(RunError) as caught:
        load(*arguments)
    return str(caught.value)


def test_encoder_round_trip(run: str) -> None:
    saved = save_encoder(run, seed=5)
    loaded, config = cp.load_encoder(join(run, "encoder"))
    rays = torch.randn(3, 17, 2)
    for ours, theirs in zip(saved(rays), loaded(rays), strict=True):
        assert torch.equal(ours, theirs)
    assert loaded.config == ENCODER
    assert not loaded.training
    assert config["kind"] == "context_encoder"
    assert config["code_version"] == diffpose.__version__
    assert config["torch_version"] == torch.__version__


def test_denoiser_round_trip(run: str) -> None:
    saved = save_denoiser(run, seed=5)
    loaded, config = cp.load_denoiser(join(run, "denoiser"))
    inputs = torch.randn(2, 17, 3), torch.randn(2, 17, 8), torch.randn(2, 17, 9)
    k = torch.tensor([3, 10])
    assert torch.equal(saved(*inputs, k), loaded(*inputs, k))
    assert saved(*inputs, k).abs().max() > 0.01
    assert loaded.config == DENOISER
    assert not loaded.training
    assert config["context_width"] == 8


def test_the_whole_run(run: str) -> None:
    loaded = load_run(run)
    lifter, sampling, config = loaded.lifter, loaded.sampling, loaded.config
    assert isinstance(lifter, DiffusionLifter)
    assert sampling.n_hypotheses == 7
    assert config["kind"] == "denoiser"
    assert config["mixture_spec"]["n_kernels"] == 3
    encoder, _ = cp.load_encoder(join(run, "encoder"))
    rays = torch.randn(1, 17, 2)
    assert torch.equal(lifter.encoder(rays)[1], encoder(rays)[1])


@pytest.mark.parametrize("load", [cp.load_encoder, cp.load_denoiser, cp.encoder_digest])
def test_missing_model(tmp_path: Path, load) -> None:
    uri = str(tmp_path / "none")
    assert not cp.has_model(uri)
    text = explanation(load, uri)
    kind = "denoiser" if load is cp.load_denoiser else "context_encoder"
    assert f"There is no trained {kind} at {uri!r} (config.json is missing)" in text
    assert "diffpose train --config configs/train/frame_cpu.yaml" in text


def test_missing_part_of_a_run(tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    save_encoder(folder)
    text = explanation(load_run, folder)
    assert f"no trained denoiser at {join(folder, 'denoiser')!r}" in text


def test_wrong_kind(run: str) -> None:
    text = explanation(cp.load_encoder, join(run, "denoiser"))
    assert join(run, "denoiser", "config.json") in text
    assert "kind 'denoiser' in format 1; expected kind 'context_encoder' in format 1" in text
    assert "Give the run directory" in text


def test_another_format(run: str) -> None:
    config = join(run, "encoder", "config.json")
    write_json(config, {**read_json(config), "format": 9})
    assert "in format 9; expected kind 'context_encoder' in format 1" in explanation(load_run, run)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00"])
def test_damaged_config(run: str, content: bytes) -> None:
    Path(run, "encoder", "config.json").write_bytes(content)
    text = explanation(load_run, run)
    assert f"{join(run, 'encoder', 'config.json')} is damaged" in text
    assert "Train this model again" in text


@pytest.mark.parametrize("damage", ["empty", "cut", "scrambled"])
@pytest.mark.parametrize("part", ["encoder", "denoiser"])
def test_damaged_weights(run: str, part: str, damage: str) -> None:
    path = Path(run, part, "weights.safetensors")
    data = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": data[:-10], "scrambled": b"\xff" * len(data)}[damage])
    if part == "encoder":
        text = explanation(cp.load_encoder, join(run, part))
    else:
        text = explanation(load_run, run)
    assert f"{path} does not fit its config or is damaged" in text
    assert "Train this model again" in text


def test_weights_of_another_size(run: str) -> None:
    other = randomised(Graformer(ENCODER.model_copy(update={"width": 16})), 0)
    cp.save_model(
        join(run, "encoder"),
        "context_encoder",
        other.state_dict(),
        {"architecture": ENCODER.model_dump()},
    )
    text = explanation(cp.load_encoder, join(run, "encoder"))
    assert "does not fit its config" in text
    assert "size mismatch" in text
    assert "Train this model again" in text


@pytest.mark.parametrize("load", [cp.load_encoder, cp.encoder_digest])
def test_config_without_weights(run: str, load) -> None:
    path = Path(run, "encoder", "weights.safetensors")
    path.unlink()
    text = explanation(load, join(run, "encoder"))
    assert f"{path} is missing beside its config" in text
    assert "Train this model again" in text


def test_the_config_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(uri: str, value: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cp, "write_json", crash)
    with pytest.raises(KeyboardInterrupt):
        save_encoder(str(tmp_path))
    assert (tmp_path / "encoder" / "weights.safetensors").is_file()
    assert not cp.has_model(str(tmp_path / "encoder"))


def test_encoder_and_denoiser_of_different_runs(run: str) -> None:
    old = cp.encoder_digest(join(run, "encoder"))
    save_encoder(run, seed=99)
    new = cp.encoder_digest(join(run, "encoder"))
    assert old != new
    text = explanation(load_run, run)
    assert repr(run) in text
    assert f"trained with encoder {old}" in text
    assert f"the encoder beside it is {new}" in text
    assert "Train the denoiser again (stage=denoiser" in text
    save_encoder(run, seed=0)
    assert cp.encoder_digest(join(run, "encoder")) == old
    load_run(run)


def test_encoder_depth_round_trip(tmp_path: Path) -> None:
    uri = str(tmp_path / "depth.json")
    write_json(uri, cp.depth_to_json(EncoderDepth(SIGMA)))
    read = cp.depth_from_json(read_json(uri))
    assert isinstance(read, EncoderDepth)
    assert read.sigma_mm.dtype == torch.float32
    assert torch.equal(read.sigma_mm, SIGMA)


def test_histogram_depth_round_trip(tmp_path: Path) -> None:
    poses = np.random.default_rng(0).normal(0, 200, (50, 17, 3))
    depth = HistogramDepth.from_poses(poses, n_bins=6)
    uri = str(tmp_path / "depth.json")
    write_json(uri, cp.depth_to_json(depth))
    read = cp.depth_from_json(read_json(uri))
    assert isinstance(read, HistogramDepth)
    assert torch.equal(read.edges_mm, depth.edges_mm)
    assert torch.equal(read.counts, depth.counts)
    bridge = torch.zeros(2, 17, 3)
    seeds = np.arange(2, dtype=np.uint64)
    draws = [part.sample(bridge, 5, seeds) for part in (depth, read)]
    np.testing.assert_array_equal(*draws)


def test_unknown_depth_prior() -> None:
    with pytest.raises(TypeError, match="Unknown depth prior str"):
        cp.depth_to_json("flat")  # type: ignore[arg-type]
