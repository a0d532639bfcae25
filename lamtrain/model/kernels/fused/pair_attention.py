"""What an edge takes from the other edges of its centre; see cpp/pair_attention.h."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..native import apply, empty, filled, ready, refuse_second_derivative, run, wanted

Options = tuple[float, float, bool, int]


def pair_attention(
    x: Tensor, m: Tensor, z: Tensor, bias: Tensor, fading: Tensor, both: Tensor, c: float, d: float, gated: bool, phantom: int
) -> Tensor:
    """`x` (N, V, K), `m` (K, heads K), `z` (heads K, K), `bias` (K,), `fading` and `both` (N, V, V) -> (N, V, K)."""
    out: Tensor = apply(_Value, *ready(x, m, z, bias, fading, both), (c, d, gated, phantom))
    return out


def _run(name: str, inputs: list[Tensor], more: list[Tensor | None], options: Options) -> None:
    x, m = inputs[:2]
    c, d, gated, phantom = options
    run(f"pair_attention_{name}", x, [*inputs, *more], [*x.shape, m.shape[1] // x.shape[2], int(gated), phantom], [c, d])


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *rest: Any) -> Tensor:
        *inputs, ctx.options = rest
        ctx.save_for_backward(*inputs)
        out = torch.empty_like(inputs[0])
        _run("value", inputs, [out], ctx.options)
        return out

    @staticmethod
    def backward(ctx: Any, y: Tensor) -> tuple[Tensor | None, ...]:
        x, m, z, bias, f, k = inputs = list(ctx.saved_tensors)
        y, geometry = y.contiguous(), wanted(ctx, 4, 2)
        if not wanted(ctx, 1, 3):
            by_x, *squares = apply(_First, y, *inputs, ctx.options, geometry)
            return by_x, None, None, None, *(squares if geometry else (None, None)), None
        refuse_second_derivative("pair attention")
        out = [torch.empty_like(x), empty(f, geometry), empty(k, geometry), *map(torch.empty_like, (m, z, bias))]
        _run("first", inputs, [y, *out], ctx.options)
        return out[0], *out[3:], *out[1:3], None


class _First(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        *inputs, ctx.options, geometry = rest
        ctx.save_for_backward(y, *inputs)
        ctx.set_materialize_grads(False)
        x, f = inputs[0], inputs[4]
        out = [torch.empty_like(x), empty(f, geometry), empty(f, geometry)]
        _run("first", inputs, [y, *out, None, None, None], ctx.options)
        return tuple(x.new_empty(0) if t is None else t for t in out)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        y, x, m, z, bias, f, k = ctx.saved_tensors
        geometry, weights = wanted(ctx, 5, 2), wanted(ctx, 2, 2)
        cot = [filled(grad, like) for grad, like in zip(cotangents, (x, f, k))]
        by_x, by_y, squares = torch.empty_like(x), torch.empty_like(x), [empty(f, geometry), empty(k, geometry)]
        grads = [empty(m, weights), empty(z, weights)]
        _run("second", [x, m, z, bias, f, k], [y, *cot, by_x, by_y, *squares, *grads], ctx.options)
        return by_y, by_x, *grads, None, *squares, None, None
