"""Kernels by name; all give the same numbers, first and second derivatives included.

plain    PyTorch's own operators: what the others are measured against
closed   the gated softmax with its derivatives written out in PyTorch: any device, less memory
cpp      C++ operators for CPU tensors, compiled for each kind of processor when the package was installed
triton   kernels for a GPU, compiled when first used, for DPA-2 with the options of its presets; where torch's own products are exact (`matmul: ieee`),
         each is made of three of TF32, which keep the digits of single precision
auto     cpp on a CPU where they were compiled, else plain, which is said once on stderr; on a GPU plain, or triton where a trial says so (lamtrain/kernels.py)
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
    descriptor: Callable[..., Any] | None = None
    """All of DPA-2, in place of its parts."""
    energies: Callable[..., tuple[Tensor, Tensor]] | None = None
    """All energy heads."""


PLAIN = Kernels(name="plain")
EVERY_ATOM = 1 << 30  # one chunk


def kernels(name: str, device: str = "cpu", config: Any = None) -> Kernels:
    """The kernels called `name`, for tensors on that type of device; ValueError for another name, RuntimeError where there are none.

    `config` is of the model that they are for; without one, triton's are taken to cover it.
    """
    if name == "auto":
        return _best(device)
    if name == "cpp":
        return _compiled()
    if name == "triton":
        return _tiled(device, config)
    named = {"plain": PLAIN, "closed": Kernels(name="closed", gate_softmax=closed_form.gate_softmax)}
    if name not in named:
        raise ValueError(f"no kernels called {name!r}; there are auto, plain, closed, cpp and triton")
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


def _tiled(device: str, config: Any) -> Kernels:
    """Triton's kernels; on a CPU under its interpreter alone, as the tests run them."""
    if importlib.util.find_spec("triton") is None:
        raise RuntimeError("triton is not installed; pip install lam[triton]")
    if device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise RuntimeError("the triton kernels are for a GPU, and this is a CPU")
    from .tiled.dpa2 import uncovered

    if config is not None and (option := uncovered(config)) is not None:
        raise RuntimeError(f"the triton kernels do not cover `{option}`")
    return tiled()


def tiled() -> Kernels:
    """Triton's kernels wherever they are asked to run; steps on tensors without numbers need no triton."""
    from .tiled import dpa2, fitting

    return Kernels(name="triton", chunk_atoms=EVERY_ATOM, descriptor=dpa2.descriptor, energies=fitting.energies)


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
