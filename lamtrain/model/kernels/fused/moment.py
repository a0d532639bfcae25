"""Repinit's moment, R^T G with G a net of one column of R, which in mode `strip` a factor of the types multiplies; see cpp/moment.h."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..native import apply, empty, filled, padded, ready, refuse_second_derivative, run, wanted

EDGES = 4  # tensors that stand for the edges: their slots, where those of each atom end, R and row of the table
Edges = tuple[Tensor, Tensor, Tensor, Tensor]


def moment(matrix: Tensor, rows: Tensor, weights: list[Tensor], factors: Tensor | None = None, fade: Tensor | None = None) -> Tensor:
    """`matrix` (N, W, 4), `rows` (N, W) of the table; `weights` as of `TypedEmbedding.fused_weights` -> (N, 4, m).

    With `factors` (pairs, m) of `strip`, `rows` are theirs, and `fade` (N, W), if there is one, multiplies them.
    """
    matrix, factors, fade, *weights = ready(matrix, factors, fade, *weights)
    edges, flat = _edges(matrix.detach(), rows.contiguous(), None if fade is None else fade.detach())
    strip = [] if factors is None else [factors] if fade is None else [factors, fade, flat]
    out: Tensor = apply(_Value, len(weights), matrix, *edges, *weights, *strip)
    return out


def _edges(matrix: Tensor, rows: Tensor, fade: Tensor | None) -> tuple[Edges, Tensor | None]:
    """The edges of a chunk, one atom after the other, without the empty slots behind the last of each; and their fading."""
    n, w = rows.shape
    slot, ends, flat, row = (
        torch.empty_like(rows).flatten(),
        rows.new_empty(n),
        torch.empty_like(matrix).view(-1, 4),
        torch.empty_like(rows).flatten(),
    )
    fades = None if fade is None else torch.empty_like(fade).flatten()
    run("moment_edges", matrix, [matrix, rows, fade, slot, ends, flat, row, fades], [n, w])
    count = int(ends[-1]) if n else 0
    return (slot[:count], ends, flat[:count], row[:count]), None if fades is None else fades[:count]


class _Inputs:
    """What all functions begin with: tensors that `apply` was given behind `matrix`, as the operator takes them."""

    def __init__(self, count: int, matrix: Tensor, rest: Sequence[Tensor]):
        self.matrix, self.edges, self.weights = matrix, rest[:EDGES], list(rest[EDGES : EDGES + count])
        self.strip = list(rest[EDGES + count : EDGES + count + 3])
        self.factors = self.strip[0] if self.strip else None
        self.fade: Tensor | None = None
        fades: Tensor | None = None
        if len(self.strip) == 3:
            self.fade, fades = self.strip[1:]
        self.arrays = [*self.edges, fades, *self.weights, self.factors]
        self.width = len(self.weights[1]) if count == 2 else len(self.weights[-1])
        widths = [len(self.weights[1]), *(len(bias) for bias in self.weights[3::2])]
        sizes = [len(matrix), len(self.edges[0]), matrix.shape[1], len(self.weights[0]), len(widths), *widths]
        self.sizes = [*sizes, 0 if self.factors is None else len(self.factors)]

    def run(self, name: str, more: list[Tensor | None]) -> None:
        run(f"moment_{name}", self.matrix, [*self.arrays, *more], self.sizes)

    def places(self) -> tuple[int, int, int]:
        """Where the weights, the factors and the fading are among the tensors."""
        first = 1 + EDGES
        return first, first + len(self.weights), first + len(self.weights) + 1


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, count: int, matrix: Tensor, *rest: Tensor) -> Tensor:
        given = _Inputs(count, matrix, rest)
        y, out = matrix.new_empty(len(given.edges[0]), padded(given.width, matrix)), matrix.new_empty(len(matrix), 4, given.width)
        given.run("value", [y, out])
        ctx.save_for_backward(matrix, *rest, y)
        ctx.count = count
        return out

    @staticmethod
    def backward(ctx: Any, c: Tensor) -> tuple[Tensor | None, ...]:
        matrix, *rest, y = ctx.saved_tensors
        given, c = _Inputs(ctx.count, matrix, rest), c.contiguous()
        weights, factors, fade = given.places()
        geometry = wanted(ctx, 0) or (given.fade is not None and wanted(ctx, fade))
        slope, by_fade = apply(_Slope, ctx.count, matrix, *rest, y, c) if geometry else (None, None)
        grads: list[Tensor | None] = [None] * ctx.count
        by_factors = None
        if wanted(ctx, weights, ctx.count) or (given.factors is not None and wanted(ctx, factors)):
            refuse_second_derivative("moment")
            grads = [torch.empty_like(w) for w in given.weights]
            by_factors = None if given.factors is None else torch.empty_like(given.factors)
            given.run("by_weights", [y, c, *grads, by_factors])
        return None, slope, *[None] * EDGES, *grads, *[by_factors, by_fade, None][: len(given.strip)]


class _Slope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, count: int, matrix: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor | None]:
        *inputs, y, c = rest
        given = _Inputs(count, matrix, inputs)
        out, by_fade = torch.empty_like(matrix), None if given.fade is None else torch.empty_like(given.fade)
        given.run("slope", [y, c, out, by_fade])
        ctx.save_for_backward(matrix, *rest)
        ctx.set_materialize_grads(False)
        ctx.count = count
        return out, by_fade

    @staticmethod
    def backward(ctx: Any, a: Tensor | None, b: Tensor | None) -> tuple[Tensor | None, ...]:
        matrix, *inputs, y, c = ctx.saved_tensors
        given = _Inputs(ctx.count, matrix, inputs)
        weights, factors, fade = given.places()
        train = wanted(ctx, weights, ctx.count) or (given.factors is not None and wanted(ctx, factors))
        geometry = wanted(ctx, 0) or (given.fade is not None and wanted(ctx, fade))
        by_matrix, by_c, grads = empty(matrix, geometry), torch.empty_like(c), [empty(w, train) for w in given.weights]
        by_factors = None if given.factors is None else empty(given.factors, train)
        by_fade = None if given.fade is None else empty(given.fade, geometry)
        cotangent = None if given.fade is None else filled(b, given.fade)
        given.run("second", [y, c, filled(a, matrix), cotangent, by_c, by_matrix, by_fade, *grads, by_factors])
        return None, by_matrix, *[None] * EDGES, *grads, *[by_factors, by_fade, None][: len(given.strip)], None, by_c
