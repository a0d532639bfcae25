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

from ..build import Unusable, build, number_of, rejects, whole
from ..bytes.files import SourceFile
from ..bytes.json_items import is_lines, lines, members, parse, read_small, records
from ..codes.vasp_labels import FREE, energy_of, number, settled, unusable
from ..codes.vasp_theory import theory_of
from ..stated import check_record
from .pymatgen_json import structure_fields
from .record_labels import mapping

ENERGIES = {"free": FREE, "without_entropy": "e_wo_entrp", "zero": "e_0_energy"}
RUNS = "calcs_reversed"
EDIFF = 1e-4  # eV, VASP's own


class TaskReader:
    """One task document, a list or a table of them, or one a line."""

    name = "mp/task"
    options: dict[str, tuple[Any, ...]] = {"energy": tuple(ENERGIES)}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

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
        calculations = task.get(RUNS) or [{}]
        return _theory(calculations[0]) if isinstance(calculations[0], dict) else {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """JSON with `calcs_reversed` near its start, or with what newer documents have before it."""
        known = b'"calcs_reversed"' in head or b'"orig_inputs"' in head or b'"dir_name"' in head and b'"calc_type"' in head
        return head.lstrip()[:1] in (b"{", b"[") and known


def _tasks(file: SourceFile) -> Iterator[tuple[str, Any]]:
    if is_lines(file):
        yield from lines(file)
        return
    small = read_small(file) if file.head(64).lstrip()[:1] == b"{" else None
    if small is None:
        yield from records(file)
        return
    task = parse(small, where=file.name)
    held = list(members(task, under=("data", "tasks"))) if RUNS not in task else []
    yield from held if held and all(isinstance(one, dict) and RUNS in one for _, one in held) else [("0", task)]


def _steps(task: dict[str, Any], energy: str, group: str, prefix: str, start: int) -> Iterator[Frame | Rejection]:
    calculations = task.get(RUNS)
    if not isinstance(calculations, list):
        yield Rejection(origin=f"{prefix}{start}", reason=f"no {RUNS} in it")
        return
    for calculation in reversed(calculations):
        output = calculation.get("output") if isinstance(calculation, dict) else None
        steps = output.get("ionic_steps") if isinstance(output, dict) else None
        if not isinstance(steps, list):
            reason = "a Q-Chem calculation: not read" if isinstance(calculation, dict) and "SCF" in calculation else "no ionic steps in it"
            yield Rejection(origin=f"{prefix}{start}", reason=reason)
            start += 1
            continue
        for position, step in enumerate(steps):
            yield _frame(step, calculation, task, energy, group, origin=f"{prefix}{start}", is_last=position == len(steps) - 1)
            start += 1


@rejects("an ionic step")
def _frame(
    step: Any, calculation: dict[str, Any], task: dict[str, Any], energy: str, group: str, *, origin: str, is_last: bool
) -> Frame | Rejection:
    tags = _tags(calculation)
    if (refused := unusable(tags)) is not None:
        raise Unusable(refused)
    if not step.get("electronic_steps") and tags.get("ML_LMLFF") == "T":
        raise Unusable("machine-learned")
    fields = structure_fields(step["structure"])
    check_record(task, [number_of(symbol) for symbol in fields["symbols"]])
    stress = step.get("stress")
    return build(
        **fields | {"charge": fields["charge"] or _charge(calculation)},
        origin=origin,
        group=group,
        energy=_energy(step, energy, tags, abs(float(np.linalg.det(np.array(fields["cell"], np.float64))))),
        forces=step.get("forces"),
        stress=None if stress is None else -np.asarray(stress, np.float64) * KBAR,
        converged=_converged(step, calculation, tags, is_last=is_last),
    )


def _energy(step: dict[str, Any], name: str, tags: dict[str, str], volume: float) -> float:
    """The energy by VASP's rules; documents hold the enthalpy under PSTRESS, as vasprun.xml does."""
    if step.get(name) is None:
        raise Unusable(f"no {name}")
    if step.get(FREE) is None:
        return float(step[name]) - number(tags, "PSTRESS") * KBAR * volume
    done = step.get("electronic_steps")
    last = done[-1] if isinstance(done, list) and done and isinstance(done[-1], dict) and done[-1].get(name) is not None else step
    if last is step and step[name] == 0.0 and step[FREE]:  # old parsers wrote 0 for e_0_energy of all steps but the last
        raise Unusable(f"{name} is 0, {FREE} is not", step[FREE])
    found = energy_of(step, last, name, pstress=number(tags, "PSTRESS"), volume=volume)
    if found is None:
        raise Unusable(f"no {name}")
    return found


def _charge(calculation: dict[str, Any]) -> int:
    """The charge that the input's structure states; a document does not hold the valences that would tell it by NELECT."""
    given = mapping(calculation, "input")
    stated = mapping(given, "structure").get("charge") or 0
    if not stated and mapping(given, "incar").get("NELECT") is not None:
        raise Unusable(
            "the charge is not known: the INCAR sets NELECT, and no structure states a charge", mapping(given, "incar")["NELECT"]
        )
    return whole(stated, "charge")


def _converged(step: dict[str, Any], calculation: dict[str, Any], tags: dict[str, str], *, is_last: bool) -> bool | None:
    """Whether the electronic loop ended by itself; None where the document does not say.

    `has_vasp_completed` is what pymatgen made of the last step: false where its electronic loop, or the relaxation, was cut at its limit.
    """
    steps, done = calculation["output"]["ionic_steps"], step.get("electronic_steps")
    limited = 1 < number(tags, "NSW") <= len(steps)
    if is_last and not limited and calculation.get("has_vasp_completed") in (False, "failed", "unsuccessful"):
        return False
    if "NELM" not in tags or not isinstance(done, list) or not done:
        return None
    energies = [e[FREE] for e in done[-2:] if isinstance(e, dict) and isinstance(e.get(FREE), (int, float))]
    change = energies[1] - energies[0] if len(energies) == 2 else None
    return settled(len(done), int(number(tags, "NELM")), change, number(tags, "EDIFF", EDIFF), len(step["structure"]["sites"]))


def _tags(calculation: dict[str, Any]) -> dict[str, str]:
    """The tags that the run went by: `parameters` are what VASP made of the INCAR."""
    given = mapping(calculation, "input")
    return {name: _as_tag(value) for name, value in (mapping(given, "incar") | mapping(given, "parameters")).items() if value is not None}


def _theory(calculation: dict[str, Any]) -> dict[str, Any]:
    """Fields of `Theory` from the tags of a run; {} where the document does not hold them."""
    given = mapping(calculation, "input")
    tags = {name: _as_tag(value) for name, value in (mapping(given, "parameters") | mapping(given, "incar")).items()}
    titles = [str(spec["titel"]) for spec in given.get("potcar_spec") or [] if isinstance(spec, dict) and spec.get("titel")]
    return theory_of(tags, titles, str(calculation.get("vasp_version") or "")) if tags else {}


def _as_tag(value: Any) -> str:
    """A value as VASP writes it: T, F, numbers side by side."""
    if isinstance(value, bool):
        return "T" if value else "F"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
