"""Trajectories that programs write beside their logs: OpenMX .md, PWmat MOVEMENT and OUT.MLMD, n2p2 input.data."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import F64, MAX_ATOMS, Frame, Rejection
from lamdata.units import BOHR, ENERGY, FORCE, HARTREE, LENGTH

from ..build import build, element
from ..bytes.files import SourceFile
from ..bytes.numbers import columns, floats
from .steps import Step, frames


class OpenmxReader:
    """OpenMX `*.md` of any `MD.Type` (`openmx/md`).

    Energies are printed with 5 decimals of a Hartree (0.3 meV); forces in Hartree/bohr in columns 5 to 7.
    """

    name = "openmx/md"
    options: dict[str, tuple] = {}
    open_units = False

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield every step."""
        return frames(file, self._steps(file))

    def _steps(self, file: SourceFile) -> Iterator[Step]:
        lines = file.lines()
        for line in lines:
            if not line.strip():
                continue
            natoms, title = stated_atoms(line, file), next(lines, "")
            energy = re.search(r"Energy= *(\S+) +\(Hartree\)", title)
            rows = [row.split() for row in itertools.islice(lines, natoms)]
            if energy is None or len(rows) < natoms or any(len(row) < 7 for row in rows):
                yield Step()  # cut
                return
            cell = floats(title.partition("Cell_Vectors=")[2])
            table = np.array([[float(word) for word in row[1:7]] for row in rows])
            yield Step(
                [element(row[0]) for row in rows],
                table[:, :3],
                np.array(cell[:9]).reshape(3, 3) if len(cell) >= 9 else None,
                energy=float(energy[1]) * HARTREE,
                forces=table[:, 3:] * HARTREE / BOHR,
                complete=True,
            )

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Return what the input beside it (same name, .dat) states."""
        deck = file.sibling(file.basename.rpartition(".")[0] + ".dat")
        if deck is None:
            return {"code": "OpenMX"}
        text = deck.text()
        out: dict[str, Any] = {"code": "OpenMX"}
        if found := re.search(r"^scf\.XcType +(\S+)", text, re.MULTILINE | re.IGNORECASE):
            out["functional"] = {"GGA-PBE": "PBE", "LDA": "LDA", "LSDA-CA": "LDA", "LSDA-PW": "LDA"}.get(found[1].upper(), found[1])
        if found := re.search(r"^scf\.energycutoff +(\S+)", text, re.MULTILINE | re.IGNORECASE):
            out["cutoff"] = round(float(found[1]) * ENERGY["Rydberg"], 2)
        if found := re.search(r"^scf\.SpinPolarization +(\S+)", text, re.MULTILINE | re.IGNORECASE):
            out["spin"] = {"off": "none", "on": "collinear", "nc": "noncollinear"}.get(found[1].lower(), found[1])
        species = re.search(r"<Definition\.of\.Atomic\.Species\s*\n(.*?)\nDefinition", text, re.DOTALL)
        if species:
            out["core"] = ", ".join(sorted(word for row in species[1].splitlines() for word in row.split()[1:3]))
        return out

    def guess(self, file: SourceFile, head: bytes) -> bool:
        return b"Cell_Vectors=" in head[:1000] and b"(Hartree)" in head[:1000]


class PwmatReader:
    """PWmat MOVEMENT, OUT.MLMD and atom.config, a structure alone (`pwmat/movement`). Energy is Ep, the potential energy.

    The table `Force` holds dE/dR, so forces are minus it. The stress of PWmat has no documented sign here, and is left out.
    """

    name = "pwmat/movement"
    options: dict[str, tuple] = {}
    open_units = False

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield every step."""
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
                step = Step(energy=floats(line.partition("Etot,Ep,Ek")[2].partition("=")[2])[1])
            elif "Lattice vector" in line:
                vectors = [row.partition("stress")[0] for row in itertools.islice(lines, 3)]
                step.cell = _table(iter(vectors), 3, file, skip=0)
            elif "Position" in line and "nonperiodic" not in line:
                rows = _table(lines, natoms, file, skip=0, width=4)
                step.symbols = [int(number) for number in rows[:, 0]]
                step.positions = rows[:, 1:] @ step.cell if step.cell is not None else None
            elif re.match(r" *Force", line):
                step.forces = -_table(lines, natoms, file, skip=1)
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


class N2p2Reader:
    """n2p2 / RuNNer `input.data` (`n2p2`). In Hartree and bohr, unless the card's `units` say otherwise.

    The format has no way to leave a label out: an energy and forces that are all exactly zero stand for none.
    """

    name = "n2p2"
    options: dict[str, tuple] = {}
    open_units = True

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield every structure between `begin` and `end`; each is a group of its own, the format knows no trajectories."""
        length = LENGTH[spec.units.length or "bohr"]
        energy = ENERGY[spec.units.energy or "Hartree"]
        force = FORCE[spec.units.force or "Hartree/bohr"]
        index, block = 0, None
        for line in file.lines():
            words = line.split()
            if words[:1] == ["begin"]:
                block = {"atom": [], "lattice": []}
            elif words[:1] == ["end"] and block is not None:
                yield _n2p2_frame(block, f"{file.name}#{index}", length, energy, force)
                index, block = index + 1, None
            elif block is not None and words and words[0] in ("atom", "lattice"):
                block[words[0]].append(words[1:])
            elif block is not None and words and words[0] in ("energy", "charge"):
                block[words[0]] = float(words[1])
        if block is not None:
            if index == 0:
                raise SourceError("ends within its first structure: truncated", where=file.name)
            yield Rejection(origin=f"{file.name}#{index}", reason="truncated")

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """The format states nothing."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        return head.lstrip().startswith(b"begin") and b"\natom" in head


def _n2p2_frame(block: dict[str, Any], origin: str, length: float, energy: float, force: float) -> Frame | Rejection:
    atoms = block["atom"]
    if any(len(atom) < 9 for atom in atoms):
        return Rejection(origin=origin, reason="an atom has fewer than nine columns")
    forces = np.array([[float(word) for word in atom[6:9]] for atom in atoms]).reshape(-1, 3) * force
    labelled = block.get("energy", 0.0) != 0.0 or forces.any()
    return build(
        origin=origin,
        symbols=[atom[3] for atom in atoms],
        positions=np.array([[float(word) for word in atom[:3]] for atom in atoms]).reshape(-1, 3) * length,
        cell=np.array([[float(word) for word in row[:3]] for row in block["lattice"]]) * length if block["lattice"] else None,
        energy=block["energy"] * energy if "energy" in block and labelled else None,
        forces=forces if labelled else None,
        charge=round(block.get("charge", 0.0)),
        group=origin,
    )


def stated_atoms(line: str, file: SourceFile) -> int:
    """The number of atoms at the start of a line."""
    found = re.match(r" *(\d+)", line)
    if found is None or not 0 < int(found[1]) <= MAX_ATOMS:
        raise SourceError(f"expected a number of atoms, found {line.strip()[:60]!r}", where=file.name)
    return int(found[1])


def _table(lines: Iterator[str], count: int, file: SourceFile, *, skip: int, width: int = 3) -> F64:
    rows = [columns(row)[skip : skip + width] for row in itertools.islice(lines, count)]
    if len(rows) < count or any(len(row) < width for row in rows):
        raise SourceError("a table is cut", where=file.name)
    return np.array(rows)
