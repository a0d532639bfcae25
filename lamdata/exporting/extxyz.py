"""Rows -> extended XYZ, every float64 as the shortest text that gives it back; units stand in each comment line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..elements import SYMBOLS
from ..errors import DataError
from .rows import About, Row

UNITS = "energy_unit=eV pos_unit=Angstrom force_unit=eV/Angstrom stress_unit=eV/Angstrom^3"


def write_extxyz(rows: Iterable[Row], path: Path, about: About) -> None:
    """Write one file."""
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(frame_text(row, dataset=about.dataset))


def frame_text(row: Row, *, dataset: str) -> str:
    """One frame: the number of atoms, the comment, a line for each atom. Labels that it lacks are left out."""
    frame = row.frame
    words = [] if frame.cell is None else [f'Lattice="{_numbers(frame.cell)}"']
    words.append(f"Properties=species:S:1:pos:R:3{'' if frame.forces is None else ':forces:R:3'}")
    words.append('pbc="{} {} {}"'.format(*("T" if p else "F" for p in frame.pbc)))
    if frame.energy is not None:
        words.append(f"energy={frame.energy!r}")
    if frame.virial is not None:
        words.append(f'virial="{_numbers(frame.virial)}"')
        if frame.volume:
            words.append(f'stress="{_numbers(-frame.virial / frame.volume)}"')
    words.append(f"charge={frame.charge}")
    if frame.multiplicity is not None:
        words.append(f"spin_multiplicity={frame.multiplicity}")
    words += [f"{name}={_quoted(text, row)}" for name, text in (("group", frame.group), ("origin", frame.origin))]
    words += [f"split={row.split}", f"dataset={dataset}", UNITS]
    columns = frame.positions if frame.forces is None else np.concatenate([frame.positions, frame.forces], axis=1)
    atoms = (f"{SYMBOLS[z]} {' '.join(map(repr, line))}" for z, line in zip(frame.numbers.tolist(), columns.tolist()))
    return f"{len(frame.numbers)}\n{' '.join(words)}\n" + "\n".join(atoms) + "\n"


def _numbers(values: np.ndarray) -> str:
    return " ".join(map(repr, values.ravel().tolist()))


def _quoted(text: str, row: Row) -> str:
    """In the quotes that the text does not have."""
    if '"' not in text and not text.isprintable() or ('"' in text and "'" in text):
        raise DataError(f"{text!r:.80} has no place in a line of extended XYZ", where=row.frame.origin, hint="export to another format")
    return f"'{text}'" if '"' in text else f'"{text}"'
