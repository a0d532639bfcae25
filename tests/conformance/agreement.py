"""Our frames against the manifest and against bare libraries: one line for each thing that differs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from libraries import Values
from manifest import Row

ENERGY = 1e-6  # relative: two CODATA years differ by 9e-7
FORCE = 1e-5  # relative to the largest
SAME = 1e-6  # eV, eV/Å: below it nothing differs


def against_manifest(row: Row, ours: list[Values], stored: int, rejected: int) -> list[tuple[str, str]]:
    """(field, what differs); `stored` frames are converged, `rejected` ones came with a reason."""
    out = []
    if row.frames is not None and row.frames not in (len(ours), stored, len(ours) + rejected, stored + rejected):
        out.append(("frames", f"{len(ours)} frames and {rejected} rejected, the manifest has {row.frames}"))
    if not ours:
        return out
    first = ours[0]
    if row.natoms and row.natoms != first.natoms:
        out.append(("natoms", f"{first.natoms} atoms, the manifest has {row.natoms}"))
    if row.energy is not None and not any(_close(e, row.energy) for e in first.energies):
        found = ", ".join(f"{e:.8f}" for e in first.energies) or "none"
        out.append(("energy", f"energy {found}, the manifest has {row.energy:.8f}"))
    if row.forces is not None and row.forces != (first.forces is not None):
        out.append(("forces", f"forces {'present' if first.forces is not None else 'absent'}, the manifest says otherwise"))
    if row.virial is not None and row.virial != (first.virial is not None):
        out.append(("virial", f"virial {'present' if first.virial is not None else 'absent'}, the manifest says otherwise"))
    return out


def against_library(ours: list[Values], theirs: list[Values], rejected: int) -> list[tuple[str, str]]:
    """(field, what differs) over the frames that both have, matched by energy where their numbers differ.

    Frames that we reject with a reason, and the library gives, are no difference.
    """
    out: list[tuple[str, str]] = []
    pairs = list(_paired(ours, theirs))
    if not len(ours) <= len(theirs) <= len(ours) + rejected:
        out.append(("frames", f"{len(ours)} frames against {len(theirs)}"))
    if len(pairs) < min(len(ours), len(theirs)):
        out.append(("energy", f"{min(len(ours), len(theirs)) - len(pairs)} frames have none of the same energy to compare with"))
    worst = max((_energy_gap(a, b) for a, b in pairs), default=0.0)
    if worst > ENERGY:
        out.append(("energy", f"energies differ by {worst:.1e} of their size"))
    for field in ("forces", "virial"):
        gap = max((_gap(getattr(a, field), getattr(b, field), a.natoms) for a, b in pairs), default=0.0)
        if gap > FORCE:
            out.append((field, f"{field} differ by {gap:.1e} of the largest"))
    return out


def _paired(ours: list[Values], theirs: list[Values]) -> Iterable[tuple[Values, Values]]:
    if len(ours) == len(theirs):  # a library may give the systems in another order
        key = lambda v: (v.natoms, round(v.energies[0], 4) if v.energies else 0.0)  # noqa: E731
        in_order = all(_energy_gap(a, b) <= ENERGY for a, b in zip(ours, theirs, strict=True))
        return list(zip(ours, theirs, strict=True)) if in_order else list(zip(sorted(ours, key=key), sorted(theirs, key=key), strict=True))
    few, left = (ours, list(theirs)) if len(ours) < len(theirs) else (theirs, list(ours))
    found = []
    for one in few:
        alike = [i for i, b in enumerate(left) if b.natoms == one.natoms and _energy_gap(one, b) <= ENERGY]
        if alike:
            found.append((one, left.pop(min(alike, key=lambda i, a=one: _distance(a, left[i])))))
    return [pair if few is ours else pair[::-1] for pair in found]


def _distance(a: Values, b: Values) -> float:
    """How unlike two frames are: steps of one run may have nearly the same energy."""
    return _energy_gap(a, b) / ENERGY + sum(_gap(getattr(a, name), getattr(b, name), a.natoms) for name in ("forces", "virial")) / FORCE


def _energy_gap(a: Values, b: Values) -> float:
    if not a.energies or not b.energies:
        return 0.0
    return min(0.0 if _close(x, y, 0) else abs(x - y) / max(abs(y), 1.0) for x in a.energies for y in b.energies)


def _gap(a: np.ndarray | None, b: np.ndarray | None, natoms: int) -> float:
    """Largest difference relative to the largest value; rounding of printed digits, which grows with the atoms, is none."""
    if a is None or b is None or a.shape != b.shape:
        return 0.0
    difference = float(np.abs(a - b).max())
    return 0.0 if difference < SAME * natoms else difference / max(float(np.abs(b).max()), 1e-3)


def _close(a: float, b: float, relative: float = ENERGY) -> bool:
    return abs(a - b) <= SAME + relative * abs(b)
