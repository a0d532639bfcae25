"""DFTB+ (detailed.out beside its parsed input) and AMBER's sqm: one structure a file, molecules or crystals."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import F64, Frame, Rejection
from lamdata.units import BOHR, HARTREE

from ..build import Unusable, build, rejects
from ..bytes.files import SourceFile
from ..bytes.numbers import columns
from .dftb_input import DftbInput

SIGNS = (b"distribution function\n", b"Calculation with static geometry", b"Geometry optimization step:", b"MD step:", b"Band energy:")
INPUTS = ("dftb_pin.hsd", "dftb_in.hsd")
STEP = re.compile(r"^ *(?:Geometry optimization|MD|Difference derivative|Socket interfaced) step: *(\d+)(?:.*step: *(\d+))?", re.MULTILINE)
ENERGIES = ("Force related energy", "Total Mermin free energy", "Total energy")  # the first that is printed
TAGGED = {"Total Mermin free energy": "mermin_energy", "Total energy": "total_energy"}  # the same in results.tag
DIGITS = 2e-8  # Hartree: energies have 8 or 10 decimals
DIPOLE = 1e-5  # au for 1 Å: charges and dipole have 8 decimals, an input that a person wrote fewer
SAME_FORCE = 1e-6  # Hartree/bohr
# sqm prints kcal/mol from eV by this rounded factor; undone the same way, forces stay derivatives of the energy in eV.
SQM_KCAL = 1 / 23.061  # eV
MULTIPLICITY = {"SINGLET": 1, "DOUBLET": 2, "TRIPLET": 3, "QUARTET": 4, "QUINTET": 5, "SEXTET": 6}


class DftbPlusReader:
    """DFTB+ `detailed.out` with `dftb_pin.hsd` or `dftb_in.hsd` beside it (`dftbplus/detailed`).

    Energy is the force-related one where it is printed (with a finite electronic temperature the Mermin free energy). The input is of
    the same run where its atoms, their shells, its charge and its volume are those of the output; results.tag where its energy is.
    """

    name = "dftbplus/detailed"
    options: dict[str, tuple[str, ...]] = {}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the one frame."""
        if b"|  DFTB+ release" in file.head():
            raise SourceError("is what DFTB+ prints as it runs; the labels stand in its detailed.out", where=file.name)
        deck = _dftb_input(file)
        if deck is None:
            raise SourceError("the geometry stands in dftb_pin.hsd, which is not beside it", where=file.name)
        text = file.text()
        if "SCC is NOT converged" in text:
            yield Rejection(origin=f"{file.name}#0", reason="unconverged")
            return
        if not any(_energy(text, name) is not None for name in ENERGIES):
            raise SourceError("states no total energy: truncated", where=file.name)
        yield _dftb_frame(file, text, deck, origin=f"{file.name}#0")

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Return what the input states."""
        deck = _dftb_input(file)
        return {"code": "DFTB+"} | ({"functional": "DFTB"} if deck is None else deck.theory())

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """Its table of cycles; without self-consistency its first lines under its usual name."""
        return b" iSCC Total electronic " in head or file.basename == "detailed.out" and any(sign in head for sign in SIGNS)


def _dftb_input(file: SourceFile) -> DftbInput | None:
    """The input as the program understood it, else as it was written."""
    return next((DftbInput(found) for name in INPUTS if (found := file.sibling(name)) is not None), None)


@rejects("a structure of DFTB+")
def _dftb_frame(file: SourceFile, text: str, deck: DftbInput, *, origin: str) -> Frame | Rejection:
    _prove_static(text, deck)
    symbols, positions, cell = deck.geometry()
    _prove_atoms(text, symbols, deck)
    _prove_positions(text, positions, deck)
    if "Excitation Energy" in text:
        raise Unusable("of an excited state, or beside one")
    energy = next(found for name in ENERGIES if (found := _energy(text, name)) is not None)
    forces, missing = _all_forces(file, text, len(symbols))
    virial, unsure = _virial(text, cell)
    unpaired = float(deck.value("UnpairedElectrons") or 0.0) if deck.is_on("SpinPolarisation") else 0.0
    return build(
        origin=origin,
        symbols=symbols,
        positions=positions,
        cell=cell,
        energy=energy * HARTREE,
        forces=None if forces is None else forces * HARTREE / BOHR,
        virial=virial,
        charge=_charge(text, deck),
        multiplicity=int(unpaired) + 1 if unpaired and unpaired.is_integer() else None,
        converged=True if "SCC converged" in text else None,
        group=file.name,
        left_out=missing + unsure,
    )


def _prove_static(text: str, deck: DftbInput) -> None:
    """Refuse an output whose geometry is no longer the input's, or may be none."""
    steps = list(STEP.finditer(text))
    moved = next((step for step in steps if any(int(count) for count in step.groups() if count)), None)
    if moved is not None:
        raise Unusable("the input has the geometry of the first step alone", moved[0].strip())
    if not steps and "Calculation with static geometry" not in text and deck.is_on("Driver"):
        raise Unusable("does not say of which step it is", f"Driver = {deck.value('Driver')}")


