"""Ionic steps of an OUTCAR that print the same titles in the same order -> arrays of many; each is what the reader gives one by one.

The titles of a step that was read alone say how the next ones are taken, as long as they are as plain: converged before NELM, with a virial
that is that of the stress, by no learned force field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamdata.frame import F64
from lamdata.frames import Frames, Parsed
from lamdata.units import KBAR

from ..bytes.alike import FRAMES, Line, Template, repeating
from ..bytes.lines import Lines
from ..gathered import LARGE, are_sound
from .vasp_labels import differ, stresses_of

REPEATED = ("iteration", "change")
ONCE = {"aborting", "order", "virial", "stress", "lattice", "forces", "free", "last"}
SIX = 6 * "n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What the steps have in common."""

    template: Template
    values: Mapping[str, slice]
    numbers: NDArray[np.uint8]  # (N,) atomic numbers
    cell: F64  # (3, 3) Å, where a step prints none
    charge: int
    left_out: tuple[str, ...]
    order: str  # of the components of the stress
    nelm: int


def template_of(
    seen: Sequence[tuple[str, str]], titles: Mapping[str, str], natoms: int, *, sigma0: bool
) -> tuple[Template, dict[str, slice]] | None:
    """The lines of a step of which these (name, line) were read, and where its numbers are; None where another order was never met.

    `titles` are the marks of the run, text -> name.
    """
    names = [name for name, _ in seen]
    once = [name for name in names if name not in REPEATED]
    known = ONCE.issuperset(once) and len(set(once)) == len(once)
    if (
        not known
        or names[0] != "iteration"
        or names[-1] != "last"
        or not {"forces", "free"}.issubset(once)
        or set(names[1:]) & set(REPEATED)
    ):
        return None
    texts = tuple(sorted(titles))
    lines = [repeating(texts, {text: {"iteration": "c", "change": "t"}.get(titles[text], ".") for text in texts})]
    values, at = {"loops": slice(0, 1)}, 1
    for name, line in seen[1:]:
        pairs, tables = _line_of(name, line.rstrip("\n"), natoms, sigma0=sigma0)
        lines += [Line(">", next(text for text in texts if titles[text] == name), pairs=pairs), *tables]
        size = sum(text.count("n") for _, kind, text in pairs if kind == "n") + sum(t.pattern.count("n") for t in tables if t.kind == "n")
        values[name] = slice(at, at := at + size)
    return Template(lines, style="columns", titles=texts), values


def _line_of(name: str, line: str, natoms: int, *, sigma0: bool) -> tuple[tuple[tuple[str, str, str], ...], list[Line]]:
    """What is taken of the line of a title, and the lines behind it."""
    if name in ("virial", "stress"):
        return (({"virial": "Total", "stress": "kB"}[name], "n", SIX),), []
    if name == "free":
        return ((line.partition("=")[0] + "=", "n", "n*"),), []
    if name == "last":
        mark = "sigma->0)" + line.partition("sigma->0)")[2].partition("=")[0] + "="
        return ((line.partition("=")[0] + "=", "n", "*"), *(((mark, "n", "n*"),) if sigma0 else ())), []
    if name == "lattice":
        return (), [Line("n", pattern="nnn+")] * 3
    tables = [Line("."), Line("k", str(natoms)), Line("a", pattern=SIX + "+")] if name == "forces" else []
    return ((line, "=", ""),), tables


def take_alike(lines: Lines, common: Common, first: int, name: str) -> Parsed | None:
    """The next steps, of which the first has the number `first` in the file `name`; None, and nothing is taken, where it is not as plain."""
    found = lines.alike(common.template, FRAMES)
    if found is None:
        return None
    values = {what: np.ascontiguousarray(found.values[:, at]) for what, at in common.values.items()}
    cell = values["lattice"].reshape(-1, 3, 3) if "lattice" in values else np.tile(common.cell, (len(found), 1, 1))
    energy = (values["last"] if values["last"].size else values["free"])[:, 0]
    table = found.table.reshape(len(found), -1)
    with np.errstate(invalid="ignore", over="ignore"):
        loops = values["loops"][:, 0]
        fine = (loops > 0) & ((loops < common.nelm) | (common.nelm == 0))
        fine &= are_sound(cell) & (np.abs(energy) < LARGE) & np.isfinite(values["free"][:, 0]) & np.isfinite(table.sum(axis=1))
        volumes = np.abs(np.linalg.det(cell))
        stress = stresses_of(values["stress"], common.order) if "stress" in values else None
        if stress is not None:
            fine &= np.isfinite(stress.sum(axis=(1, 2)))
            if "virial" in values:
                fine &= ~differ(stresses_of(values["virial"], common.order) / KBAR, stress * volumes[:, None, None])
    count = len(found) if fine.all() else int(np.argmin(fine))
    if count < len(found):
        lines.back_to(int(found.places[count]))
    if count == 0:
        return None
    atoms = count * len(common.numbers)
    frames = Frames.from_arrays(
        numbers=np.tile(common.numbers, count),
        positions=np.ascontiguousarray(found.table[:atoms, :3]),
        natoms=np.full(count, len(common.numbers), np.int32),
        cell=cell[:count],
        energy=energy[:count].copy(),
        forces=np.ascontiguousarray(found.table[:atoms, 3:]),
        virial=None if stress is None else -volumes[:count, None, None] * -stress[:count],
    )
    return Parsed(
        frames=frames.with_(charge=np.full(count, common.charge, np.int16)),
        groups=[name] * count,
        origins=[f"{name}#{i}" for i in range(first, first + count)],
        unconverged=np.zeros(count, bool),
        left_out=[common.left_out] * count if common.left_out else (),
        converged=[True] * count,
    )
