"""What the vector of an atom takes from its terms, activated or not; see cpp/node_update.h."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..native import apply, empty, filled, ready, refuse_second_derivative, run, wanted

Terms = Sequence[Tensor]


def node_update(u: Tensor, terms: Sequence[tuple[Tensor, Tensor, bool]]) -> Tensor:
    """u (A, d) + sum r tanh(p) over the terms (r (d,), p (A, d), whether activated; r p where not)."""
    active = [int(activated) for _, _, activated in terms]
    out: Tensor = apply(_Value, active, *ready(u, *(r for r, _, _ in terms), *(p for _, p, _ in terms)))
    return out


def _run(name: str, active: list[int], r: Terms, more: Sequence[Tensor | None], like: Tensor) -> None:
    run(f"node_update_{name}", like, [*r, *more], [like.numel() // like.shape[-1], like.shape[-1], len(active), *active])


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, active: list[int], u: Tensor, *tensors: Tensor) -> Tensor:
        k = len(active)
        r, p, out = tensors[:k], tensors[k:], torch.empty_like(u)
        y = [empty(one, bool(activated)) for one, activated in zip(p, active)]
        _run("value", active, r, [u, *p, *y, out], u)
        ctx.save_for_backward(*r, *p, *y)
        ctx.active = active
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        k, saved = len(ctx.active), ctx.saved_tensors
        r, p, kept = saved[:k], saved[k : 2 * k], saved[2 * k :]
        y = [one if activated else plain for one, plain, activated in zip(kept, p, ctx.active)]
        g = g.contiguous()
        if not wanted(ctx, 1, k):
            return None, g, *[None] * k, *apply(_First, ctx.active, g, *r, *p, *(one.detach() for one in y))
        refuse_second_derivative("node update")
        by_p, by_r = [torch.empty_like(one) for one in p], [torch.empty_like(one) for one in r]
        _run("first", ctx.active, r, [*y, g, *by_p, *by_r], g)
        return None, g, *by_r, *by_p


class _First(torch.autograd.Function):
    """(g, r, p; y) -> every p'."""

    @staticmethod
    def forward(ctx: Any, active: list[int], g: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        k = len(active)
        r, p, y = tensors[:k], tensors[k : 2 * k], tensors[2 * k :]
        ctx.save_for_backward(g, *r, *y)
        ctx.set_materialize_grads(False)
        ctx.active = active
        out = tuple(torch.empty_like(one) for one in p)
        _run("first", active, r, [*y, g, *out, *[None] * k], g)
        return out

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        g, *tensors = ctx.saved_tensors
        k = len(ctx.active)
        r, y = tensors[:k], tensors[k:]
        cot, weights = [filled(grad, g) for grad in cotangents], wanted(ctx, 1, k)
        by_g, by_p = torch.empty_like(g), [empty(g, bool(activated)) for activated in ctx.active]
        by_r = [empty(one, weights) for one in r]
        _run("second", ctx.active, r, [*y, g, *cot, by_g, *by_p, *by_r], g)
        return None, by_g, *by_r, *by_p, *[None] * k
