"""Operators with their derivatives, and what makes of each a function of autograd that can be differentiated twice.

Training on forces goes through an operator y = f(x; w) four times. With v the cotangent of y when energies are differentiated by positions:

    value      y                                     slopes      x^ = v f'
    tangents   y' = f' x'                            gradients   of  y_ y + v y'  by x and w, for y_ the cotangent of y by the loss

where x' are the loss's cotangents of the slopes. So the second derivative is that of a tangent, and weights get their gradient once, from one
kernel. Autograd meets this as two functions, each the other's: the backward of `_Slopes` are the tangents, which it leaves with the state of `_Value`,
whose backward comes after it, as it is given y as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from ..native import apply, wanted

Tensors = list[Tensor]


@dataclass(frozen=True, slots=True)
class Second:
    """What the gradients need of the passes before."""

    hats: Tensors  # the cotangents of y that the slopes were taken with
    kept_hats: Tensors  # what the slopes kept
    dots: Tensors  # the tangents of x
    kept_dots: Tensors  # what the tangents kept


class Operator(Protocol):
    """Inputs are `moving` ones, which have tangents, then weights, then what has no derivative. Tensors are contiguous and of one precision."""

    @property
    def moving(self) -> int:
        """How many of the inputs move."""

    @property
    def weights(self) -> int:
        """How many are weights."""

    @property
    def bent(self) -> Sequence[bool]:
        """Of each moving input, whether the gradients are taken by it as well; not by what hangs on positions alone."""

    def value(self, x: Tensors) -> tuple[Tensors, Tensors]:
        """y, and what is kept for the other passes."""

    def slopes(self, x: Tensors, kept: Tensors, cotangents: Tensors) -> tuple[Tensors, Tensors]:
        """Cotangents of all moving inputs, and what is kept."""

    def tangents(self, x: Tensors, kept: Tensors, dots: Tensors) -> tuple[Tensors, Tensors]:
        """y', and what is kept."""

    def gradients(self, x: Tensors, kept: Tensors, cotangents: Tensors, second: Second | None) -> tuple[list[Tensor | None], Tensors]:
        """Those of the moving inputs, None where it is not `bent`, and of the weights."""


def evaluate(operator: Operator, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """y, differentiable twice; a third derivative, and a second by what is not `bent`, are refused."""
    out: tuple[Tensor, ...] = apply(_Value, operator, *(tensor.contiguous() for tensor in inputs))
    return out


@dataclass(slots=True)
class _State:
    kept: Tensors
    shapes: list[torch.Size]
    pending: list[Second] = field(default_factory=list)


def _filled(grads: Sequence[Tensor | None], shapes: Sequence[torch.Size], like: Tensor) -> Tensors:
    return [like.new_zeros(shape) if grad is None else grad.contiguous() for grad, shape in zip(grads, shapes)]


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, operator: Operator, *inputs: Tensor) -> tuple[Tensor, ...]:
        y, kept = operator.value(list(inputs))
        ctx.operator, ctx.count, ctx.state = operator, len(inputs), _State(kept, [one.shape for one in y])
        ctx.save_for_backward(*inputs, *y)
        ctx.set_materialize_grads(False)
        return tuple(y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        operator, state, saved = ctx.operator, ctx.state, ctx.saved_tensors
        x, moving, weights = list(saved[: ctx.count]), operator.moving, operator.weights
        rest = [None] * (ctx.count - moving - weights)
        pending, state.pending = state.pending, []
        by_weights = wanted(ctx, moving, weights)
        if not by_weights and not pending:
            cotangents = _filled(grads, state.shapes, x[0])
            return None, *apply(_Slopes, operator, state, ctx.count, len(cotangents), *cotangents, *saved), *[None] * weights, *rest
        fixed = any(wanted(ctx, k) for k, bent in enumerate(operator.bent) if not bent)
        if torch.is_grad_enabled() or (fixed and pending):
            raise RuntimeError("the triton kernels have no third derivative, and no second by positions alone; use the plain kernels")
        cotangents = _filled(grads, state.shapes, x[0])
        given, grads_w = operator.gradients(x, state.kept, cotangents, pending[0] if pending else None)
        for second in pending[1:]:
            more, more_w = operator.gradients(x, state.kept, [torch.zeros_like(one) for one in cotangents], second)
            given = [a if a is None or b is None else a + b for a, b in zip(given, more)]
            grads_w = [a + b for a, b in zip(grads_w, more_w)]
        if fixed:
            slopes, _ = operator.slopes(x, state.kept, cotangents)
            given = [slope if grad is None else grad for grad, slope in zip(given, slopes)]
        return None, *given, *grads_w, *rest


class _Slopes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, operator: Operator, state: _State, count: int, outputs: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        cotangents, x = list(tensors[:outputs]), list(tensors[outputs : outputs + count])
        slopes, ctx.kept_hats = operator.slopes(x, state.kept, cotangents)
        ctx.operator, ctx.state, ctx.counts, ctx.shapes = operator, state, (count, outputs), [one.shape for one in slopes]
        ctx.save_for_backward(*cotangents, *x)
        ctx.set_materialize_grads(False)
        return tuple(slopes)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("the triton kernels have no third derivative; use the plain kernels")
        count, outputs = ctx.counts
        saved, state = list(ctx.saved_tensors), ctx.state
        cotangents, x = saved[:outputs], saved[outputs:]
        dots = _filled(grads, ctx.shapes, x[0])
        out, kept_dots = ctx.operator.tangents(x, state.kept, dots)
        state.pending.append(Second(cotangents, ctx.kept_hats, dots, kept_dots))
        return None, None, None, None, *out, *[None] * (count + outputs)
