"""DFTB+ (detailed.out beside its parsed input) and AMBER's sqm: one structure a file, molecules or crystals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import F64, MAX_ATOMS, Frame, Rejection
from lamdata.units import BOHR, HARTREE

from ..build import build
from ..bytes.files import SourceFile
from ..bytes.numbers import floats

INPUTS = ("dftb_pin.hsd", "dftb_in.hsd")
MOVED = re.compile(r"^ *(?:Geometry optimization|MD|Difference derivative) step: *[1-9]\d*", re.MULTILINE)
# sqm prints kcal/mol from eV by this rounded factor; undone the same way, forces stay derivatives of the energy in eV.
SQM_KCAL = 1 / 23.061  # eV


class DftbPlusReader:
    """DFTB+ `detailed.out` with `dftb_pin.hsd` or `dftb_in.hsd` beside it (`dftbplus/detailed`).

    Energy is the force-related one where it is printed (with a finite electronic temperature the Mermin free energy).
    """

    name = "dftbplus/detailed"
    options: dict[str, tuple] = {}
    open_units = False

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the one frame."""
        if b"|  DFTB+ release" in file.head():
            raise SourceError("is what DFTB+ prints as it runs; the labels stand in its detailed.out", where=file.name)
        deck = next((found for name in INPUTS if (found := file.sibling(name)) is not None), None)
        if deck is None:
            raise SourceError("the geometry stands in dftb_pin.hsd, which is not beside it", where=file.name)
        text = file.text()
        if "SCC is NOT converged" in text:
            yield Rejection(origin=f"{file.name}#0", reason="unconverged")
            return
        if moved := MOVED.search(text):
            yield Rejection(origin=f"{file.name}#0", reason="the input has the geometry of the first step alone", value=moved[0].strip())
            return
        symbols, positions, cell = gen_format(deck.text(), where=deck.name)
        energy = next(
            (found for name in ("Force related energy", "Total Mermin free energy", "Total energy") if (found := _energy(text, name))), None
        )
        if energy is None:
            raise SourceError("states no total energy: truncated", where=file.name)
        yield build(
            origin=f"{file.name}#0",
            symbols=symbols,
            positions=positions,
            cell=cell,
            energy=energy,
            forces=_forces(text, len(symbols), where=file.name),
            converged=True if "SCC converged" in text else None,
            group=file.name,
        )

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Return the Slater-Koster set by the folder that the input names."""
        deck = next((found for name in INPUTS if (found := file.sibling(name)) is not None), None)
        found = re.search(r'"([^"\n]{0,500}?)/?[^"/\n]{0,100}\.skf"', deck.text()) if deck else None
        core = {"core": found[1].rpartition("/")[2]} if found and found[1] else {}
        return {"code": "DFTB+", "functional": "DFTB3" if deck and "ThirdOrderFull = Yes" in deck.text() else "DFTB", **core}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        return file.basename == "detailed.out" or b" iSCC Total electronic " in head


def gen_format(text: str, *, where: str) -> tuple[list[str], F64, F64 | None]:
    """Symbols, positions and cell in Å of the `Geometry = GenFormat { ... }` block of an input."""
    found = re.search(r"Geometry\s*=\s*GenFormat\s*\{(.*?)\}", text, re.DOTALL)
    rows = [row.split() for row in (found[1].splitlines() if found else []) if row.split()]
    if not rows or "<<<" in rows[0]:
        raise SourceError("has no geometry in GenFormat", where=where)
    natoms, kind = int(rows[0][0]), rows[0][1].upper()
    if not 0 < natoms <= MAX_ATOMS or len(rows) < 2 + natoms:
        raise SourceError(f"states {natoms} atoms, lists {len(rows) - 2}", where=where)
    symbols = [rows[1][int(row[1]) - 1] for row in rows[2 : 2 + natoms]]
    positions = np.array([[float(word) for word in row[2:5]] for row in rows[2 : 2 + natoms]])
    if kind == "C":
        return symbols, positions, None
    origin, *vectors = (np.array([float(word) for word in row[:3]]) for row in rows[2 + natoms : 6 + natoms])
    cell = np.array(vectors)
    return symbols, positions @ cell if kind == "F" else positions - origin, cell


def _energy(text: str, name: str) -> float | None:
    found = re.findall(rf"^{name}: +(\S+) H", text, re.MULTILINE)
    return float(found[-1]) * HARTREE if found else None


def _forces(text: str, natoms: int, *, where: str) -> F64 | None:
    _, title, rest = text.rpartition("Total Forces\n")
    if not title:
        return None
    rows = [floats(row) for row in rest.splitlines()[:natoms]]
    if len(rows) < natoms or any(len(row) < 3 for row in rows):
        raise SourceError("the table of forces is cut", where=where)
    return np.array([row[-3:] for row in rows]) * HARTREE / BOHR


class SqmReader:
    """AMBER sqm output (`sqm/output`). Energies in eV as printed; sqm's Hartree is 27.21 eV, so they are 5e-5 off CODATA.

    `QMMM: Forces` are gradients in spite of their title: minus them are the forces.
    """

    name = "sqm/output"
    options: dict[str, tuple] = {}
    open_units = False

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the one frame."""
        text = file.text()
        origin = f"{file.name}#0"
        if "Calculation Completed" not in text:
            raise SourceError("does not say `Calculation Completed`: truncated, or the run failed", where=file.name)
        if "convergence could not be achieved" in text.lower():
            yield Rejection(origin=origin, reason="unconverged")
            return
        atoms = re.findall(
            r"^ +QMMM: +\d+ +\d+ +([A-Z][a-z]?)\*? +(\S+) +(\S+) +(\S+) *$", text.rpartition("Final Structure")[2], re.MULTILINE
        )
        energy = re.findall(r"Total SCF energy +=.*\( *(\S+) eV\)", text)
        gradient = re.findall(r"^QMMM: Atm +\d+: *(.*)$", text.rpartition("QMMM: Forces on QM atoms")[2], re.MULTILINE)
        if not atoms or not energy:
            raise SourceError("states no final structure or no energy", where=file.name)
        rows = np.array([[float(row[i : i + 20]) for i in range(len(row) - 60, len(row), 20)] for row in (r.rjust(60) for r in gradient)])
        yield build(
            origin=origin,
            symbols=[atom[0] for atom in atoms],
            positions=np.array([[float(word) for word in atom[1:]] for atom in atoms]),
            energy=float(energy[-1]),
            forces=-rows * SQM_KCAL if gradient else None,
            converged=True,
            group=file.name,
        )

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Return the Hamiltonian and its parameters."""
        text = file.head(20000).decode("utf-8", errors="replace")
        version = re.search(r"AMBER SQM VERSION (\S+)", text)
        method = re.search(r"(DFTB3|DFTB|PM6|PM3|AM1|MNDO)", text)
        cores = re.search(r"/([^/\s]+)/[A-Z][a-z]?-[A-Z][a-z]?\.skf", text)
        out = {"code": f"AMBER sqm {version[1]}" if version else "AMBER sqm"}
        return out | ({"functional": method[1]} if method else {}) | ({"core": cores[1]} if cores else {})

    def guess(self, file: SourceFile, head: bytes) -> bool:
        return b"AMBER SQM VERSION" in head
