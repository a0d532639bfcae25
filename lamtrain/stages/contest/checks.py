"""Checks: one structure, with energy, forces and virial -> the first reason why it does not count, in the order of REASONS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lamdata.frame import Frame

REASONS = (  # in the order in which they are looked for; "counts" is none
    "unreadable", "not a crystal", "too large", "implausible", "not computed", "not relaxed", "no hull", "above the hull", "known", "duplicate", "counts",
)  # fmt: skip
MOST_ATOMS = 2000
CLOSEST = 0.5  # of the sum of two covalent radii; the shortest bonds known are about 0.7
FILLED = (0.3, 500.0)  # volume of the cell by that of the spheres of covalent radii: close-packed metals 1.3, helium 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What counts."""

    within: float = 0.0  # eV by atom above the hull
    fmax: float = 0.05  # eV/Å of a force, and eV of the virial by atom
    tolerance: float = 0.05  # Å, root mean square, by which copies may differ: relaxations end a little apart


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What became of one structure."""

    row: int
    origin: str
    status: str
    reason: str = ""
    formula: str = ""
    atoms: int | None = None
    energy_ev_per_atom: float | None = None
    above_hull_mev_per_atom: float | None = None
    largest_force_ev_per_angstrom: float | None = None
    largest_virial_ev_per_atom: float | None = None
    volume_angstrom3_per_atom: float | None = None
    note: str = ""  # where what is handed in is not what is computed


def implausible(frame: Frame) -> tuple[str, str] | None:
    """Status and reason for what no crystal is, before anything is computed of it."""
    if not all(frame.pbc):
        return "not a crystal", "it is not periodic in all directions"
    if len(frame.numbers) > MOST_ATOMS:
        return "too large", f"{len(frame.numbers):,} atoms, at most {MOST_ATOMS:,} are looked at"
    from ase import neighborlist
    from ase.data import covalent_radii

    radii = covalent_radii[frame.numbers]
    filled = (frame.volume or 0.0) / float((4 / 3 * np.pi * radii**3).sum())
    if not FILLED[0] < filled < FILLED[1]:
        return "implausible", f"its cell has {filled:.3g} times the volume of its atoms, expected {FILLED[0]:g} to {FILLED[1]:g}"
    neighbours: Any = neighborlist.neighbor_list
    near = neighbours("d", frame.to_ase(), (CLOSEST * radii).tolist())
    if len(near):
        return "implausible", f"atoms are {near.min():.2g} Å apart, less than {CLOSEST:g} of the sum of their radii"
    return None


def unrelaxed(frame: Frame, rules: Rules) -> str | None:
    """Why a structure with forces and virial is not at rest."""
    if frame.energy is None or frame.forces is None or frame.virial is None:
        lacking = [name for name in ("energy", "forces", "virial") if getattr(frame, name) is None]
        return f"it has no {', '.join(lacking)}"
    force, virial = largest(frame)
    if not force <= rules.fmax:
        return f"a force of {force:.3g} eV/Å, at most {rules.fmax:g}"
    if not virial <= rules.fmax:
        return f"a virial of {virial:.3g} eV by atom, at most {rules.fmax:g}: its cell is not at rest"
    return None


def largest(frame: Frame) -> tuple[float, float]:
    """Largest force, eV/Å, and largest component of the virial by atom, eV."""
    assert frame.forces is not None and frame.virial is not None
    force = float(np.sqrt(np.square(frame.forces).sum(axis=1)).max())
    return force, float(np.abs(frame.virial).max() / len(frame.numbers))