def _prove_atoms(text: str, symbols: list[str], deck: DftbInput) -> None:
    """Refuse an input whose atoms are not those of the output."""
    listed = re.search(r"^ *(?:Atomic gross|Net atomic) charges.*\n *Atom.*\n((?: +\d+ +\S+ *\n)+)", text, re.MULTILINE)
    if listed is not None and len(listed[1].splitlines()) != len(symbols):
        raise Unusable(f"has {len(listed[1].splitlines())} atoms, {deck.file.basename} has {len(symbols)}")
    table = re.search(r"^l-shell populations.*\n *Atom.*\n((?: +\d+ +\d+ +\d+ +\S+ *\n)+)", text, re.MULTILINE)
    shells = deck.shells(symbols)
    if table is not None and shells:
        printed = Counter(int(row.split()[0]) for row in table[1].splitlines())
        if [printed[atom] for atom in range(1, len(symbols) + 1)] != shells:
            raise Unusable(f"the shells of its atoms are not those of {deck.file.basename}")


def _prove_positions(text: str, positions: F64, deck: DftbInput) -> None:
    """Refuse positions that do not make the dipole moment of the charges that are printed; crystals print none."""
    dipole = re.search(r"^Dipole moment:(.*) au *$", text, re.MULTILINE)
    charges = re.search(r"^ *(?:Atomic gross|Net atomic) charges.*\n *Atom.*\n((?: +\d+ +\S+ *\n)+)", text, re.MULTILINE)
    if dipole is None or charges is None or len(charges[1].splitlines()) != len(positions):
        return
    found = np.array([columns(row)[1] for row in charges[1].splitlines()]) @ positions / BOHR
    if np.abs(found - columns(dipole[1], count=3)).max() > DIPOLE * (1 + np.abs(positions).max()):
        stated = " ".join(dipole[1].split())
        raise Unusable(f"its dipole moment is not that of the geometry of {deck.file.basename}", f"{stated} au, {found.round(6).tolist()}")


def _charge(text: str, deck: DftbInput) -> int:
    """The total charge, of the output and of the input the same, as a whole number."""
    printed = re.search(r"^ *Total charge: +(\S+)", text, re.MULTILINE)
    asked = deck.value("Charge")
    charge = float(printed[1]) if printed else float(asked or 0.0)
    if printed is not None and asked and abs(charge - float(asked)) > 1e-3:
        raise Unusable(f"the charge is {charge}, in {deck.file.basename} {asked}")
    if abs(charge - round(charge)) > 1e-3:
        raise Unusable("charge is not a whole number", charge)
    return round(charge)


def _energy(text: str, name: str) -> float | None:
    """Hartree."""
    found = re.findall(rf"^{name}: +(\S+) H", text, re.MULTILINE)
    return columns(found[-1])[0] if found else None


def _all_forces(file: SourceFile, text: str, natoms: int) -> tuple[F64 | None, tuple[str, ...]]:
    """Forces (A, 3) in Hartree/bohr from the output, else from results.tag; and what is to be said where there are none."""
    printed = _forces(text, natoms, where=file.name)
    tags = file.sibling("results.tag")
    if tags is None:
        return printed, ()
    tag = tags.text()
    table = _tagged(tag, "forces")
    mine = any(_close(_energy(text, name), _tagged(tag, key)) for name, key in TAGGED.items())
    if table is None or not mine or table.size != 3 * natoms:
        return printed, () if printed is not None or table is None else ("forces: those of results.tag are of another run",)
    if printed is not None and abs(printed - table.reshape(-1, 3)).max() > SAME_FORCE:
        raise Unusable("the forces of detailed.out and of results.tag differ")
    return table.reshape(-1, 3) if printed is None else printed, ()


