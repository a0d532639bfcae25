"""What atoms take from their edges and from the atoms at the other end; see cpp/neighbor_sums.h. Lists hold a tensor for each chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..native import apply, empty, filled, ready, refuse_second_derivative, run, wanted

LISTS = 4  # of the inputs, after g1 and w: g2, a, h, n


def neighbor_sums(
    g1: Tensor, w: Tensor, g2: list[Tensor], a: list[Tensor], h: list[Tensor], n: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """`g1` (A, d), `w` (K, d); by chunk `g2` (N, V, K), `a` (N, V), `h` (N, 3, V), `n` (N, V) -> (A, d), (A, 3, d), (A, 3, K)."""
    out: tuple[Tensor, Tensor, Tensor] = apply(_Value, *ready(g1, w, *g2, *a, *h), *(one.contiguous() for one in n))
    return out


def _run(name: str, inputs: Sequence[Tensor], more: Sequence[Tensor | None]) -> None:
    g1, w, *lists = inputs
    chunks = lists[len(lists) // LISTS * (LISTS - 1) :]
    shapes = [size for n in chunks for size in n.shape]
    run(f"neighbor_sums_{name}", g1, [*inputs, *more], [*g1.shape, len(w), len(chunks), *shapes])


def _like(tensors: Sequence[Tensor], asked: bool = True) -> list[Any]:
    return [empty(one, asked) for one in tensors]


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*inputs)
        ctx.set_materialize_grads(False)
        g1, w = inputs[:2]
        out = (torch.empty_like(g1), g1.new_empty(len(g1), 3, w.shape[1]), g1.new_empty(len(g1), 3, len(w)))
        _run("value", inputs, out)
        return out

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        g1, w, *lists = inputs = ctx.saved_tensors
        k = len(lists) // LISTS
        shapes = (g1.shape, (len(g1), 3, w.shape[1]), (len(g1), 3, len(w)))
        cot = [g1.new_zeros(shape) if grad is None else grad.contiguous() for grad, shape in zip(cotangents, shapes)]
        geometry, atoms = wanted(ctx, 2 + k, 2 * k), wanted(ctx, 0)
        if wanted(ctx, 1):
            refuse_second_derivative("neighbour sums")
            by_g1, by_w = empty(g1, atoms), torch.empty_like(w)
            by_lists = [*_like(lists[:k]), *_like(lists[k : 3 * k], geometry)]
            _run("first", inputs, [*cot, by_g1, by_w, *by_lists])
            return by_g1, by_w, *by_lists, *[None] * k
        by_g1, *by_lists = apply(_First, geometry, atoms, *cot, *inputs)
        rest = by_lists[k:] if geometry else [None] * (2 * k)
        return by_g1 if atoms else None, None, *by_lists[:k], *rest, *[None] * k


class _First(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, geometry: bool, atoms: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        inputs = tensors[3:]
        g1, lists = inputs[0], inputs[2:]
        k = len(lists) // LISTS
        by_g1, by_lists = empty(g1, atoms), [*_like(lists[:k]), *_like(lists[k : 3 * k], geometry)]
        _run("first", inputs, [*tensors[:3], by_g1, None, *by_lists])
        return tuple(g1.new_empty(0) if t is None else t for t in (by_g1, *by_lists))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        *pqr, g1, w = ctx.saved_tensors[:5]
        inputs, lists = ctx.saved_tensors[3:], ctx.saved_tensors[5:]
        k = len(lists) // LISTS
        geometry, atoms, weights = wanted(ctx, 5 + k, 2 * k), wanted(ctx, 3), wanted(ctx, 4)
        cot = [filled(grad, like) for grad, like in zip(cotangents, (g1, *lists[: 3 * k]))]
        by_pqr, by_g1, by_w = _like(pqr), empty(g1, atoms), empty(w, weights)
        by_lists = [*_like(lists[:k]), *_like(lists[k : 3 * k], geometry)]
        _run("second", inputs, [*pqr, *cot, *by_pqr, by_g1, by_w, *by_lists])
        return None, None, *by_pqr, by_g1, by_w, *by_lists, *[None] * k
