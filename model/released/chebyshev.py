"""Chebyshev graph convolution over joint-major poses (Defferrard et al., NeurIPS 2016).

``y = sum_k T_k(L) x W_k + b`` for k = 0, 1, 2, with T_0 = I, T_1 = L, T_2 = 2 L^2 - I and the
Laplacian L = I - D^-1 (A + I) of the skeleton, as GraFormer (Zhao et al., CVPR 2022) uses it.

Joint-major layout, (J, B, C): mixing joints is one product (J, J) x (J, B C) for the whole batch,
which runs near the peak of the machine; with rows first it would be B products of 17 x 17.

Axis legend: J = 17 joints, B rows, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffpose.model.geometry.skeleton import adjacency

ORDER = 2


def chebyshev_basis() -> Tensor:
    """Return T_1 and T_2 of the skeleton's Laplacian, one above the other, (2 J, J), float32.

    The released networks normalise the rows of A + I, so D of that graph is I.
    """
    graph = torch.tensor(adjacency()) + torch.eye(len(adjacency()), dtype=torch.float64)
    laplacian = torch.eye(len(graph)) - graph / graph.sum(dim=1, keepdim=True)
    second = 2.0 * laplacian @ laplacian - torch.eye(len(graph))
    return torch.cat([laplacian, second]).to(torch.float32)


def mix_joints(graph: Tensor, x: Tensor) -> Tensor:
    """Return graph x, (I, J) by (J, B, C) to (I, B, C), as one matrix product."""
    joints, rows, width = x.shape
    return (graph @ x.reshape(joints, rows * width)).view(len(graph), rows, width)


def chebyshev_convolution(x: Tensor, basis: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve.

    Args:
        x: (J, B, n_in).
        basis: of `chebyshev_basis`.
        weight: W_0, W_1, W_2, (3, n_in, n_out).
        bias: (n_out,).

    Returns:
        (J, B, n_out).
    """
    joints, rows, n_in = x.shape
    first, second = mix_joints(basis, x).view(2, joints * rows, n_in).unbind(0)
    y = torch.addmm(bias, x.reshape(joints * rows, n_in), weight[0])
    if y.dtype == weight.dtype:
        y = y.addmm_(first, weight[1]).addmm_(second, weight[2])  # no copy of y
    else:  # under autocast, which casts for addmm alone
        y = torch.addmm(torch.addmm(y, first, weight[1]), second, weight[2])
    return y.view(joints, rows, -1)


class ChebyshevConvolution(nn.Module):
    """The weights of a convolution; `chebyshev_convolution` applies them."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(ORDER + 1, n_in, n_out))
        self.bias = nn.Parameter(torch.zeros(n_out))
        # the three terms add up to the variance of one Xavier-initialised layer
        nn.init.normal_(self.weight, std=(2.0 / (3.0 * (n_in + n_out))) ** 0.5)

    def forward(self, x: Tensor, basis: Tensor) -> Tensor:
        """Map (J, B, n_in) to (J, B, n_out)."""
        return chebyshev_convolution(x, basis, self.weight, self.bias)
