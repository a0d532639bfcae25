"""Edges -> switch, radial and direction columns of the environment matrix; see cpp/environment.h."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..native import apply, empty, filled, ready, run, wanted


def environment(
    vectors: Tensor, seen: Tensor | None, mean: Tensor, std: Tensor, smooth: float, cutoff: float, protection: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`vectors` (N, W, 3), `seen` (N, W), `mean` (N,), `std` (N, 4) -> (N, W), (N, W), (N, W, 3)."""
    visible = None if seen is None else seen.to(vectors.dtype)
    out: tuple[Tensor, Tensor, Tensor] = apply(_Value, *ready(vectors, visible, mean, std), (smooth, cutoff, protection))
    return out


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, d: Tensor, seen: Tensor | None, mean: Tensor, std: Tensor, shape: tuple[float, ...]) -> tuple[Tensor, ...]:
        ctx.save_for_backward(d, seen, mean, std)
        ctx.set_materialize_grads(False)
        ctx.shape = shape
        out = (d.new_empty(d.shape[:2]), d.new_empty(d.shape[:2]), torch.empty_like(d))
        run("environment_value", d, [d, seen, mean, std, *out], d.shape[:2], shape)
        return out

    @staticmethod
    def backward(ctx: Any, f: Tensor | None, b: Tensor | None, g: Tensor | None) -> tuple[Tensor | None, ...]:
        d, seen, mean, std = ctx.saved_tensors
        f, b, g = filled(f, d[..., 0]), filled(b, d[..., 0]), filled(g, d)
        return apply(_First, d, f, b, g, seen, mean, std, ctx.shape), None, None, None, None


class _First(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, d: Tensor, f: Tensor, b: Tensor, g: Tensor, *rest: Any) -> Tensor:
        *constants, ctx.shape = rest
        ctx.save_for_backward(d, *constants, f, b, g)
        out = torch.empty_like(d)
        run("environment_first", d, [d, *constants, f, b, g, out], d.shape[:2], ctx.shape)
        return out

    @staticmethod
    def backward(ctx: Any, a: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        d, (f, b, g) = saved[0], saved[4:]
        out = [torch.empty_like(f), torch.empty_like(b), torch.empty_like(g), empty(d, wanted(ctx, 0))]
        run("environment_second", d, [*saved, a.contiguous(), *out], d.shape[:2], ctx.shape)
        return out[3], *out[:3], None, None, None, None
