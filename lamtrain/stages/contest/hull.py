"""Hull: phases with energies -> how far a structure lies above the lowest mixture of them; and the structures that are known.

Energies of a hull and of what is measured by it must be of one kind: a hull says in words of which. The construction is pymatgen's, for the
elements of each structure alone: in as many dimensions as these are, and no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, model_validator

from lamdata import read_frames
from lamdata.elements import SYMBOLS
from lamdata.errors import ConfigError, DataError
from lamdata.fields import Name
from lamdata.frame import Frame, Rejection
from lamdata.located import Spec, read_yaml, validate

Answer = Callable[[Frame], Frame]  # a structure -> the same with energy and forces


def _check_formula(formula: str) -> str:
    from pymatgen.core.composition import Composition

    try:
        if not Composition(formula, strict=True).num_atoms:
            raise ValueError
    except Exception:
        raise ValueError("expected a formula, as Al2O3") from None
    return formula


class Phase(Spec):
    """A phase of which only the energy is known."""

    formula: Annotated[str, AfterValidator(_check_formula)]
    """As Al2O3."""
    energy: float
    """eV by atom."""


class HullSpec(Spec):
    """Phases that new structures are measured by, and structures that are not new. Paths are relative to the file."""

    hull: Name
    """Its name."""
    energies: str
    """Of which kind its energies are, in words: those of what is measured must be of the same."""
    phases: list[Phase] = []
    """Phases without structures."""
    structures: list[str] = []
    """Files, in any format that is read, of phases with energies; they are known as well. One without an energy gets that of the model."""
    known: list[str] = []
    """Files of structures that are known, whatever their energies."""

    @model_validator(mode="after")
    def _some_phase(self) -> HullSpec:
        if not (self.phases or self.structures):
            raise ValueError("a hull has phases: give `phases` or `structures`")
        return self


@dataclass(slots=True)
class Hull:
    """Phases and known structures."""

    name: str
    energies: str
    phases: list[tuple[dict[str, int], float]]  # composition, eV by atom
    known: list[Frame]
    _diagrams: dict[frozenset[str], Any] = field(default_factory=dict)

    def above(self, frame: Frame, energy: float) -> float:
        """eV by atom of a structure of `energy` eV above the hull, negative below it. Raises DataError where the hull has no phases for it."""
        from pymatgen.core.composition import Composition

        composition = composition_of(frame)
        diagram = self._diagram(frozenset(composition))
        hull: float = diagram.get_hull_energy_per_atom(Composition(composition))
        return energy / len(frame.numbers) - hull

    def _diagram(self, elements: frozenset[str]) -> Any:
        if elements not in self._diagrams:
            from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
            from pymatgen.core.composition import Composition

            inside = [(parts, energy) for parts, energy in self.phases if elements >= parts.keys()]
            alone = {next(iter(parts)) for parts, _ in inside if len(parts) == 1}
            if missing := sorted(elements - alone):
                self._diagrams[elements] = DataError(f"the hull has no phase of {', '.join(missing)} alone")
            else:
                entries = [PDEntry(Composition(parts), energy * sum(parts.values())) for parts, energy in inside]
                self._diagrams[elements] = PhaseDiagram(entries)
        found = self._diagrams[elements]
        if isinstance(found, DataError):
            raise found
        return found


def composition_of(frame: Frame) -> dict[str, int]:
    """Element -> atoms."""
    return {SYMBOLS[z]: count for z, count in sorted(Counter(frame.numbers.tolist()).items())}


def open_hull(path: str, answer: Answer | None, *, known: Sequence[str] = ()) -> Hull:
    """Read a hull's YAML file, or a file of structures with energies, which is one as it is; `known` are files of more structures."""
    if Path(path).suffix in (".yaml", ".yml"):
        data, places = read_yaml(path)
        spec, base = validate(data, HullSpec, where=path, places=places), Path(path).parent
    else:
        spec, base = HullSpec(hull="hull", energies=f"those of {path}", structures=[path]), Path()
    phases = [(_parts(phase.formula), phase.energy) for phase in spec.phases]
    structures = [frame for name in spec.structures for frame in _read(str(base / name))]
    for frame in structures:
        asked = frame if frame.energy is not None else _answered(frame, answer)
        assert asked.energy is not None, "the line above gives one, or raises"
        phases.append((composition_of(asked), asked.energy / len(asked.numbers)))
    more = [frame for name in [*(str(base / one) for one in spec.known), *known] for frame in _read(name)]
    bare = [frame.bare() for frame in [*structures, *more]]
    return Hull(spec.hull, spec.energies, phases, bare)


def _answered(frame: Frame, answer: Answer | None) -> Frame:
    if answer is None:
        raise ConfigError("a phase has no energy", where=frame.origin, hint="give it one, or a model with --model, which computes it")
    return answer(frame)


def _parts(formula: str) -> dict[str, int]:
    from pymatgen.core.composition import Composition

    found, _ = Composition(formula).get_integer_formula_and_factor()
    return {str(element): int(count) for element, count in Composition(found).items()}


def _read(path: str) -> list[Frame]:
    found = []
    for item in read_frames(path):
        if isinstance(item, Rejection):
            raise DataError(f"is no structure: {item.reason}", where=item.origin)
        found.append(item)
    if not found:
        raise DataError("no structure", where=path)
    return found
