"""Kernels by name; all give the same numbers, first and second derivatives included.

plain    PyTorch's own operators: what the others are measured against
closed   the gated softmax with its derivatives written out in PyTorch: any device, less memory
cpp      C++ operators for CPU tensors, compiled for each kind of processor when the package was installed
auto     cpp on a CPU where they were compiled, else plain, which is said once on stderr
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from .. import gate_softmax as plain_softmax
from . import closed_form, plain
from .fused import (
    edges,
    environment,
    gate_softmax,
    moment,
    neighbor_sums,
    node_update,
    pair_attention,
    pair_update,
    step,
    symmetrize,
    tabulated,
    three_body,
)
from .native import native

One = Callable[..., Tensor]
Three = Callable[..., tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """One implementation of each slow part; None where the model's own formula is used."""

    name: str
    chunk_atoms: int = 48
    """Atoms of a chunk on a CPU: pair tensors stay in cache, and with twice as many a long run is slower by 40%, glibc searching its heap."""
    gate_softmax: One = plain_softmax.gate_softmax
    symmetrize: One = plain.symmetrize
    neighbor_sums: Three | None = None
    environment: Three | None = None
    pair_attention: One | None = None
    pair_update: One | None = None
    node_update: One | None = None
    moment: One | None = None
    three_body: One | None = None
    tabulated: Callable[..., tuple[Tensor, Tensor]] | None = None
    edge_sums: One | None = None
    step: Callable[..., step.StepResult] | None = None


PLAIN = Kernels(name="plain")


def kernels(name: str, device: str = "cpu") -> Kernels:
    """The kernels called `name`, for tensors on that type of device; ValueError for another name, RuntimeError where there are none."""
    if name == "auto":
        return _best(device)
    if name == "cpp":
        return _compiled()
    named = {"plain": PLAIN, "closed": Kernels(name="closed", gate_softmax=closed_form.gate_softmax)}
    if name not in named:
        raise ValueError(f"no kernels called {name!r}; there are auto, plain, closed and cpp")
    return named[name]


@functools.cache
def _best(device: str) -> Kernels:
    if device != "cpu":
        return PLAIN
    try:
        return _compiled()
    except RuntimeError as err:
        print(f"kernels: plain, several times slower, since {err}", file=sys.stderr)
        return PLAIN


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
        node_update=node_update.node_update,
        moment=moment.moment,
        three_body=three_body.three_body,
        tabulated=tabulated.tabulated,
        edge_sums=edges.sums,
        step=step.step,
    )
