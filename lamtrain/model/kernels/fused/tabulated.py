"""The block of a compressed DPA-1 from its edges to its invariants, for inference; see cpp/tabulated.h."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..native import apply, ready, refuse_second_derivative, run

Constants = tuple[list[Tensor | None], list[int], list[float]]
MOMENT, WIDTH = 7, slice(8, 13)  # among the sizes: M; and m, axis, nsel, rows of factors, columns behind the invariants


def tabulated(
    vectors: Tensor, indices: list[Tensor], tables: list[Tensor | None], sizes: list[int], numbers: list[float]
) -> tuple[Tensor, Tensor]:
    """Invariants of N atoms with what stands behind them, and how many edges are shorter than the table reaches, () int64.

    `vectors` (N, W, 3); neighbours, types and leading types; mean to `tebd` of tabulated.h; its sizes without N and W, and its numbers.
    """
    edges, *constants = ready(vectors, *tables)
    arrays = [*(index.contiguous() for index in indices), *constants]
    invariants, outside = apply(_Value, edges, (arrays, [*edges.shape[:2], *sizes], numbers))
    return invariants, outside.sum()


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, edges: Tensor, constants: Constants) -> tuple[Tensor, Tensor]:
        arrays, sizes, numbers = constants
        width, axis, _, _, extra = sizes[WIDTH]
        invariants, moment = edges.new_empty(len(edges), width * axis + extra), edges.new_empty(len(edges), 4, sizes[MOMENT])
        outside = torch.empty(len(edges), dtype=torch.int64)
        run("tabulated_value", edges, [edges, *arrays, invariants, moment, outside], sizes, numbers)
        ctx.save_for_backward(edges, moment)
        ctx.constants = constants
        ctx.mark_non_differentiable(outside)
        return invariants, outside

    @staticmethod
    def backward(ctx: Any, g: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("table")
        edges, moment = ctx.saved_tensors
        arrays, sizes, numbers = ctx.constants
        out = torch.empty_like(edges)
        run("tabulated_first", edges, [edges, *arrays, moment, g.contiguous(), out], sizes, numbers)
        return out, None
