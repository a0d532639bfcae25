"""The three-body sum over pairs of edges, with the net between; see cpp/three_body.h."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..native import apply, empty, ready, refuse_second_derivative, run, wanted


def three_body(e: Tensor, types: Tensor, ntypes: int, weights: list[Tensor]) -> Tensor:
    """`e` (N, V, V), symmetric, `types` (N, V); `weights` as of `TypedEmbedding.fused_weights` -> (N, m)."""
    e, *weights = ready(e, *weights)
    out: Tensor = apply(_Value, e, types.contiguous(), ntypes, *weights)
    return out


def _sizes(e: Tensor, ntypes: int, weights: list[Tensor]) -> list[int]:
    widths = [len(weights[1]), *(len(bias) for bias in weights[3::2])]
    return [*e.shape[:2], ntypes, len(weights[0]), len(widths), *widths]


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, e: Tensor, types: Tensor, ntypes: int, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(e, types, *weights)
        ctx.sizes = _sizes(e, ntypes, list(weights))
        out = e.new_empty(len(e), ctx.sizes[-1])
        run("three_body_value", e, [e, types, *weights, out], ctx.sizes)
        return out

    @staticmethod
    def backward(ctx: Any, c: Tensor) -> tuple[Tensor | None, ...]:
        e, types, *weights = ctx.saved_tensors
        c = c.contiguous()
        slope = apply(_Slope, e, types, c, ctx.sizes, *weights) if wanted(ctx, 0) else None
        grads: list[Tensor | None] = [None] * len(weights)
        if wanted(ctx, 2, len(weights)):
            refuse_second_derivative("three-body sum")
            grads = [torch.empty_like(w) for w in weights]
            run("three_body_reverse", e, [e, types, *weights, c, None, None, None, *grads], ctx.sizes)
        return slope, None, None, *grads


class _Slope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, e: Tensor, types: Tensor, c: Tensor, sizes: list[int], *weights: Tensor) -> Tensor:
        ctx.save_for_backward(e, types, c, *weights)
        ctx.sizes = sizes
        out = torch.empty_like(e)
        run("three_body_slope", e, [e, types, *weights, c, out], sizes)
        return out

    @staticmethod
    def backward(ctx: Any, a: Tensor) -> tuple[Tensor | None, ...]:
        e, types, c, *weights = ctx.saved_tensors
        by_c, by_e, grads = torch.empty_like(c), empty(e, wanted(ctx, 0)), [torch.empty_like(w) for w in weights]
        run("three_body_reverse", e, [e, types, *weights, c, a.contiguous(), by_c, by_e, *grads], ctx.sizes)
        return by_e, None, by_c, None, *grads
