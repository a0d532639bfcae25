"""Out of memory -> one line that names a number of atoms that was tried and fits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from lamdata.errors import LamError

# What the allocators say: torch's for CPU tensors, oneDNN's and MKL's workspaces, C++'s.
COMPLAINTS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "could not create a memory",
    "bad_alloc",
    "Resource temporarily unavailable",  # a thread of the backward pass whose stack finds no room
)


class OutOfMemory(LamError, MemoryError):
    """A batch that is too large for the machine."""

    exit_code = 3


def is_out_of_memory(err: BaseException) -> bool:
    """Whether an exception says that memory ran out; on a CPU torch raises a plain RuntimeError."""
    if isinstance(err, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(err, RuntimeError) and any(complaint in str(err) for complaint in COMPLAINTS)


def fits(attempt: Callable[[], object]) -> bool:
    """Whether `attempt` ends without running out of memory. What it returned is let go of."""
    try:
        attempt()
    except (RuntimeError, MemoryError) as err:
        if not is_out_of_memory(err):
            raise
        return False
    return True


def find_budget(attempt: Callable[[int], object], *, failed: int) -> int:
    """Halve the number of atoms until `attempt(atoms)` fits; 0 if nothing does. `failed` atoms are known not to."""
    atoms = failed // 2
    while atoms and not fits(partial(attempt, atoms)):
        atoms //= 2
    return atoms
