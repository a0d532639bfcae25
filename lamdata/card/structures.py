"""One frame -> what it takes to draw it in three dimensions: atoms, bonds, cell, in plain numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..elements import NUMBERS, SYMBOLS
from ..frame import Frame
from ..store.layout import SPLITS

BOND = 1.15  # times the sum of covalent radii (Cordero et al. 2008) up to which a line is drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A frame of a store, and where it stands there."""

    frame: Frame
    row: int
    split: str

    def to_json(self) -> dict[str, Any]:
        """As plain data; Å, eV, eV/Å."""
        frame = self.frame
        forces = None if frame.forces is None else float(np.linalg.norm(frame.forces, axis=1).max())
        return {
            "row": self.row,
            "split": self.split,
            "origin": frame.origin,
            "group": frame.group,
            "formula": _formula(frame),
            "energy": frame.energy,
            "largest_force": None if forces is None else round(forces, 4),
            "symbols": [SYMBOLS[z] for z in frame.numbers.tolist()],
            "positions": _rounded(frame.positions),
            "cell": None if frame.cell is None else _rounded(frame.cell),
            "bonds": _bonds(frame),
        }


def example_of(frame: Frame, *, row: int, split: int) -> Example:
    """With the words for its split."""
    return Example(frame=frame, row=row, split=SPLITS[split])


def look_of(symbols: Iterable[str]) -> dict[str, tuple[str, float]]:
    """Element -> its colour (Jmol's, as #rrggbb) and the radius of its ball, Å."""
    from ase.data import covalent_radii
    from ase.data.colors import jmol_colors

    found = {}
    for symbol in sorted(set(symbols), key=NUMBERS.__getitem__):
        colour = np.round(255 * jmol_colors[min(NUMBERS[symbol], len(jmol_colors) - 1)]).astype(int)
        found[symbol] = ("#" + "".join(f"{part:02x}" for part in colour), round(0.45 * float(covalent_radii[NUMBERS[symbol]]), 3))
    return found


def _formula(frame: Frame) -> str:
    numbers, counts = np.unique(frame.numbers, return_counts=True)
    return "".join(f"{SYMBOLS[z]}{count if count > 1 else ''}" for z, count in zip(numbers.tolist(), counts.tolist()))


def _bonds(frame: Frame) -> list[list[int]]:
    """Pairs of atoms of the cell as it stands; those to images are not drawn."""
    from ase.data import covalent_radii

    radii = covalent_radii[frame.numbers]
    apart = np.linalg.norm(frame.positions[:, None] - frame.positions[None], axis=-1)
    near = np.argwhere(np.triu(apart < BOND * (radii[:, None] + radii[None]), 1))
    return [[int(i), int(j)] for i, j in near]


def _rounded(values: np.ndarray) -> list[list[float]]:
    return [[round(float(x), 4) + 0.0 for x in row] for row in values]
