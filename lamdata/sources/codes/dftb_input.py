"""Inputs of DFTB+ (HSD, as it is written or as the program prints it back): geometry, charge and what stands for the theory."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from lamdata.errors import SourceError
from lamdata.frame import F64, MAX_ATOMS

from ..bytes.files import SourceFile

SHELLS = {"s": 1, "p": 2, "d": 3, "f": 4}
NOTHING = ("", "none", "no")
SPIN = {"colinear": "collinear", "noncolinear": "noncollinear"}


class DftbInput:
    """`dftb_pin.hsd` or `dftb_in.hsd`."""

    def __init__(self, file: SourceFile):
        self.file, self.text = file, re.sub(r"#.*", "", file.text())

    def value(self, key: str) -> str | None:
        """What is written after `key =`: a word, "{" for a block, "" for an empty one; None where the key is not written."""
        found = re.search(rf'^[ \t]*{key}(?:[ \t]*\[[^\]\n]*\])?[ \t]*=[ \t]*("[^"\n]*"|\{{\s*\}}|\{{|[-+\w.]+)', self.text, re.M | re.I)
        return None if found is None else "" if found[1].startswith("{") and found[1].endswith("}") else found[1].strip('"')

    def is_on(self, key: str) -> bool:
        """Whether a choice is written and is not `{}` or `None`."""
        return (self.value(key) or "").lower() not in NOTHING

    def geometry(self) -> tuple[list[str], F64, F64 | None]:
        """Symbols, positions and cell in Å."""
        return gen_format(self.text, where=self.file.name)

    def shells(self, symbols: list[str]) -> list[int]:
        """Number of l-shells of each atom, [] where the input does not say it plainly."""
        found = re.search(r"MaxAngularMomentum\s*=?\s*\{(.*?)\}", self.text, re.DOTALL | re.IGNORECASE)
        stated = dict(re.findall(r'(\w+)\s*=\s*"([spdf])"', found[1])) if found else {}
        return [SHELLS[stated[symbol]] for symbol in symbols] if set(symbols) <= stated.keys() else []

    def theory(self) -> dict[str, Any]:
        """The fields of `Theory` that it states: the Slater-Koster set by its folder, and what is switched on."""
        method = self.value("Method") if (self.value("Hamiltonian") or "").lower() == "xtb" else None
        third = (self.value("ThirdOrderFull") or "").lower() == "yes"
        out: dict[str, Any] = {"functional": method or ("DFTB3" if third else "DFTB")}
        if (found := re.search(r'"([^"\n]{0,500}?)/?[^"/\n]{0,100}\.skf"', self.text)) and found[1]:
            out["core"] = found[1].rpartition("/")[2]
        if (spin := self.value("SpinPolarisation")) is not None:
            out["spin"] = SPIN.get(spin.lower(), "none" if spin.lower() in NOTHING else spin)
        if (dispersion := self.value("Dispersion")) is not None:
            out["dispersion"] = "none" if dispersion.lower() in NOTHING else dispersion
        if states := [key for key in ("ElectricField", "Solvation") if self.is_on(key)]:
            out["state"] = ", ".join(states)
        return out


def gen_format(text: str, *, where: str) -> tuple[list[str], F64, F64 | None]:
    """Symbols, positions and cell in Å of the `Geometry = GenFormat { ... }` block of an input."""
    found = re.search(r"Geometry\s*=\s*GenFormat\s*\{(.*?)\}", text, re.DOTALL)
    rows = [row.split() for row in (found[1].splitlines() if found else []) if row.split()]
    if not rows or "<<<" in rows[0]:
        raise SourceError("has no geometry in GenFormat", where=where)
    natoms, kind = int(rows[0][0]), rows[0][1].upper()
    if kind not in ("C", "S", "F"):
        raise SourceError(f"a geometry of kind {kind!r} is not known", where=where)
    if not 0 < natoms <= MAX_ATOMS or len(rows) < (2 if kind == "C" else 6) + natoms:
        raise SourceError(f"states {natoms} atoms, lists {len(rows) - 2}", where=where)
    symbols = [rows[1][int(row[1]) - 1] for row in rows[2 : 2 + natoms]]
    positions = np.array([[float(word) for word in row[2:5]] for row in rows[2 : 2 + natoms]])
    if kind == "C":
        return symbols, positions, None
    origin, *vectors = (np.array([float(word) for word in row[:3]]) for row in rows[2 + natoms : 6 + natoms])
    cell = np.array(vectors)
    return symbols, positions @ cell if kind == "F" else positions - origin, cell
