"""Kernels by name; all give the same numbers, first and second derivatives included.

plain    PyTorch's own operators: the default, and what the others are measured against
closed   the gated softmax with its derivatives written out in PyTorch: any device, less memory
cpp      C++ operators for CPU tensors, compiled when they are first asked for
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from .. import gate_softmax as plain_softmax
from . import closed_form, plain
from .fused import environment, gate_softmax, moment, neighbor_sums, pair_attention, pair_update, symmetrize, three_body
from .native import native


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """One implementation of each slow part; None where only the model's own formula exists."""

    name: str
    chunk_atoms: int = 48
    """Atoms of a chunk on a CPU: pair tensors stay in cache, and with twice as many a long run is slower by 40%, glibc searching its heap."""
    gate_softmax: Callable = plain_softmax.gate_softmax
    symmetrize: Callable = plain.symmetrize
    neighbor_sums: Callable | None = None
    environment: Callable | None = None
    pair_attention: Callable | None = None
    pair_update: Callable | None = None
    moment: Callable | None = None
    three_body: Callable | None = None


PLAIN = Kernels(name="plain")


def kernels(name: str) -> Kernels:
    """The kernels called `name`; raises ValueError for another name, RuntimeError where they cannot be compiled."""
    if name == "cpp":
        return _compiled()
    named = {"plain": PLAIN, "closed": Kernels(name="closed", gate_softmax=closed_form.gate_softmax)}
    if name not in named:
        raise ValueError(f"no kernels called {name!r}; there are plain, closed and cpp")
    return named[name]


@functools.cache
def _compiled() -> Kernels:
    """The operators that were compiled at installation."""
    native()

    return Kernels(
        name="cpp",
        chunk_atoms=96,  # an atom at a time stays in cache; fewer calls
        gate_softmax=gate_softmax.gate_softmax,
        neighbor_sums=neighbor_sums.neighbor_sums,
        symmetrize=symmetrize.symmetrize,
        environment=environment.environment,
        pair_attention=pair_attention.pair_attention,
        pair_update=pair_update.pair_update,
        moment=moment.moment,
        three_body=three_body.three_body,
    )
