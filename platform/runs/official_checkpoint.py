"""Reading the checkpoints of DiffPose's authors, of GraFormer and of MixSTE.

    GCNpose, GCNdiff   list: state dict, optimiser, epoch, step, averaged (EMA) weights
    GraFormer          dict with ``state_dict``
    MixSTE             dict with ``model_pos``

Files are read with torch's restricted unpickler: a checkpoint that would run code is refused.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from diffpose.model.geometry.skeleton import N_JOINTS
from diffpose.model.networks.mixste import Mixste, MixsteConfig
from diffpose.model.released.chebyshev_gcn import ChebyshevGcn, ChebyshevGcnConfig
from diffpose.platform.base.errors import RunError
from diffpose.platform.base.storage import read_bytes
from diffpose.platform.runs.official_state import (
    UNUSED_BY_GCNPOSE,
    convert,
    gcn_sources,
    mixste_sources,
)

Weights = Literal["plain", "ema"]
State = dict[str, Tensor]


def read_context(uri: str, weights: Weights, n_heads: int | None) -> ChebyshevGcn | Mixste:
    """Read a GCNpose, GraFormer or MixSTE checkpoint.

    Args:
        uri: the file.
        weights: plain, or the averaged ones where the file has them.
        n_heads: attention heads, which no tensor tells; default 4, for MixSTE 8.

    Raises:
        RunError: it is no such checkpoint; what is wrong is listed.
    """
    official = read_state(uri, weights)
    if "Spatial_pos_embed" in official:
        return _read_mixste(uri, official, n_heads or 8)
    network = _read_gcn(uri, official, n_heads or 4, n_steps=0)
    sizes = network.config.n_in, network.config.n_out
    if sizes != (2, 3):
        raise RunError(
            f"{uri!r} holds a network from {sizes[0]} to {sizes[1]} values per joint; a context "
            "encoder goes from 2 (u, v) to 3 (x, y, z). Give a diffusion network as denoiser=."
        )
    return network


def read_denoiser(uri: str, weights: Weights, n_heads: int | None, n_steps: int) -> ChebyshevGcn:
    """Read a GCNdiff checkpoint.

    Args:
        uri: the file.
        weights: plain or averaged.
        n_heads: attention heads; default 4.
        n_steps: T of the schedule.

    Raises:
        RunError: it is no such checkpoint; what is wrong is listed.
    """
    network = _read_gcn(uri, read_state(uri, weights), n_heads or 4, n_steps)
    sizes = network.config.n_in, network.config.n_out
    if sizes != (5, 5):
        raise RunError(
            f"{uri!r} holds a network from {sizes[0]} to {sizes[1]} values per joint; the "
            "diffusion network goes from 5 (u, v, x, y, z) to 5."
        )
    return network


def read_state(uri: str, weights: Weights) -> State:
    """Return the state dict of a checkpoint, keys without ``module.``.

    Raises:
        RunError: no such file, not a checkpoint, one that would run code, or no averaged weights.
    """
    try:
        content = torch.load(io.BytesIO(read_bytes(uri)), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RunError(f"There is no file {uri!r}.") from None
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n\n")[0].split(". ")[0]
        raise RunError(
            f"{uri!r} is refused: it holds more than tensors, numbers and texts ({reason}). Only "
            "checkpoints of plain data are read; they cannot run code."
        ) from None
    except Exception as error:  # what is no such file makes the unpickler raise anything
        raise RunError(f"{uri!r} cannot be read as a PyTorch file: {error!r}") from None
    state = _averaged(uri, content) if weights == "ema" else _plain(uri, content)
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise RunError(f"{uri!r} holds no network: its state dict is empty or has other things.")
    return {key.removeprefix("module."): value for key, value in state.items()}


def _plain(uri: str, content: Any) -> Mapping[str, Any]:
    if isinstance(content, list | tuple) and content and isinstance(content[0], Mapping):
        return content[0]
    if isinstance(content, Mapping):
        for name in ("model_pos", "state_dict"):
            if isinstance(content.get(name), Mapping):
                inner: Mapping[str, Any] = content[name]
                return inner
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return content
    found = (
        f"a dictionary of {', '.join(map(repr, list(content)[:8]))}"
        if isinstance(content, Mapping)
        else f"{type(content).__name__}"
    )
    raise RunError(
        f"{uri!r} has an unknown layout: {found}. Known are a list whose item 0 is the state dict "
        "(GCNpose, GCNdiff), and dictionaries with 'model_pos' (MixSTE) or 'state_dict' "
        "(GraFormer)."
    )


def _averaged(uri: str, content: Any) -> Mapping[str, Any]:
    ends_so = isinstance(content, list | tuple) and len(content) >= 5
    if not ends_so or not isinstance(content[-1], Mapping):
        raise RunError(
            f"{uri!r} has no averaged weights (a list of five things ends with them); "
            "give weights=plain."
        )
    averaged: Mapping[str, Any] = content[-1]
    return averaged


def _read_gcn(uri: str, official: State, n_heads: int, n_steps: int) -> ChebyshevGcn:
    entry = _tensor(uri, official, "gconv_input.weight", 4)
    exit_ = _tensor(uri, official, "gconv_output.weight", 4)
    n_joints = _tensor(uri, official, "atten_layers.0.feed_forward.A_hat", 2).shape[0]
    n_layers = _count(official, "atten_layers")
    size = (
        f"graph network of {n_joints} joints, {entry.shape[2]} to {exit_.shape[3]} values, width "
        f"{entry.shape[3]}, {n_layers} layers"
    )
    if n_joints != N_JOINTS:
        raise RunError(
            f"{uri!r} holds a {size}; only Human3.6M's {N_JOINTS} joints fit the skeleton here "
            "(GraFormer's own code drops one of them)."
        )
    if entry.shape[3] % n_heads or entry.shape[3] % 4:
        raise RunError(
            f"{uri!r} holds a {size}, which {n_heads} heads do not divide; give n_heads=."
        )
    diffuses = any(".temb_proj." in key for key in official)
    if diffuses and not n_steps:
        raise RunError(
            f"{uri!r} holds a {size} with a step embedding: that is a diffusion network; give it "
            "as denoiser=."
        )
    config = ChebyshevGcnConfig(
        n_in=entry.shape[2], n_out=exit_.shape[3], width=entry.shape[3], n_layers=n_layers,
        n_heads=n_heads, n_steps=n_steps,
    )  # fmt: skip
    network = ChebyshevGcn(config)
    unused = () if n_steps else UNUSED_BY_GCNPOSE
    network.load_state_dict(convert(repr(uri), size, official, gcn_sources(config),
                                    _shapes(network), unused))  # fmt: skip
    return network.eval()


def _read_mixste(uri: str, official: State, n_heads: int) -> Mixste:
    width = _tensor(uri, official, "Spatial_pos_embed", 3).shape[2]
    frames = _tensor(uri, official, "Temporal_pos_embed", 3).shape[1]
    hidden = _tensor(uri, official, "STEblocks.0.mlp.fc1.weight", 2).shape[0]
    depth = _count(official, "STEblocks")
    size = f"MixSTE of {frames} frames, width {width}, depth {depth}"
    if width % n_heads or frames < 2:
        raise RunError(f"{uri!r} holds a {size}; {n_heads} heads do not fit it, give n_heads=.")
    # Windows follow each other without overlap, as in MixSTE's own evaluation.
    config = MixsteConfig(
        frames=frames, width=width, depth=depth, n_heads=n_heads, mlp_ratio=hidden / width,
        drop_path=0.0, inputs="rays", hop=frames,
    )  # fmt: skip
    network = Mixste(config)
    network.load_state_dict(
        convert(repr(uri), size, official, mixste_sources(config), _shapes(network))
    )
    return network.eval()


def _tensor(uri: str, official: State, key: str, n_axes: int) -> Tensor:
    """Return a tensor whose shape tells the network's size."""
    value = official.get(key)
    if value is None:
        some = ", ".join(sorted(official)[:6])
        raise RunError(
            f"{uri!r} lacks {key!r}; its {len(official)} tensors begin with {some}. GCNpose, "
            "GCNdiff, GraFormer and MixSTE can be imported."
        )
    if value.ndim != n_axes:
        raise RunError(f"{uri!r}: {key!r} has shape {tuple(value.shape)}, expected {n_axes} axes.")
    return value


def _count(official: State, prefix: str) -> int:
    """Return the number of numbered layers under a prefix."""
    numbers = {key.split(".")[1] for key in official if key.startswith(f"{prefix}.")}
    return max((int(number) + 1 for number in numbers if number.isdigit()), default=0)


def _shapes(network: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in network.state_dict().items()}
