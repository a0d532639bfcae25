"""What the channel of an edge takes from itself and from its attention; see cpp/pair_update.h."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..native import apply, empty, filled, padded, ready, refuse_second_derivative, run, wanted


def pair_update(
    x: Tensor, w: Tensor, b: Tensor, r: Tensor, z: Tensor | None, scale: Tensor | None, shift: Tensor | None, eps: float
) -> Tensor:
    """`x` and, where attended, `z` (..., K); `w` (K, K); `b`, `r`, `scale`, `shift` (K,) -> (..., K)."""
    out: Tensor = apply(_Value, *ready(x, w, b, r, z, scale, shift), eps)
    return out


def _run(name: str, inputs: list[Tensor | None], more: list[Tensor | None], eps: float) -> None:
    x = inputs[0]
    assert x is not None
    run(f"pair_update_{name}", x, [*inputs, *more], [x.numel() // x.shape[-1], x.shape[-1]], [eps])


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *rest: Any) -> Tensor:
        *inputs, ctx.eps = rest
        x = inputs[0]
        y, out = x.new_empty(x.numel() // x.shape[-1], padded(x.shape[-1], x)), torch.empty_like(x)
        _run("value", inputs, [y, out], ctx.eps)
        ctx.save_for_backward(*inputs, y)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, y = ctx.saved_tensors
        x, w, b, r, z, scale, shift = inputs
        g = g.contiguous()
        if not wanted(ctx, 1, 3):
            by_x, by_z = apply(_First, g, *inputs, y, ctx.eps)
            return by_x, None, None, None, None if z is None else by_z, None, None, None
        refuse_second_derivative("pair update")
        by_x, by_z = torch.empty_like(x), None if z is None else torch.empty_like(x)
        grads = [None if t is None else torch.empty_like(t) for t in (w, b, r, scale, shift)]
        _run("first", inputs, [y, g, by_x, by_z, *grads], ctx.eps)
        return by_x, *grads[:3], by_z, *grads[3:], None


class _First(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        *inputs, y, ctx.eps = rest
        ctx.save_for_backward(g, *inputs, y)
        ctx.set_materialize_grads(False)
        by_x, by_z = torch.empty_like(g), empty(g, inputs[4] is not None)
        _run("first", inputs, [y, g, by_x, by_z, None, None, None, None, None], ctx.eps)
        return by_x, g.new_empty(0) if by_z is None else by_z

    @staticmethod
    def backward(ctx: Any, cot_x: Tensor | None, cot_z: Tensor | None) -> tuple[Tensor | None, ...]:
        g, *inputs, y = ctx.saved_tensors
        x, w, b, r, z, scale, shift = inputs
        attended, weights = z is not None, wanted(ctx, 2, 3) or wanted(ctx, 6)
        by_g, by_x, by_z = torch.empty_like(x), torch.empty_like(x), empty(x, attended)
        grads = [None if t is None or not weights else torch.empty_like(t) for t in (w, b, r, scale)]
        cot = [filled(cot_x, x), filled(cot_z, x) if attended else None]
        _run("second", inputs, [y, g, *cot, by_g, by_x, by_z, *grads], ctx.eps)
        return by_g, by_x, *grads[:3], by_z, grads[3], None, None, None
