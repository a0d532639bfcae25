"""Trajectories that programs write beside their logs: OpenMX .md, PWmat MOVEMENT and OUT.MLMD."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.elements import SYMBOLS
from lamdata.errors import SourceError
from lamdata.frame import F64, MAX_ATOMS, Frame, Rejection
from lamdata.frames import Parsed
from lamdata.units import BOHR, ENERGY, HARTREE

from ..build import build, element
from ..bytes.files import SourceFile
from ..bytes.lines import Lines
from ..bytes.numbers import columns
from .steps import Step, frames

OPENMX_ENERGY = re.compile(r"Energy= *(\S+) +\(Hartree\)")


class OpenmxReader:
    """OpenMX `*.md` of any `MD.Type` (`openmx/md`).

    Energies are printed with 5 decimals of a Hartree (0.3 meV); forces in Hartree/bohr in columns 5 to 7.
    """

    name = "openmx/md"
    options: dict[str, tuple[str, ...]] = {}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Parsed | Rejection]:
        """Yield every step, many at once."""
        return frames(file, self._steps(file))

    def _steps(self, file: SourceFile) -> Iterator[Step]:
        lines = file.lines()
        deck = left_out = None
        ahead: tuple[str, str] | None = None  # a number of atoms and a title, met where atoms should be
        while True:
            line, title = ahead or (next((line for line in lines if line.strip()), ""), next(lines, ""))
            if not line:
                return
            natoms, energy = stated_atoms(line, file), OPENMX_ENERGY.search(title)
            found, ahead = _openmx_atoms(lines, natoms)
            if energy is None or found is None:
                yield Step()  # cut: what wrote it was killed, and the next run may have gone on behind it
                ahead = ahead or _openmx_title(lines)
                continue
            symbols, table = found
            if left_out is None:
                deck, left_out = _openmx_input(file, symbols), _openmx_stress(file)
            cell = columns(title.partition("Cell_Vectors=")[2])
            yield Step(
                symbols,
                table[:, :3],
                np.array(cell[:9]).reshape(3, 3) if len(cell) >= 9 else None,
                energy=columns(energy[1])[0] * HARTREE,
                forces=table[:, 3:] * HARTREE / BOHR,
                charge=_openmx_charge(deck, file),
                complete=True,
                left_out=left_out,
            )

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Return what the input beside it (same name, .dat, same atoms) states."""
        lines = file.lines()
        natoms = stated_atoms(next(lines, ""), file)
        next(lines, "")
        text = _openmx_input(file, [element((row.split() or [""])[0]) for row in itertools.islice(lines, natoms)])
        out: dict[str, Any] = {"code": "OpenMX"}
        if not text:
            return out
        if found := _openmx_word(text, "scf.XcType"):
            out["functional"] = {"GGA-PBE": "PBE", "LDA": "LDA", "LSDA-CA": "LDA", "LSDA-PW": "LDA"}.get(found.upper(), found)
        if found := _openmx_word(text, "scf.energycutoff"):
            out["cutoff"] = round(float(found) * ENERGY["Rydberg"], 2)
        if found := _openmx_word(text, "scf.SpinPolarization"):
            out["spin"] = {"off": "none", "on": "collinear", "nc": "noncollinear"}.get(found.lower(), found)
        if _openmx_word(text, "scf.dftD").lower() == "on":
            out["dispersion"] = f"D{_openmx_word(text, 'version.dftD') or '2'}"
        if _openmx_word(text, "scf.Hubbard.U").lower() == "on":
            out["hubbard_u"] = "DFT+U"
        species = re.search(r"<Definition\.of\.Atomic\.Species\s*\n(.*?)\nDefinition", text, re.DOTALL)
        if species:
            out["core"] = ", ".join(sorted(word for row in species[1].splitlines() for word in row.split()[1:3]))
        return out

    def guess(self, file: SourceFile, head: bytes) -> bool:
        return b"Cell_Vectors=" in head[:1000] and b"(Hartree)" in head[:1000]


