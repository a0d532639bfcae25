"""Materials Project task documents -> the ionic steps of their VASP runs.

`calcs_reversed[i].output.ionic_steps[j]` holds structure, forces (eV/Å), stress (kbar, positive when compressed, as VASP prints it)
and three energies. Option `energy`: `free` (default; `e_fr_energy`, the one that forces derive from), `without_entropy` or `zero`
(smearing extrapolated). MP's corrections are in its entries, not here. The group is the material, else the task.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import Frame, Rejection
from lamdata.units import KBAR

from ..build import Unusable, build, rejects
from ..bytes.files import SourceFile
from ..bytes.json_items import lines, load, records
from ..codes.vasp_labels import settled
from ..codes.vasp_theory import theory_of
from .pymatgen_json import structure_fields

ENERGIES = {"free": "e_fr_energy", "without_entropy": "e_wo_entrp", "zero": "e_0_energy"}


class TaskReader:
    """One task document, a list of them, or one a line."""

    name = "mp/task"
    options = {"energy": tuple(ENERGIES)}
    open_units = False

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the ionic steps in the order of the runs."""
        key = ENERGIES[str(spec.options.get("energy", "free"))]
        count = 0
        for name, task in _tasks(file):
            if not isinstance(task, dict):
                raise SourceError("not a task document", where=f"{file.name}#{count}")
            group = str(task.get("material_id") or task.get("task_id") or f"{file.name}/{name}")
            for item in _steps(task, key, group, f"{file.name}#", count):
                count += 1
                yield item

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Code, cutoff, functional, U, spin and pseudopotentials of the first task's last run."""
        task = next((t for _, t in _tasks(file) if isinstance(t, dict)), {})
        calculations = task.get("calcs_reversed") or [{}]
        return _theory(calculations[0]) if isinstance(calculations[0], dict) else {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """JSON with `calcs_reversed` near its start, or with what newer documents have before it."""
        known = b'"calcs_reversed"' in head or b'"orig_inputs"' in head or b'"dir_name"' in head and b'"calc_type"' in head
        return head.lstrip()[:1] in (b"{", b"[") and known


def _tasks(file: SourceFile) -> Iterator[tuple[str, Any]]:
    if file.basename.endswith(".jsonl"):
        yield from lines(file)
    elif file.head(64).lstrip()[:1] == b"{":
        yield "0", load(file)
    else:
        yield from records(file)


def _steps(task: dict[str, Any], energy: str, group: str, prefix: str, start: int) -> Iterator[Frame | Rejection]:
    calculations = task.get("calcs_reversed")
    if not isinstance(calculations, list):
        yield Rejection(origin=f"{prefix}{start}", reason="no calcs_reversed in it")
        return
    for calculation in reversed(calculations):
        output = calculation.get("output") if isinstance(calculation, dict) else None
        steps = output.get("ionic_steps") if isinstance(output, dict) else None
        if not isinstance(steps, list):
            reason = "a Q-Chem calculation: not read" if isinstance(calculation, dict) and "SCF" in calculation else "no ionic steps in it"
            yield Rejection(origin=f"{prefix}{start}", reason=reason)
            start += 1
            continue
        for step in steps:
            yield _frame(step, calculation, energy, group, origin=f"{prefix}{start}")
            start += 1


@rejects("an ionic step")
def _frame(step: Any, calculation: dict[str, Any], energy: str, group: str, *, origin: str) -> Frame | Rejection:
    if step.get(energy) is None:
        raise Unusable(f"no {energy}")
    if step[energy] == 0.0 and step.get("e_fr_energy"):  # old parsers wrote 0 for e_0_energy of all steps but the last
        raise Unusable(f"{energy} is 0, e_fr_energy is not", step["e_fr_energy"])
    stress = step.get("stress")
    return build(
        origin=origin,
        group=group,
        energy=step[energy],
        forces=step.get("forces"),
        stress=None if stress is None else -np.asarray(stress, np.float64) * KBAR,
        converged=_converged(step, calculation, len(step["structure"]["sites"])),
        **structure_fields(step["structure"]),
    )


def _converged(step: dict[str, Any], calculation: dict[str, Any], natoms: int) -> bool | None:
    """Whether the electronic loop ended by itself; None where the document does not say."""
    given = _mapping(calculation, "input")
    tags = _mapping(given, "incar") | _mapping(given, "parameters")
    done = step.get("electronic_steps")
    if not isinstance(tags.get("NELM"), int) or not isinstance(done, list) or not done:
        return None
    energies = [e["e_fr_energy"] for e in done[-2:] if isinstance(e, dict) and isinstance(e.get("e_fr_energy"), (int, float))]
    change = energies[1] - energies[0] if len(energies) == 2 else None
    ediff = tags["EDIFF"] if isinstance(tags.get("EDIFF"), (int, float)) else 1e-4
    return settled(len(done), tags["NELM"], change, ediff, natoms)


def _mapping(record: dict[str, Any], key: str) -> dict[str, Any]:
    value = record.get(key)
    return value if isinstance(value, dict) else {}


def _theory(calculation: dict[str, Any]) -> dict[str, Any]:
    """Fields of `Theory` from the tags of a run; {} where the document does not hold them."""
    given = _mapping(calculation, "input")
    tags = {name: _as_tag(value) for name, value in (_mapping(given, "parameters") | _mapping(given, "incar")).items()}
    titles = [str(spec["titel"]) for spec in given.get("potcar_spec") or [] if isinstance(spec, dict) and spec.get("titel")]
    return theory_of(tags, titles, str(calculation.get("vasp_version") or "")) if tags else {}


def _as_tag(value: Any) -> str:
    """A value as VASP writes it: T, F, numbers side by side."""
    if isinstance(value, bool):
        return "T" if value else "F"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
