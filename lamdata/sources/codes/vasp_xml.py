"""VASP vasprun.xml: a stream of XML in, every ionic step out; cells stay as they are, never rotated.

Energy is e_fr_energy, the free energy, of which forces and stress are the derivatives; `options: {energy: sigma0}` takes the energy
extrapolated to zero smearing. Stress is in kbar, positive when compressed: virial = +V x stress. Density of states, bands and
projections are dropped as they pass, so memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.units import KBAR

from ..bytes.files import SourceFile
from .steps import Step, TextReader
from .vasp_labels import FREE, charge_of, energy_of, number, settled, unusable
from .vasp_theory import theory_of
from .vasp_xml_parts import SIGMA0, Calculation, Energies, count_steps, read_parts


@dataclass(slots=True)
class Vasprun:
    """The state of a vasprun.xml while it streams by."""

    file: SourceFile
    spec: SourceSpec | None = None
    tags: dict[str, str] = field(default_factory=dict)
    titles: list[str] = field(default_factory=list)
    version: str = ""
    symbols: list[str] = field(default_factory=list)
    valence: list[float] = field(default_factory=list)  # one a species
    counts: list[int] = field(default_factory=list)

    def steps(self) -> Iterator[Step]:
        """Yield every ionic step, and one that is not complete where the file is no XML after the first; those behind it are refused."""
        count = 0
        try:
            for part in read_parts(self.file):
                if isinstance(part, ElementTree.Element):
                    self._header(part)
                else:
                    count += 1
                    yield self._step(part)
        except ElementTree.ParseError as err:
            if count == 0:
                raise SourceError(f"not whole XML ({err})", where=self.file.name) from None
            yield Step()
            for _ in range(count_steps(self.file) - count - 1):
                yield Step(reason="behind a part of the file that is no XML")
        if count == 0:
            raise SourceError("holds no finished ionic step", where=self.file.name)

    def _step(self, calculation: Calculation) -> Step:
        """What one ionic step says."""
        loops = [loop for loop in calculation.loops if loop[FREE] is not None]
        step = Step(self.symbols, complete=True)
        if (refused := unusable(self.tags)) is not None:
            step.refuse(refused)
        elif not loops and self._is("ML_LMLFF"):
            step.refuse("machine-learned")
        elif not self._settled(step, loops):
            return step
        try:
            step.cell, inside = calculation.table("basis"), calculation.table("positions")
            step.forces, stress = calculation.table("forces"), calculation.table("stress")
        except ValueError as err:
            step.refuse(f"a table cannot be read ({err})")
            return step
        if step.cell is None or inside is None:
            step.refuse("no positions")
            return step
        step.positions = inside @ step.cell
        step.stress = None if stress is None else stress * KBAR
        step.energy = self._energy(calculation, loops, abs(float(np.linalg.det(step.cell))))
        if step.energy is None:
            step.refuse("no energy")
        self._charge(step)
        return step

    def _settled(self, step: Step, loops: Sequence[Energies]) -> bool:
        """Judge the electronic steps."""
        before, after = [None, None, *(loop[FREE] for loop in loops)][-2:]
        change = None if before is None or after is None else after - before
        most, ediff = int(number(self.tags, "NELM")), number(self.tags, "EDIFF")
        good = settled(len(loops), most, change, ediff, len(self.symbols))
        step.converged = good and (True if loops else None)
        step.value = None if good else change
        return good

    def _energy(self, calculation: Calculation, loops: Sequence[Energies], volume: float) -> float | None:
        wanted = SIGMA0 if self.spec is not None and self.spec.options.get("energy") == "sigma0" else FREE
        last = loops[-1] if loops else calculation.stated
        return energy_of(calculation.stated, last, wanted, pstress=number(self.tags, "PSTRESS"), volume=volume)

    def _charge(self, step: Step) -> None:
        """Tell the charge by NELECT, where it is stated."""
        if "NELECT" not in self.tags:
            return
        if len(self.valence) == len(self.counts) > 0:
            step.state_charge(charge_of(number(self.tags, "NELECT"), self.valence, self.counts))
        else:
            step.leave_out("charge", "NELECT is stated, the valences of the species are not")

    def _is(self, tag: str) -> bool:
        return self.tags.get(tag, "F").strip(". ").upper().startswith("T")

    def _header(self, element: ElementTree.Element) -> None:
        if element.tag in ("incar", "parameters"):
            for item in element.iter():
                name, text = item.get("name"), (item.text or "").strip()
                if item.tag in ("i", "v") and name and text:
                    # <parameters> repeats some tags by their defaults: what the INCAR says, which comes first, stands.
                    self.tags.setdefault(name, text)
        elif element.tag == "generator":
            self.version = next(((i.text or "").strip() for i in element if i.get("name") == "version"), "").rstrip(".")
        elif element.tag == "atominfo":
            self.symbols = [_symbol(rc[0].text) for rc in element.iterfind("array[@name='atoms']/set/rc")]
            self._species(element)
        element.clear()

    def _species(self, atominfo: ElementTree.Element) -> None:
        """The table of species: its columns are named above it."""
        names = [(found.text or "").strip() for found in atominfo.iterfind("array[@name='atomtypes']/field")]
        rows = [[(c.text or "").strip() for c in rc] for rc in atominfo.iterfind("array[@name='atomtypes']/set/rc")]
        named = [dict(zip(names or ("atomspertype", "element", "mass", "valence", "pseudopotential"), row)) for row in rows]
        self.titles = [row[-1] for row in rows if row]
        self.valence = [float(row["valence"]) for row in named if "valence" in row]
        self.counts = [int(row["atomspertype"]) for row in named if "atomspertype" in row]


def vasprun_theory(file: SourceFile) -> dict[str, Any]:
    """Return what the parameters state."""
    run = Vasprun(file)
    for _ in run.steps():
        break
    return theory_of(run.tags, run.titles, run.version) if run.version else {}


def _symbol(text: str | None) -> str:
    symbol = (text or "").strip()
    return {"r": "Zr", "X": "Xe"}.get(symbol, symbol)  # VASP 5.2 loses a letter: pymatgen knows these too


VASPRUN = TextReader(
    name="vasp/xml",
    run=Vasprun,
    states=vasprun_theory,
    signs=((b"<modeling>", b'name="program"'),),
    options={"energy": ("free", "sigma0")},
)
