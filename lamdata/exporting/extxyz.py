"""Rows -> extended XYZ, every float64 as the shortest text that gives it back; units stand in each comment line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ..elements import SYMBOLS
from ..errors import DataError
from ..frame import F64, Frame
from .rows import About, Row

UNITS = "energy_unit=eV pos_unit=Angstrom force_unit=eV/Angstrom stress_unit=eV/Angstrom^3"


def write_extxyz(rows: Iterable[Row], path: Path, about: About) -> None:
    """Write one file."""
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(frame_text(row, dataset=about.dataset))


def frame_text(row: Row, *, dataset: str) -> str:
    """One frame with its split and dataset."""
    return text_of(row.frame, words={"split": row.split, "dataset": dataset})


def text_of(frame: Frame, *, words: Mapping[str, str], columns: Mapping[str, F64] | None = None) -> str:
    """One frame: the number of atoms, the comment, a line for each atom. Labels that it lacks are left out.

    `words` end the comment as they are, before the units; `columns` (A,) or (A, n) follow the others.
    """
    columns = ({} if frame.forces is None else {"forces": frame.forces}) | dict(columns or {})
    comment = [] if frame.cell is None else [f'Lattice="{_numbers(frame.cell)}"']
    more = "".join(f":{name}:R:{1 if values.ndim == 1 else values.shape[1]}" for name, values in columns.items())
    comment.append(f"Properties=species:S:1:pos:R:3{more}")
    comment.append('pbc="{} {} {}"'.format(*("T" if p else "F" for p in frame.pbc)))
    if frame.energy is not None:
        comment.append(f"energy={frame.energy!r}")
    if frame.virial is not None:
        comment.append(f'virial="{_numbers(frame.virial)}"')
        if frame.volume:
            comment.append(f'stress="{_numbers(-frame.virial / frame.volume)}"')
    comment.append(f"charge={frame.charge}")
    if frame.multiplicity is not None:
        comment.append(f"spin_multiplicity={frame.multiplicity}")
    if frame.weight != 1.0:
        comment.append(f"weight={frame.weight!r}")
    comment += [f"{name}={quoted(text, where=frame.origin)}" for name, text in (("group", frame.group), ("origin", frame.origin))]
    comment += [*(f"{name}={text}" for name, text in words.items()), UNITS]
    taken = {pair.partition("=")[0] for pair in (*comment, *UNITS.split())}
    for key, text in frame.info.items():
        name = f"info_{key}" if key in taken else key  # of one that means something here already, it is what the source says
        name = name if re.fullmatch(r"[\w.-]+", name) else quoted(name, where=frame.origin)
        comment.append(f"{name}={quoted(text, where=frame.origin)}")
    values = np.concatenate([frame.positions, *(part.reshape(len(frame.numbers), -1) for part in columns.values())], axis=1)
    atoms = (f"{SYMBOLS[z]} {' '.join(map(repr, line))}" for z, line in zip(frame.numbers.tolist(), values.tolist()))
    return f"{len(frame.numbers)}\n{' '.join(comment)}\n" + "\n".join(atoms) + "\n"


def _numbers(values: np.ndarray) -> str:
    return " ".join(map(repr, values.ravel().tolist()))


def quoted(text: str, *, where: str) -> str:
    """In the quotes that the text does not have."""
    if '"' not in text and not text.isprintable() or ('"' in text and "'" in text):
        raise DataError(f"{text!r:.80} has no place in a line of extended XYZ", where=where, hint="export to another format")
    return f"'{text}'" if '"' in text else f'"{text}"'
