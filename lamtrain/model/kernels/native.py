"""The compiled operators for this processor: called on tensors, and what their derivatives share.

The sources in `cpp/` are compiled once, at installation, for each kind of processor; here the best that this one can run is loaded. They know
nothing of torch: an operator gets addresses, sizes and numbers, in the order that its file in `cpp/` states, and Python keeps the graph.
Forward, first and second derivative are each a function of their own, so that forces can be trained on.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor

KINDS = ("avx512", "avx2", "baseline")  # the best first
FORCED = "LAM_KERNELS_FOR"  # environment variable: one of KINDS, instead of the best


class Native(Protocol):
    """A compiled module; see cpp/module.h."""

    def run(self, name: str, double: bool, arrays: list[int], sizes: list[int], numbers: list[float], threads: int, /) -> None: ...
    def lanes(self, itemsize: int, /) -> int: ...
    def processor(self) -> str: ...


@functools.cache
def native() -> Native:
    """The module for this processor; raises RuntimeError where none was compiled at installation, or not the one asked for."""
    baseline = _load("baseline")
    if baseline is None:
        raise RuntimeError(
            "the cpp kernels were not compiled when lam was installed (no C++20 compiler?); reinstall with one, or use plain"
        )
    able = KINDS[KINDS.index(baseline.processor()) :]
    forced = os.environ.get(FORCED)
    if forced is not None and forced not in able:
        raise RuntimeError(f"{FORCED}={forced}: this processor runs {', '.join(able)}")
    for kind in (forced,) if forced else able:
        module = _load(kind)
        if module is not None:
            return module
    raise RuntimeError(f"{FORCED}={forced}: the cpp kernels were not compiled for it when lam was installed")


def available() -> bool:
    """Whether there are compiled operators for this processor."""
    try:
        native()
    except RuntimeError:
        return False
    return True


def _load(kind: str) -> Native | None:
    try:
        return cast(Native, importlib.import_module(f"{__package__}._{kind}"))
    except ImportError:
        return None


def run(
    name: str, like: Tensor, arrays: Sequence[Tensor | None], sizes: Sequence[int], numbers: Sequence[float] = (), *, threads: int = 0
) -> None:
    """Call an operator in the precision of `like`, on contiguous tensors of that precision; None for what is not asked for."""
    addresses = [0 if array is None else array.data_ptr() for array in arrays]
    native().run(name, like.dtype is torch.float64, addresses, list(sizes), list(numbers), threads or torch.get_num_threads())


def padded(width: int, like: Tensor) -> int:
    """`width` in whole vectors."""
    lanes = native().lanes(like.element_size())
    return -(-width // lanes) * lanes


def ready(*tensors: Tensor | None) -> list[Any]:
    """The tensors as operators take them, contiguous; raises RuntimeError where they lie elsewhere or mix precisions."""
    kinds = {tensor.dtype for tensor in tensors if tensor is not None}
    if not (kinds <= {torch.float32} or kinds <= {torch.float64}):
        raise RuntimeError(f"the cpp kernels take tensors of float32 or of float64, not {', '.join(sorted(map(str, kinds)))}")
    if any(tensor is not None and tensor.device.type != "cpu" for tensor in tensors):
        raise RuntimeError("the cpp kernels work on CPU tensors")
    return [tensor if tensor is None else tensor.contiguous() for tensor in tensors]


def empty(like: Tensor, asked: bool = True) -> Tensor | None:
    """Room for something of the shape of `like`, if asked."""
    return torch.empty_like(like) if asked else None


def filled(grad: Tensor | None, like: Tensor) -> Tensor:
    """A gradient that autograd did not fill in stands for zeros."""
    return torch.zeros_like(like) if grad is None else grad.contiguous()


def wanted(ctx: Any, first: int, count: int = 1) -> bool:
    """Whether any of the tensors `first ... first + count` of `apply` gets a gradient in this pass, not in any (`ctx.needs_input_grad`).

    Taking forces must not compute gradients of weights, and training must not compute Hessians.
    """
    return any(node is not None and _executes(node) for node, _ in ctx.next_functions[first : first + count])


def _executes(node: Any) -> bool:
    try:
        return bool(torch._C._will_engine_execute_node(node))
    except RuntimeError:  # it does not say so of a leaf that `torch.autograd.grad` was asked for
        return True


def apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """`function.apply`, which torch leaves without types."""
    call: Callable[..., Any] = function.apply
    return call(*arguments)


def refuse_second_derivative(what: str) -> None:
    """A graph through gradients of weights does not exist; raises RuntimeError where one would be needed."""
    if torch.is_grad_enabled():
        raise RuntimeError(f"the fused {what} has no second derivative by its weights; use the plain kernels")
