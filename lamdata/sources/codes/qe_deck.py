"""Inputs of pw.x and cp.x: elements, cell and positions, as far as they are written out."""

from __future__ import annotations

import re
from functools import cached_property

import numpy as np

from lamdata.errors import SourceError
from lamdata.frame import F64, MAX_ATOMS
from lamdata.units import BOHR

from ..build import element
from ..bytes.files import SourceFile
from ..bytes.numbers import floats

MAX_DECK = 64 << 20  # bytes
# Lattice vectors in units of celldm(1) by ibrav (https://www.quantum-espresso.org/Doc/INPUT_CP.html): those that need one length.
LATTICES = {
    1: np.eye(3),
    2: np.array([[-1, 0, 1], [0, 1, 1], [-1, 1, 0]]) / 2,
    3: np.array([[1, 1, 1], [-1, 1, 1], [-1, -1, 1]]) / 2,
    -3: np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) / 2,
}
CARD = re.compile(r"\n[ \t]*(ATOMIC_SPECIES|ATOMIC_POSITIONS|CELL_PARAMETERS)\b(.*)", re.IGNORECASE)


class Deck:
    """An input, namelists first and then cards; raises `SourceError` where it does not state what it must."""

    def __init__(self, file: SourceFile):
        self.where = file.name
        self.text = "\n" + re.sub(r"!.*", "", file.bytes(MAX_DECK).decode("utf-8", errors="replace"))
        self.cards: dict[str, re.Match[str]] = {}
        for card in CARD.finditer(self.text):
            self.cards.setdefault(card[1].upper(), card)
        self.namelists = self.text[: min((card.start() for card in self.cards.values()), default=None)]

    def symbols(self) -> list[str]:
        """Elements in the order of ATOMIC_POSITIONS."""
        return [element(row[0]) for row in self._card("ATOMIC_POSITIONS", self._integer("nat"))[1]]

    def cell(self) -> F64 | None:
        """Cell (3, 3) in Å; `None` for lattices that take more than one length."""
        ibrav, alat = self._integer("ibrav"), self._alat
        if alat and ibrav in LATTICES:
            return LATTICES[ibrav] * alat
        if ibrav != 0:
            return None
        unit, rows = self._card("CELL_PARAMETERS", 3)
        return _table(rows) * _unit(unit, alat) if _unit(unit, alat) else None

    def positions(self) -> F64 | None:
        """Positions (A, 3) in Å; `None` where their unit is not plain."""
        unit, rows = self._card("ATOMIC_POSITIONS", self._integer("nat"))
        table = _table([row[1:] for row in rows])
        if "crystal" in unit:
            cell = self.cell()
            return None if cell is None or "crystal_sg" in unit else table @ cell
        return table * _unit(unit, self._alat) if _unit(unit, self._alat) else None

    def charge(self) -> int:
        """`tot_charge`; one that is not whole is refused."""
        charge = self.number("tot_charge")
        if not float(charge).is_integer():
            raise SourceError(f"tot_charge is {charge}, no whole number", where=self.where)
        return int(charge)

    def pseudopotentials(self) -> list[str]:
        """Files of the species."""
        return [row[2] for row in self._card("ATOMIC_SPECIES", self._integer("ntyp"))[1]]

    def word(self, key: str) -> str:
        """The text of a variable in quotes, "" where it is not written."""
        found = re.search(rf"\b{key}\s*=\s*['\"]([^'\"\n]*)['\"]", self.namelists, re.IGNORECASE)
        return found[1].strip() if found else ""

    def number(self, key: str) -> float:
        """A number, 0 where it is not written."""
        found = re.search(rf"\b{key}\s*=\s*([\d.DEde+-]+)", self.namelists, re.IGNORECASE)
        return floats(found[1])[0] if found else 0.0

    def flag(self, key: str) -> bool:
        """Whether a logical is written as true."""
        return re.search(rf"\b{key}\s*=\s*\.?t", self.namelists, re.IGNORECASE) is not None

    @cached_property
    def _alat(self) -> float:
        bohr = re.search(r"\bcelldm\(1\)\s*=\s*([\d.DEde+-]+)", self.namelists, re.IGNORECASE)  # in brackets: no plain key
        angstrom = re.search(r"\bA\s*=\s*([\d.DEde+-]+)", self.namelists)
        return floats(bohr[1])[0] * BOHR if bohr else floats(angstrom[1])[0] if angstrom else 0.0

    def _integer(self, key: str) -> int:
        found = re.search(rf"\b{key}\s*=\s*(-?\d+)", self.namelists, re.IGNORECASE)
        if found is None or int(found[1]) > MAX_ATOMS:
            raise SourceError(f"states no usable {key}", where=self.where)
        return int(found[1])

    def _card(self, title: str, count: int) -> tuple[str, list[list[str]]]:
        """The unit in a card's title, lower case, and the rows below it."""
        found = self.cards.get(title)
        rows = list(filter(None, map(str.split, self.text[found.end() :].splitlines())))[:count] if found else []
        if found is None or len(rows) < count or any(len(row) < 3 for row in rows):
            raise SourceError(f"{title} has fewer than {count} rows", where=self.where)
        return found[2].strip(" \t{}()").lower(), rows


def _unit(name: str, alat: float) -> float:
    """Å in a unit; 0 where it is not known."""
    return {"angstrom": 1.0, "bohr": BOHR, "alat": alat, "": alat}.get(name, 0.0)


def _table(rows: list[list[str]]) -> F64:
    try:
        return np.array([[float(word) for word in row[:3]] for row in rows])
    except ValueError:  # exponents of double precision
        return np.array([[float(word.replace("D", "E").replace("d", "e")) for word in row[:3]] for row in rows])
