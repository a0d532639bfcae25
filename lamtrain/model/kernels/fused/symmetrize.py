"""Invariants of sums over neighbours; see cpp/symmetrize.h. B is bilinear, so that each derivative is B again or its transpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..native import apply, filled, ready, run, wanted


def symmetrize(moments: list[Tensor], axis: int) -> Tensor:
    """Sums H (A, 3, d), each of a width d of its own -> (A, axis * sum of all d)."""
    out: Tensor = apply(_Value, axis, *ready(*moments))
    return out


def _bilinear(h: Sequence[Tensor], k: Sequence[Tensor], axis: int, scale: float) -> Tensor:
    widths = [one.shape[2] for one in h]
    out = h[0].new_empty(len(h[0]), axis * sum(widths))
    run("symmetrize_bilinear", out, [*h, *k, out], [len(out), axis, len(h), *widths], [scale])
    return out


def _transpose(g: Tensor, h: Sequence[Tensor], axis: int) -> list[Tensor]:
    out = [torch.empty_like(one) for one in h]
    run("symmetrize_transpose", g, [g, *h, *out], [len(g), axis, len(h), *(one.shape[2] for one in h)])
    return out


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, axis: int, *moments: Tensor) -> Tensor:
        ctx.save_for_backward(*moments)
        ctx.axis = axis
        return _bilinear(moments, moments, axis, 0.5)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return None, *apply(_First, ctx.axis, g.contiguous(), *ctx.saved_tensors)


class _First(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, axis: int, g: Tensor, *moments: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(g, *moments)
        ctx.set_materialize_grads(False)
        ctx.axis = axis
        return tuple(_transpose(g, moments, axis))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        g, *moments = ctx.saved_tensors
        k = [filled(grad, like) for grad, like in zip(cotangents, moments)]
        more: list[Any] = _transpose(g, k, ctx.axis) if wanted(ctx, 1, len(k)) else [None] * len(k)
        return None, _bilinear(moments, k, ctx.axis, 1.0), *more
