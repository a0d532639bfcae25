"""The gated softmax in one pass over each row of edges; see cpp/gate_softmax.h."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..native import apply, empty, filled, ready, run, wanted


def gate_softmax(s: Tensor, c: Tensor, b: Tensor, d: Tensor, phantom: int) -> Tensor:
    """As `lamtrain.model.gate_softmax.gate_softmax`."""
    out: Tensor = apply(_Value, *ready(s, c, b, d), phantom)
    return out


def _sizes(s: Tensor) -> list[int]:
    return [math.prod(s.shape[:2]), *s.shape[2:]]


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, s: Tensor, c: Tensor, b: Tensor, d: Tensor, phantom: int) -> Tensor:
        ctx.save_for_backward(s, c, b, d)
        ctx.phantom = phantom
        out = torch.empty_like(s)
        run("gate_softmax_value", s, [s, c, b, d, out], _sizes(s), [phantom])
        return out

    @staticmethod
    def backward(ctx: Any, w: Tensor) -> tuple[Tensor | None, ...]:
        return *apply(_First, *ctx.saved_tensors, w.contiguous(), ctx.phantom), None


class _First(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, s: Tensor, c: Tensor, b: Tensor, d: Tensor, w: Tensor, phantom: int) -> tuple[Tensor, ...]:
        ctx.save_for_backward(s, c, b, d, w)
        ctx.set_materialize_grads(False)
        ctx.phantom = phantom
        out = tuple(torch.empty_like(t) for t in (s, c, b, d))
        run("gate_softmax_first", s, [s, c, b, d, w, *out], _sizes(s), [phantom])
        return out

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        s, *shared, w = ctx.saved_tensors
        axyz = [filled(grad, like) for grad, like in zip(cotangents, (s, *shared))]
        geometry = wanted(ctx, 1, 3)
        out = [torch.empty_like(s), *(empty(t, geometry) for t in shared), torch.empty_like(s)]
        run("gate_softmax_second", s, [s, *shared, w, *axyz, *out], _sizes(s), [ctx.phantom])
        return *out, None
