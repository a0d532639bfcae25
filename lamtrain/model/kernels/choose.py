"""Kernels by name; all give the same numbers, first and second derivatives included.

plain    PyTorch's own operators: the default, and what the others are measured against
closed   the gated softmax with its derivatives written out in PyTorch: any device, less memory
cpp      C++ operators for CPU tensors, compiled when they are first asked for
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..gate_softmax import gate_softmax
from . import closed_form
from .plain import symmetrize


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """One implementation of each slow part; None where only the model's own formula exists."""

    name: str
    chunk_atoms: int = 48
    """Atoms of a chunk on a CPU: pair tensors stay in cache, and with twice as many a long run is slower by 40%, glibc searching its heap."""
    gate_softmax: Callable = gate_softmax
    symmetrize: Callable = symmetrize
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
    """Build the operators of this folder (a minute, once; cached by torch), and wrap them."""
    from torch.utils.cpp_extension import load

    sources = sorted(str(path) for path in Path(__file__).parent.glob("*.cpp"))
    # Sums in any order, but a NaN stays one: -ffast-math alone turns it into some finite number.
    flags = ["-O3", "-march=native", "-mprefer-vector-width=512", "-ffast-math", "-fno-finite-math-only", "-fopenmp"]
    try:
        load("lam_kernels", sources, extra_cflags=flags, is_python_module=False)
    except (OSError, RuntimeError) as err:
        raise RuntimeError(f"the cpp kernels need a C++ compiler and ninja, and could not be built: {err}") from err
    ops = torch.ops.lam

    return Kernels(
        name="cpp",
        chunk_atoms=96,  # an atom at a time stays in cache; fewer calls
        gate_softmax=ops.gate_softmax,
        neighbor_sums=ops.neighbor_sums,
        symmetrize=ops.symmetrize,
        environment=ops.environment,
        pair_attention=ops.pair_attention,
        pair_update=ops.pair_update,
        moment=ops.moment,
        three_body=ops.three_body,
    )