def _openmx_atoms(lines: Lines, natoms: int) -> tuple[tuple[list[str], F64] | None, tuple[str, str] | None]:
    """Elements and (A, 6) positions and forces of the next lines; None where the file ends within them, or the next step comes, whose title then is second."""
    out, numbers = np.empty((natoms, 6)), np.empty(natoms, np.uint8)
    if lines.take("ennnnnn+", out, numbers=numbers):
        return ([SYMBOLS[number] for number in numbers], out), None
    rows: list[str] = []
    for row in itertools.islice(lines, natoms):
        if OPENMX_ENERGY.search(row):
            return None, (rows[-1] if rows else "0", row)
        rows.append(row)
    words = [row.split(maxsplit=1) for row in rows]
    if not lines.cut and len(rows) == natoms and all(len(row) == 2 and len(row[1].split()) >= 6 for row in words):
        return ([element(row[0]) for row in words], np.array([columns(row[1])[:6] for row in words])), None
    if rows and rows[-1].strip().isdigit() and OPENMX_ENERGY.search(title := next(lines, "")):
        return None, (rows[-1], title)
    return None, None


def _openmx_title(lines: Lines) -> tuple[str, str]:
    """The next number of atoms with a title behind it; nothing at the end."""
    before = ""
    for line in lines:
        if before.strip().isdigit() and OPENMX_ENERGY.search(line):
            return before, line
        before = line
    return "", ""


