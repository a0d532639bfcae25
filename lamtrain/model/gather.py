"""Atoms -> chunks, atoms -> edges, and back, for all chunks at once: each derivative of one is the other.

`F.embedding` or a slice chunk by chunk would make a zero-filled gradient of all atoms for every chunk, a cost that grows with the
square of the batch; so would the second derivative of `torch.cat` and `torch.split`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .kernels.native import apply


def join(parts: list[Tensor], dim: int = 0) -> Tensor:
    """`torch.cat`; differentiable to any order."""
    if len(parts) == 1:
        return parts[0]
    joined: Tensor = apply(_Join, dim, *parts)
    return joined


def split(whole: Tensor, sizes: list[int], dim: int = 0) -> list[Tensor]:
    """`torch.split`, views; differentiable to any order."""
    return list(apply(_Split, whole, sizes, dim))


def gather_rows(values: Tensor, neighbors: list[Tensor]) -> list[Tensor]:
    """`values` (A, d), indices (N, V) of each chunk -> (N, V, d) of each chunk; differentiable to any order."""
    return list(apply(_Gather, values, *neighbors))


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dim: int, *parts: Tensor) -> Tensor:
        ctx.dim, ctx.sizes = dim, [part.shape[dim] for part in parts]
        return torch.cat(parts, dim)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return None, *apply(_Split, grad, ctx.sizes, ctx.dim)


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, whole: Tensor, sizes: list[int], dim: int) -> tuple[Tensor, ...]:
        ctx.dim = dim
        return torch.split(whole, sizes, dim)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return apply(_Join, ctx.dim, *grads), None, None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, *neighbors: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*neighbors)
        ctx.rows = len(values)
        return tuple(values.index_select(0, n.reshape(-1)).view(*n.shape, -1) for n in neighbors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        neighbors = ctx.saved_tensors
        return apply(_Scatter, ctx.rows, len(grads), *grads, *neighbors), *(None for _ in neighbors)


class _Scatter(torch.autograd.Function):
    """The transpose of `_Gather`: sums the edges of all chunks into their neighbours' rows."""

    @staticmethod
    def forward(ctx: Any, rows: int, count: int, *tensors: Tensor) -> Tensor:
        grads, neighbors = tensors[:count], tensors[count:]
        ctx.save_for_backward(*neighbors)
        total = grads[0].new_zeros(rows, grads[0].shape[-1])
        for grad, n in zip(grads, neighbors):
            total.index_add_(0, n.reshape(-1), grad.reshape(-1, grad.shape[-1]))
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        neighbors = ctx.saved_tensors
        return None, None, *apply(_Gather, grad, *neighbors), *(None for _ in neighbors)