def _close(energy: float | None, tagged: F64 | None) -> bool:
    return energy is not None and tagged is not None and abs(energy - float(tagged[0])) < DIGITS


def _tagged(text: str, key: str) -> F64 | None:
    """The numbers after `key :real:...` in results.tag."""
    found = re.search(rf"^{key} *:real:.*\n((?:[ \t]+[-+\dEe. \t]+\n?)+)", text, re.MULTILINE)
    return np.array(found[1].split(), dtype=np.float64) if found else None


def _forces(text: str, natoms: int, *, where: str) -> F64 | None:
    _, title, rest = text.rpartition("Total Forces\n")
    if not title:
        return None
    rows = [columns(row) for row in rest.splitlines()[:natoms]]
    if len(rows) < natoms or any(len(row) < 3 for row in rows):
        raise SourceError("the table of forces is cut", where=where)
    return np.array([row[-3:] for row in rows])


def _virial(text: str, cell: F64 | None) -> tuple[F64 | None, tuple[str, ...]]:
    """Virial in eV; the stress is positive when compressed, as the pressure that must be its trace."""
    _, title, rest = text.rpartition("Total stress tensor\n")
    volume = re.search(r"^Volume: +(\S+) au\^3", text, re.MULTILINE)
    pressure = re.search(r"^Pressure: +(\S+) au", text, re.MULTILINE)
    if cell is None:
        return None, ()
    mine = abs(float(np.linalg.det(cell))) / BOHR**3
    if volume is not None and abs(float(volume[1]) - mine) > 1e-4 * mine:
        raise Unusable("its volume is not that of the input", f"{volume[1]} bohr^3, {mine:.4f}")
    if not title:
        return None, ()
    stress = np.array([columns(row)[:3] for row in rest.splitlines()[:3]])
    if pressure is None or abs(float(pressure[1]) - np.trace(stress) / 3) > 1e-9 + 1e-4 * abs(float(pressure[1])):
        return None, ("virial: no pressure is printed that tells the sign of the stress",)
    return stress * mine * HARTREE, ()


class SqmReader:
    """AMBER sqm output (`sqm/output`). Energies in eV as printed; sqm's Hartree is 27.21 eV, so they are 5e-5 off CODATA.

    `QMMM: Forces` are gradients in spite of their title: minus them are the forces.
    """

    name = "sqm/output"
    options: dict[str, tuple[str, ...]] = {}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the one frame."""
        text = file.text()
        origin = f"{file.name}#0"
        if "Calculation Completed" not in text:
            raise SourceError("does not say `Calculation Completed`: truncated, or the run failed", where=file.name)
        if "convergence could not be achieved" in text.lower():
            yield Rejection(origin=origin, reason="unconverged")
            return
        if re.search(r"external (?:point )?charges", text.replace("No external charges", ""), re.IGNORECASE):
            yield Rejection(origin=origin, reason="in the field of external charges")
            return
        total = re.search(r"Total Mulliken Charge = +(\S+)", text)
        charge = float(total[1]) if total else 0.0
        if abs(charge - round(charge)) > 0.01:
            yield Rejection(origin=origin, reason="charge is not a whole number", value=charge)
            return
        state = re.search(r"QMMM: (\w+) STATE CALCULATION", text)
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
            charge=round(charge),
            multiplicity=MULTIPLICITY.get(state[1]) if state else None,
            converged=True,
            group=file.name,
        )

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Return the Hamiltonian and its parameters."""
        text = file.head(20000).decode("utf-8", errors="replace")
        version = re.search(r"AMBER SQM VERSION (\S+)", text)
        method = re.search(r"DFTB3", text) or re.search(r"(DFTB|PM6|PM3|AM1|MNDO)", text)
        cores = re.search(r"/([^/\s]+)/[A-Z][a-z]?-[A-Z][a-z]?\.skf", text)
        out = {"code": f"AMBER sqm {version[1]}" if version else "AMBER sqm"}
        return out | ({"functional": method[0]} if method else {}) | ({"core": cores[1]} if cores else {})

    def guess(self, file: SourceFile, head: bytes) -> bool:
        return b"AMBER SQM VERSION" in head
