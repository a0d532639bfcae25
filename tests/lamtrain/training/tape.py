"""Tape: the operators of some work, written down with the memory that they read and write, and done again on what is there then.

A CUDA graph does the same: what was a number of the host when it was recorded stays that number; what was an address is read anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lamtrain.training.graphs import Outcome, Work

aten = torch.ops.aten
READS = (aten._local_scalar_dense, aten.nonzero, aten.equal, aten.lift_fresh)  # numbers that go to the host, or come from there


class Tape(TorchDispatchMode):
    """Writes down what is done in it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self._made: set[int] = set()
        self._before: dict[int, tuple[Tensor, Tensor]] = {}  # what was written to and not made here, and what it held

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        assert func.overloadpacket not in READS, f"{func} in a step that is recorded"
        for tensor in _written(func, args, kwargs):
            if (at := _memory(tensor)) not in self._made:
                self._before.setdefault(at, (tensor, tensor.clone()))
        out = func(*args, **kwargs)
        given = {_memory(tensor) for tensor in _tensors((args, kwargs))}
        new = {_memory(tensor) for tensor in _tensors(out)} - given
        self._made |= new
        if new or func._schema.is_mutable:  # and not a view
            self.calls.append((func, args, kwargs, out))
        return out

    def undo(self) -> None:
        """As if nothing had been done: a graph only records."""
        for tensor, before in self._before.values():
            tensor.copy_(before)

    @torch.no_grad()
    def replay(self) -> None:
        """Do it again."""
        for func, args, kwargs, out in self.calls:
            for place, value in zip(_tensors(out), _tensors(func(*args, **kwargs)), strict=True):
                if _memory(place) != _memory(value):
                    place.copy_(value)


class TapeRecorder:
    """In place of `CudaRecorder`, on a CPU."""

    def __init__(self) -> None:
        self.tapes: list[Tape] = []
        self.done = self.replayed = 0

    def do(self, work: Work) -> Outcome:
        """Do it."""
        self.done += 1
        return work()

    def record(self, work: Work) -> tuple[Outcome, Callable[[], None]]:
        """Write it down."""
        with (tape := Tape()):
            outcome = work()
        with torch.no_grad():
            tape.undo()
            outcome[0].fill_(torch.nan)  # nothing was computed yet
        self.tapes.append(tape)

        def replay() -> None:
            self.replayed += 1
            tape.replay()

        return outcome, replay


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _written(func: Any, args: Any, kwargs: Any) -> Iterator[Tensor]:
    for k, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from _tensors(args[k] if k < len(args) else kwargs.get(argument.name))
