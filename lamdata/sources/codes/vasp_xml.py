"""VASP vasprun.xml: a stream of XML in, every ionic step out; cells stay as they are, never rotated.

Energy is e_fr_energy, the free energy, of which forces and stress are the derivatives; `options: {energy: sigma0}` takes the energy
extrapolated to zero smearing. Stress is in kbar, positive when compressed: virial = +V x stress. Density of states, bands and
projections are dropped as they pass, so memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any
from xml.etree import ElementTree

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import F64, Frame, Rejection
from lamdata.units import KBAR

from ..build import build
from ..bytes.files import SourceFile
from .vasp_theory import settled, theory_of

HEAVY = {"dos", "eigenvalues", "projected", "kpoints", "dielectricfunction", "dynmat", "set"}
DEEP = 100  # levels; VASP nests about ten


class VasprunReader:
    """VASP vasprun.xml (`vasp/xml`); option `energy`: free or sigma0."""

    name = "vasp/xml"
    options = {"energy": ("free", "sigma0")}
    open_units = False

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield every ionic step; unconverged ones and a cut last one are rejected."""
        run = Vasprun(file, sigma0=spec.options.get("energy") == "sigma0")
        index = -1
        for index, calculation in enumerate(run.calculations()):
            origin = f"{file.name}#{index}"
            yield Rejection(origin=origin, reason="truncated") if calculation is None else run.frame(calculation, origin)
        if index < 0:
            raise SourceError("holds no finished ionic step", where=file.name)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Return what the parameters state."""
        run = Vasprun(file)
        for _ in run.calculations():
            break
        return theory_of(run.tags, run.titles, run.version) if run.version else {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        return b"<modeling>" in head[:1000] and b'name="program"' in head


@dataclass(slots=True)
class Vasprun:
    """The state of a vasprun.xml while it streams by."""

    file: SourceFile
    sigma0: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    titles: list[str] = field(default_factory=list)
    version: str = ""
    symbols: list[str] = field(default_factory=list)

    def calculations(self) -> Iterator[ElementTree.Element | None]:
        """Yield each finished <calculation>, and `None` at the end if the file is cut after the first."""
        count = 0
        try:
            for element in _elements(self.file):
                if element.tag == "calculation":
                    count += 1
                    yield element
                    element.clear()
                else:
                    self._header(element)
        except ElementTree.ParseError as err:
            if count == 0:
                raise SourceError(f"not whole XML ({err})", where=self.file.name) from None
            yield None

    def frame(self, calculation: ElementTree.Element, origin: str) -> Frame | Rejection:
        """Build the frame of one ionic step."""
        own = takewhile(lambda child: child.tag != "structure", calculation)  # electronic steps after it are those of a response
        loops = [child for child in own if child.tag == "scstep" and _energy(child, "e_fr_energy") is not None]
        natoms = len(self.symbols)
        if not loops and self._is("ML_LMLFF"):
            return Rejection(origin=origin, reason="machine-learned")
        before, after = [None, None, *(_energy(step, "e_fr_energy") for step in loops)][-2:]
        change = None if before is None or after is None else after - before
        if not settled(len(loops), int(self.tags.get("NELM", 0)), change, float(self.tags.get("EDIFF", 0)), natoms):
            return Rejection(origin=origin, reason="unconverged", value=change)
        cell = _rows(calculation, "structure/crystal/varray[@name='basis']")
        inside = _rows(calculation, "structure/varray[@name='positions']")
        if cell is None or inside is None:
            return Rejection(origin=origin, reason="no positions")
        volume = abs(float(np.linalg.det(cell)))
        energy = self._energy(calculation, loops, volume)
        if energy is None:
            return Rejection(origin=origin, reason="no energy")
        stress = _rows(calculation, "varray[@name='stress']")
        return build(
            origin=origin,
            symbols=self.symbols,
            positions=inside @ cell,
            cell=cell,
            energy=energy,
            forces=_rows(calculation, "varray[@name='forces']"),
            virial=None if stress is None else volume * stress * KBAR,
            converged=True if loops else None,
            group=self.file.name,
        )

    def _energy(self, calculation: ElementTree.Element, loops: list[ElementTree.Element], volume: float) -> float | None:
        free = _energy(calculation, "e_fr_energy")
        if free is None:
            return None
        free -= float(self.tags.get("PSTRESS", 0)) * KBAR * volume  # under PSTRESS the step's energy is the enthalpy E + pV
        if not self.sigma0:
            return free
        # The step's own e_0_energy is wrong in many versions (https://www.vasp.at/forum/viewtopic.php?t=16942); the difference
        # to the free energy in the last electronic step is right, and holds for the step.
        last = loops[-1] if loops else calculation
        zero, same = _energy(last, "e_0_energy"), _energy(last, "e_fr_energy")
        return None if zero is None or same is None else free + zero - same

    def _is(self, tag: str) -> bool:
        return self.tags.get(tag, "F").strip(". ").upper().startswith("T")

    def _header(self, element: ElementTree.Element) -> None:
        if element.tag in ("incar", "parameters"):
            for item in element.iter():
                if item.tag in ("i", "v") and item.get("name") and (item.text or "").strip():
                    # <parameters> repeats some tags by their defaults: what the INCAR says, which comes first, stands.
                    self.tags.setdefault(item.get("name"), item.text.strip())
        elif element.tag == "generator":
            self.version = next(((i.text or "").strip() for i in element if i.get("name") == "version"), "").rstrip(".")
        elif element.tag == "atominfo":
            self.symbols = [_symbol(rc[0].text) for rc in element.iterfind("array[@name='atoms']/set/rc")]
            self.titles = [(rc[-1].text or "").strip() for rc in element.iterfind("array[@name='atomtypes']/set/rc")]
        element.clear()


def _elements(file: SourceFile) -> Iterator[ElementTree.Element]:
    """Yield the children of the root, whole, without the heavy parts; refuse what VASP never writes."""
    if b"<!DOCTYPE" in file.head(4096):
        raise SourceError("declares a document type: refused", where=file.name)
    inside: list[ElementTree.Element] = []
    heavy = 0
    with file.open() as stream:
        for event, element in ElementTree.iterparse(stream, events=("start", "end")):
            if event == "start":
                inside.append(element)
                heavy += element.tag in HEAVY
                if len(inside) > DEEP:
                    raise SourceError("nested too deeply", where=file.name)
                continue
            inside.pop()
            in_heavy, heavy = heavy, heavy - (element.tag in HEAVY)
            if len(inside) == 1:
                yield element
                inside[0].remove(element)
            elif in_heavy and len(inside) > 1 and inside[1].tag != "atominfo":
                element.clear()


def _energy(element: ElementTree.Element, name: str) -> float | None:
    """The last energy of that name directly below, in eV; `None` where it is missing or overflowed to stars."""
    texts = [i.text for i in element.iterfind(f"energy/i[@name='{name}']")]
    try:
        return float(texts[-1])
    except (IndexError, TypeError, ValueError):
        return None


def _rows(element: ElementTree.Element, path: str) -> F64 | None:
    """A table of three columns; `None` where there is none, nan where a number overflowed to stars."""
    found = element.find(path)
    if found is None:
        return None
    return np.array([[_number(word) for word in (v.text or "").split()] for v in found.iterfind("v")], np.float64).reshape(-1, 3)


def _number(word: str) -> float:
    return float("nan") if "*" in word else float(word)


def _symbol(text: str | None) -> str:
    symbol = (text or "").strip()
    return {"r": "Zr", "X": "Xe"}.get(symbol, symbol)  # VASP 5.2 loses a letter: pymatgen knows these too