def _openmx_word(text: str, key: str) -> str:
    """The value of a keyword of an OpenMX input, "" where it is not written."""
    found = re.search(rf"^[ \t]*{re.escape(key)}[ \t]+(\S+)", text, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else ""


def _openmx_input(file: SourceFile, symbols: list[str]) -> str:
    """The input of a trajectory, "" where none is beside it: of its name, and with its atoms in their order."""
    stem = file.basename.rpartition(".")[0]
    deck = file.sibling(f"{stem}.dat")
    text = deck.text() if deck else ""
    table = re.search(r"<Atoms\.SpeciesAndCoordinates[ \t]*\n(.*?)\n[ \t]*Atoms\.SpeciesAndCoordinates>", text, re.DOTALL)
    listed = [element(row.split()[1]) for row in table[1].splitlines() if len(row.split()) > 4] if table else symbols
    return text if listed == symbols and _openmx_word(text, "System.Name") in ("", stem) else ""


def _openmx_charge(deck: str | None, file: SourceFile) -> int:
    """`scf.system.charge`: of the holes, so that of the system."""
    charge = float((deck and _openmx_word(deck, "scf.system.charge")) or 0.0)
    if not charge.is_integer():
        raise SourceError(f"a charge of {charge} is not a whole number", where=file.name)
    return int(charge)


def _openmx_stress(file: SourceFile) -> tuple[str, ...]:
    """What is left in the output beside a trajectory."""
    out = file.sibling(file.basename.rpartition(".")[0] + ".out")
    printed = out is not None and out.lines().title({"Stress tensor (": ""}) is not None
    return ("virial: the stress stands in the .out, which is not read",) if printed else ()


class PwmatReader:
    """PWmat MOVEMENT, OUT.MLMD and atom.config, a structure alone (`pwmat/movement`). Energy is Ep, the potential energy.

    The table `Force` holds dE/dR, so forces are minus it. The stress of PWmat has no documented sign here, and is left out. A title
    with a unit that is not known is refused.
    """

    name = "pwmat/movement"
    options: dict[str, tuple[str, ...]] = {}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Parsed | Rejection]:
        """Yield every step, many at once."""
        if b"Etot,Ep,Ek" not in file.head():
            return iter([self._structure(file)])
        return frames(file, self._steps(file))

    def _structure(self, file: SourceFile) -> Frame | Rejection:
        lines = file.lines()
        natoms = stated_atoms(next(lines, ""), file)
        tables = {"LATTICE": np.empty(0), "POSITION": np.empty(0)}
        for line in lines:
            title = line.strip().upper()
            if title.startswith("LATTICE"):
                tables["LATTICE"] = _table(lines, 3, file, skip=0)
            elif title.startswith("POSITION"):
                tables["POSITION"] = _table(lines, natoms, file, skip=0, width=4)
        cell, rows = tables.values()
        if not len(cell) or not len(rows):
            raise SourceError("has no LATTICE or no POSITION", where=file.name)
        numbers = rows[:, 0].astype(np.int64)
        return build(origin=f"{file.name}#0", numbers=numbers, positions=rows[:, 1:] @ cell, cell=cell, group=file.name)

    def _steps(self, file: SourceFile) -> Iterator[Step]:
        lines = file.lines()
        step, natoms = Step(), 0
        for line in lines:
            if "Iteration" in line and "Etot,Ep,Ek" in line:
                natoms = stated_atoms(line, file)
                step = Step(energy=_pwmat_energy(line, file))
            elif "Lattice vector" in line:
                _pwmat_unit(line, "Angstrom", file)
                vectors = list(itertools.islice(lines, 3))
                step.cell = _table(iter(row.partition("stress")[0] for row in vectors), 3, file, skip=0)
                step.left_out += PWMAT_STRESS if any("stress" in row for row in vectors) else ()
            elif "Position" in line and "nonperiodic" not in line:
                _pwmat_unit(line, "normalized", file)
                rows = _table(lines, natoms, file, skip=0, width=4)
                step.symbols = [int(number) for number in rows[:, 0]]
                step.positions = rows[:, 1:] @ step.cell if step.cell is not None else None
            elif re.match(r" *Force", line):
                _pwmat_unit(line.replace("-force,", ""), "eV/Angstrom", file)
                step.forces = -_table(lines, natoms, file, skip=1)
            elif re.match(r" *Atomic-Energy", line):
                step.left_out += PWMAT_ATOMIC
            elif "-----" in line and step.energy is not None:
                step.complete = True
                yield step
                step = Step()
        if step.energy is not None:
            yield step

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing but the program."""
        return {"code": "PWmat"}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        structure = file.basename.endswith(".config") and b"LATTICE" in head.upper() and b"POSITION" in head.upper()
        return b"Etot,Ep,Ek (eV)" in head or structure


PWMAT_STRESS = ("virial: the sign of PWmat's stress is not documented",)
PWMAT_ATOMIC = ("energy of each atom: there is no place for it",)


def _pwmat_energy(line: str, file: SourceFile) -> float:
    """Ep of `Etot,Ep,Ek (eV) = ...`."""
    title, _, rest = line.partition("Etot,Ep,Ek")[2].partition("=")
    values = columns(rest.partition(",")[0])
    if title.strip() != "(eV)" or len(values) != 3:
        raise SourceError(f"expected `Etot,Ep,Ek (eV) =` and three numbers, found {line.strip()[:80]!r}", where=file.name)
    return values[1]


def _pwmat_unit(line: str, expected: str, file: SourceFile) -> None:
    stated = re.search(r"\((.*?)\)", line)
    if stated is not None and stated[1].strip().lower() != expected.lower():
        raise SourceError(f"expected a table in {expected}, found {line.strip()[:60]!r}", where=file.name)


def stated_atoms(line: str, file: SourceFile) -> int:
    """The number of atoms at the start of a line."""
    found = re.match(r" *(\d+)", line)
    if found is None or not 0 < int(found[1]) <= MAX_ATOMS:
        raise SourceError(f"expected a number of atoms, found {line.strip()[:60]!r}", where=file.name)
    return int(found[1])


def _table(lines: Iterator[str], count: int, file: SourceFile, *, skip: int, width: int = 3) -> F64:
    out = np.empty((count, skip + width))
    if isinstance(lines, Lines) and lines.take("n" * (skip + width) + "+", out):
        return np.ascontiguousarray(out[:, skip:])
    rows = [columns(row)[skip : skip + width] for row in itertools.islice(lines, count)]
    if len(rows) < count or any(len(row) < width for row in rows):
        raise SourceError("a table is cut", where=file.name)
    return np.array(rows)
