"""Electron configurations of the elements as vectors, for the type embedding `use_econf_tebd`.

Each of 59 spatial orbitals gives two numbers, by its occupation in the ground state of the free atom, filled with as many
unpaired spins as Hund's rule asks: empty (-1, -1), one electron (-1, 1), two (1, 1); the vector is divided by sqrt(118).
The order of subshells and the scale are those of DeePMD-kit's `econf_embd.py`, to which the values are compared in the tests.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from .elements import NUMBERS, SYMBOLS

SUBSHELLS = "1s 2s 2p 3s 3p 3d 4s 4p 4d 4f 5s 5p 5d 5f 6s 6p 6d 7s 7p".split()
FILLING = "1s 2s 2p 3s 3p 4s 3d 4p 5s 4d 5p 6s 4f 5d 6p 7s 5f 6d 7p".split()  # Madelung's order
ORBITALS = {"s": 1, "p": 3, "d": 5, "f": 7}

# Ground states that do not follow Madelung's order: what replaces the outer subshells. Where tables differ (Lr, Ds, Rg),
# DeePMD-kit's choice stands.
EXCEPTIONS = {
    "Cr": "3d5 4s1", "Cu": "3d10 4s1", "Nb": "4d4 5s1", "Mo": "4d5 5s1", "Ru": "4d7 5s1", "Rh": "4d8 5s1", "Pd": "4d10 5s0",
    "Ag": "4d10 5s1", "La": "4f0 5d1", "Ce": "4f1 5d1", "Gd": "4f7 5d1", "Pt": "5d9 6s1", "Au": "5d10 6s1", "Ac": "5f0 6d1",
    "Th": "5f0 6d2", "Pa": "5f2 6d1", "U": "5f3 6d1", "Np": "5f4 6d1", "Cm": "5f7 6d1", "Ds": "6d9 7s1", "Rg": "6d10 7s1",
}  # fmt: skip


def electron_configurations(elements: list[str]) -> Tensor:
    """(len(elements), 118) float64."""
    scale: float = 118**-0.5
    return torch.tensor([_vector(occupation(symbol)) for symbol in elements], dtype=torch.float64) * scale


def occupation(symbol: str) -> dict[str, int]:
    """Electrons in each subshell of the free atom."""
    left, filled = NUMBERS[symbol], dict.fromkeys(SUBSHELLS, 0)
    for shell in FILLING:
        filled[shell] = min(left, 2 * ORBITALS[shell[1]])
        left -= filled[shell]
    for shell, count in re.findall(r"(\d[spdf])(\d+)", EXCEPTIONS.get(symbol, "")):
        filled[shell] = int(count)
    return filled


def _vector(filled: dict[str, int]) -> list[float]:
    values: list[float] = []
    for shell in SUBSHELLS:
        orbitals = ORBITALS[shell[1]]
        for orbital in range(orbitals):
            electrons = (filled[shell] > orbital) + (filled[shell] > orbital + orbitals)
            values += {0: [-1.0, -1.0], 1: [-1.0, 1.0], 2: [1.0, 1.0]}[electrons]
    return values


assert len(SYMBOLS) == 118 and 2 * sum(ORBITALS[s[1]] for s in SUBSHELLS) == 118
