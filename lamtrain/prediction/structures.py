"""Structures as people hold them -> frames that a model can be asked about, or why it cannot be."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from lamdata.elements import SYMBOLS
from lamdata.errors import DataError
from lamdata.frame import Frame
from lamdata.frames import Frames

if TYPE_CHECKING:
    from ase import Atoms

ASKED_OF_ATOMS = ("charge", "total_charge", "spin", "spin_multiplicity", "multiplicity")  # keys of `info` that other models heed
SMALLEST_VOLUME = 1e-3  # Å^3; below it a cell is degenerate


def as_frame(structure: Atoms | Frame) -> Frame:
    """One structure without labels. Raises DataError where `Atoms` state a charge or a spin, of which a model knows nothing."""
    if isinstance(structure, Frame):
        return structure
    if not is_structure(structure):
        raise TypeError(f"a structure is ase.Atoms or lamdata.Frame, not {type(structure).__name__}")
    numbers = np.asarray(structure.numbers)
    if (strange := numbers[(numbers < 0) | (numbers >= len(SYMBOLS))]).size:
        raise DataError(f"{strange[0]} is no atomic number")
    _refuse_charge_and_spin(structure)
    cell = np.array(structure.cell, np.float64)
    pbc = (bool(structure.pbc[0]), bool(structure.pbc[1]), bool(structure.pbc[2]))
    return Frame(
        numbers=numbers.astype(np.uint8),
        positions=np.array(structure.positions, np.float64),
        cell=cell if cell.any() else None,
        pbc=pbc,
    )


def content_of(frame: Frame) -> bytes:
    """What a structure is, wherever it was read from."""
    parts = (frame.numbers, frame.positions, np.zeros((3, 3)) if frame.cell is None else frame.cell, np.array(frame.pbc))
    return hashlib.blake2b(b"".join(np.ascontiguousarray(part).tobytes() for part in parts), digest_size=16).digest()


def is_structure(thing: object) -> bool:
    """Whether this is one structure; what holds several of them may pass on their names, so its type is asked."""
    return isinstance(thing, Frame) or hasattr(type(thing), "get_initial_charges")


def _refuse_charge_and_spin(atoms: Any) -> None:
    formula = atoms.get_chemical_formula  # which takes longer than all the rest, so only where it is said
    if atoms.has("initial_charges") and atoms.get_initial_charges().any():
        raise DataError("atoms have initial charges, and the model takes none", where=formula(), hint="set them to zero if none is meant")
    if atoms.has("initial_magmoms") and np.any(atoms.get_initial_magnetic_moments()):
        hint = "set them to zero if none are meant"
        raise DataError("atoms have initial magnetic moments, and the model takes none", where=formula(), hint=hint)
    for key in ASKED_OF_ATOMS:
        value = atoms.info.get(key)
        usual = (None, 0, 1) if key.endswith("multiplicity") else (None, 0)
        if value not in usual:
            raise DataError(
                f"info[{key!r}] is {value}, and the model takes neither charge nor spin", where=formula(), hint="take the key out"
            )


def refuse(frames: Frames, *, elements: Collection[str]) -> None:
    """Raise DataError for the first frame that the model cannot be asked about."""
    for row, reason in refusals(frames, elements=elements).items():
        raise DataError(reason, where=f"structure {row}" if len(frames) > 1 else None)


def refusals(frames: Frames, *, elements: Collection[str]) -> dict[int, str]:
    """Row -> why a model that knows `elements` cannot be asked about the frame: what it would answer would be a number without meaning."""
    reasons: dict[int, str] = {}
    starts, known = frames.starts, np.zeros(256, bool)
    known[[SYMBOLS.index(symbol) for symbol in elements]] = True
    strange = ~known[frames.numbers]
    for row in np.unique(np.repeat(np.arange(len(frames)), frames.natoms)[strange]).tolist():
        atoms = slice(starts[row], starts[row + 1])
        names = ", ".join(_name(z) for z in np.unique(frames.numbers[atoms][strange[atoms]]).tolist())
        reasons[row] = f"the model does not know {names}; it knows {', '.join(elements)}"
    for row in np.flatnonzero((frames.charge != 0) | (frames.multiplicity > 1)).tolist():
        electrons = int(frames.numbers[starts[row] : starts[row + 1]].sum()) - int(frames.charge[row])
        if frames.charge[row]:
            reasons.setdefault(row, f"charge {frames.charge[row]}, and the model takes no charge")
        elif frames.multiplicity[row] != 1 + electrons % 2:
            reasons.setdefault(row, f"spin multiplicity {frames.multiplicity[row]}, and the model takes no spin")
    finite = np.isfinite(frames.cell).all((1, 2)) & np.logical_and.reduceat(np.isfinite(frames.positions).all(1), starts[:-1])
    flat = frames.pbc.all(1) & ~(np.abs(np.linalg.det(np.nan_to_num(frames.cell))) >= SMALLEST_VOLUME)
    for row in np.flatnonzero(~finite | flat).tolist():
        reasons.setdefault(row, "cell has no volume" if finite[row] else "positions or cell are not finite")
    return reasons


def _name(number: int) -> str:
    return SYMBOLS[number] if 0 < number < len(SYMBOLS) else "a hidden element"
