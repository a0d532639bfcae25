"""Forces in which those of fixed atoms were set to zero -> no forces: such zeros are the constraint's, not the calculation's.

Programs that relax with fixed atoms write either kind. What was computed sums to nearly zero; where the fixed atoms all have exactly
zero and the others do not sum to zero, the forces of the fixed atoms were taken away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamdata.frame import F64

ZEROED = "forces: those of fixed atoms were set to zero"
DRIFT = 1e-3, 0.02  # eV/Å, and share of the largest force: a net force that a program may leave


def are_zeroed(forces: F64, fixed: NDArray[np.bool_]) -> bool:
    """Say whether forces (A, 3) lack those of the fixed atoms or components, (A,) or (A, 3)."""
    held = np.broadcast_to(fixed if fixed.ndim == 2 else fixed[:, None], forces.shape)
    if not held.any() or forces[held].any() or not np.isfinite(forces).all():
        return False
    return bool(np.linalg.norm(forces.sum(axis=0)) > DRIFT[0] + DRIFT[1] * np.abs(forces).max())


def fixed_by_mask(columns: Sequence[Sequence[bytes]]) -> NDArray[np.bool_]:
    """(A,) or (A, 3) from the one or three columns `move_mask` of extended XYZ, true where an atom moves."""
    moves = np.array([[word.upper() in (b"T", b"TRUE", b"1") for word in column] for column in columns], bool).T
    return ~(moves[:, 0] if moves.shape[1] == 1 else moves)


def fixed_by_constraints(constraints: Any, atoms: int) -> NDArray[np.bool_]:
    """(A,) from ASE's constraints, {"name": "FixAtoms", "kwargs": {"indices": [...]}}; other kinds fix no whole atom."""
    fixed = np.zeros(atoms, bool)
    for one in constraints if isinstance(constraints, list) else ():
        if isinstance(one, Mapping) and one.get("name") == "FixAtoms" and isinstance(one.get("kwargs"), Mapping):
            indices = np.ravel(np.asarray(_indices(one["kwargs"].get("indices")), np.int64))
            fixed[indices[(indices >= 0) & (indices < atoms)]] = True
    return fixed


def _indices(value: Any) -> Any:
    """A list, or {"__ndarray__": [shape, dtype, flat]}."""
    if isinstance(value, Mapping):
        value = value.get("__ndarray__", [None, None, []])[2]
    return [] if value is None else value
