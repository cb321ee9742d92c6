"""MixSTE as published, plain: attention spelt out, frame by frame; official names."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        rows, tokens, width = x.shape
        each = width // self.n_heads
        outputs = []
        packed = self.qkv(x)
        for head in range(self.n_heads):
            query, key, value = (
                packed[..., part * width + head * each : part * width + (head + 1) * each]
                for part in range(3)
            )
            scores = torch.einsum("rid,rjd->rij", query, key) * each**-0.5
            outputs.append(torch.einsum("rij,rjd->rid", scores.softmax(dim=-1), value))
        assert outputs[0].shape == (rows, tokens, each)
        return self.proj(torch.cat(outputs, dim=-1))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        return self.fc2(0.5 * x * (1 + torch.erf(x / 2**0.5)))


class Block(nn.Module):
    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, n_heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class OfficialMixste(nn.Module):
    """Screen coordinates (B, T, 17, 2) to poses in metres (B, T, 17, 3)."""

    def __init__(self, frames: int, width: int, depth: int, n_heads: int) -> None:
        super().__init__()
        self.Spatial_patch_to_embedding = nn.Linear(2, width)
        self.Spatial_pos_embed = nn.Parameter(torch.zeros(1, 17, width))
        self.Temporal_pos_embed = nn.Parameter(torch.zeros(1, frames, width))
        self.STEblocks = nn.ModuleList(Block(width, n_heads) for _ in range(depth))
        self.TTEblocks = nn.ModuleList(Block(width, n_heads) for _ in range(depth))
        self.Spatial_norm = nn.LayerNorm(width, eps=1e-6)
        self.Temporal_norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3))

    def forward(self, screen: Tensor) -> Tensor:
        x = self.Spatial_patch_to_embedding(screen)
        for i in range(len(self.STEblocks)):
            frames = []
            for t in range(x.shape[1]):
                frame = x[:, t] + (self.Spatial_pos_embed if i == 0 else 0)
                frames.append(self.Spatial_norm(self.STEblocks[i](frame)))
            x = torch.stack(frames, dim=1)
            joints = []
            for j in range(17):
                joint = x[:, :, j] + (self.Temporal_pos_embed if i == 0 else 0)
                joints.append(self.Temporal_norm(self.TTEblocks[i](joint)))
            x = torch.stack(joints, dim=2)
        return self.head(x)
