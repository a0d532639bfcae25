"""Materials Project task documents -> the ionic steps of their VASP runs.

`calcs_reversed[i].output.ionic_steps[j]` holds structure, forces (eV/Å), stress (kbar, positive when compressed, as VASP prints it)
and three energies. Option `energy`: `free` (default; `e_fr_energy`, the one that forces derive from), `without_entropy` or `zero`
(smearing extrapolated). MP's corrections are in its entries, not here. The group is the material, else the task.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..catalog import SourceSpec
from ..errors import SourceError
from ..frame import Frame, Rejection
from ..units import KBAR
from .build import Unusable, build
from .files import SourceFile
from .json_items import lines, load, records
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
        """JSON with `calcs_reversed` near its start."""
        return head.lstrip()[:1] in (b"{", b"[") and b'"calcs_reversed"' in head


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
            yield _frame(step, calculation, energy, group, f"{prefix}{start}")
            start += 1


def _frame(step: Any, calculation: dict[str, Any], energy: str, group: str, origin: str) -> Frame | Rejection:
    try:
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
            converged=_converged(step, calculation),
            **structure_fields(step["structure"]),
        )
    except Unusable as bad:
        return Rejection(origin=origin, reason=bad.reason, value=bad.value)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as err:
        return Rejection(origin=origin, reason=f"not an ionic step: {type(err).__name__} {str(err)[:80]}")


def _converged(step: dict[str, Any], calculation: dict[str, Any]) -> bool | None:
    """False where all NELM steps were used; more than NELM are two loops chained (hybrids), which tell nothing."""
    given = calculation.get("input") if isinstance(calculation.get("input"), dict) else {}
    limit = next((given[k]["NELM"] for k in ("parameters", "incar") if isinstance(given.get(k), dict) and "NELM" in given[k]), None)
    done = step.get("electronic_steps")
    if not isinstance(limit, int) or not isinstance(done, list) or not done or len(done) > limit:
        return None
    return len(done) < limit


def _theory(calculation: dict[str, Any]) -> dict[str, Any]:
    given = calculation.get("input") if isinstance(calculation.get("input"), dict) else {}
    incar = given.get("incar") if isinstance(given.get("incar"), dict) else {}
    out: dict[str, Any] = {}
    if calculation.get("vasp_version"):
        out["code"] = f"VASP {calculation['vasp_version']}"
    if isinstance(incar.get("ENCUT"), (int, float)):
        out["cutoff"] = float(incar["ENCUT"])
    if incar.get("ISPIN") in (1, 2):
        out["spin"] = "collinear" if incar["ISPIN"] == 2 else "none"
    kinds = {str(k) for k in given.get("potcar_type") or []}
    if kinds == {"PAW_PBE"} and not {"METAGGA", "GGA", "LHFCALC"} & set(incar):
        out["functional"] = "PBE"
    names = [str(spec["titel"]) for spec in given.get("potcar_spec") or [] if isinstance(spec, dict) and spec.get("titel")]
    if names:
        out["core"] = ", ".join(sorted(names))
    hubbards = given.get("hubbards")
    if given.get("is_hubbard") is False:
        out["hubbard_u"] = "none"
    elif isinstance(hubbards, dict) and hubbards:
        out["hubbard_u"] = ", ".join(f"{k} {v} eV" for k, v in sorted(hubbards.items()) if v)
    return out
