"""Repinit's moment, R^T G with G a net of one column of R; see cpp/moment.h."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..native import apply, empty, padded, ready, refuse_second_derivative, run, wanted

EDGES = 4  # tensors that stand for the edges: their slots, where those of each atom end, R and row of the table
Edges = tuple[Tensor, Tensor, Tensor, Tensor]


def moment(matrix: Tensor, rows: Tensor, weights: list[Tensor]) -> Tensor:
    """`matrix` (N, W, 4), `rows` (N, W) of the table; `weights` as of `TypedEmbedding.fused_weights` -> (N, 4, m)."""
    matrix, *weights = ready(matrix, *weights)
    out: Tensor = apply(_Value, matrix, *_edges(matrix.detach(), rows.contiguous()), *weights)
    return out


def _edges(matrix: Tensor, rows: Tensor) -> Edges:
    """The edges of a chunk, one atom after the other, without the empty slots behind the last of each."""
    n, w = rows.shape
    slot, ends, flat, row = (
        torch.empty_like(rows).flatten(),
        rows.new_empty(n),
        torch.empty_like(matrix).view(-1, 4),
        torch.empty_like(rows).flatten(),
    )
    run("moment_edges", matrix, [matrix, rows, slot, ends, flat, row], [n, w])
    count = int(ends[-1]) if n else 0
    return slot[:count], ends, flat[:count], row[:count]


def _sizes(matrix: Tensor, edges: Sequence[Tensor], weights: Sequence[Tensor]) -> list[int]:
    widths = [len(weights[1]), *(len(bias) for bias in weights[3::2])]
    return [len(matrix), len(edges[0]), matrix.shape[1], len(weights[0]), len(widths), *widths]


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, *rest: Tensor) -> Tensor:
        edges, weights = rest[:EDGES], list(rest[EDGES:])
        width = len(weights[1]) if len(weights) == 2 else len(weights[-1])
        y, out = matrix.new_empty(len(edges[0]), padded(width, matrix)), matrix.new_empty(len(matrix), 4, width)
        run("moment_value", matrix, [*edges, *weights, y, out], _sizes(matrix, edges, weights))
        ctx.save_for_backward(matrix, *edges, y, *weights)
        return out

    @staticmethod
    def backward(ctx: Any, c: Tensor) -> tuple[Tensor | None, ...]:
        matrix, *rest = ctx.saved_tensors
        edges, y, weights, c = rest[:EDGES], rest[EDGES], rest[EDGES + 1 :], c.contiguous()
        slope = apply(_Slope, matrix, *edges, y, c, *weights) if wanted(ctx, 0) else None
        grads: list[Tensor | None] = [None] * len(weights)
        if wanted(ctx, 1 + EDGES, len(weights)):
            refuse_second_derivative("moment")
            grads = [torch.empty_like(w) for w in weights]
            run("moment_by_weights", matrix, [*edges, *weights, y, c, *grads], _sizes(matrix, edges, weights))
        return slope, *[None] * EDGES, *grads


class _Slope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, *rest: Tensor) -> Tensor:
        ctx.save_for_backward(matrix, *rest)
        edges, (y, c), weights = rest[:EDGES], rest[EDGES : EDGES + 2], list(rest[EDGES + 2 :])
        out = torch.empty_like(matrix)
        run("moment_slope", matrix, [*edges, *weights, y, c, out], _sizes(matrix, edges, weights))
        return out

    @staticmethod
    def backward(ctx: Any, a: Tensor) -> tuple[Tensor | None, ...]:
        matrix, *rest = ctx.saved_tensors
        edges, (y, c), weights = rest[:EDGES], rest[EDGES : EDGES + 2], rest[EDGES + 2 :]
        train = wanted(ctx, 3 + EDGES, len(weights))
        by_matrix, by_c, grads = empty(matrix, wanted(ctx, 0)), torch.empty_like(c), [empty(w, train) for w in weights]
        arrays = [*edges, *weights, y, c, a.contiguous(), by_c, by_matrix, *grads]
        run("moment_second", matrix, arrays, _sizes(matrix, edges, weights))
        return by_matrix, *[None] * (EDGES + 1), by_c, *grads
