"""One row of an ASE database, or one step of an ASE trajectory -> a frame.

A row has the results of its calculator, and beside them what somebody wrote down: key-value pairs, `info` of a trajectory, and `data`.
A label is the result of its name, else the pair of a name in wide use; what stands in `data` has any unit and sign, so it is read
only where the card names it, and said otherwise. ASE's units are eV, Å, eV/Å^3; a card may state others. Its `energy` is the one
extrapolated to zero smearing where a code gives one, its forces belong to `free_energy`: `keys: {energy: free_energy}` chooses that one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import F64, Frame, Rejection

from ..build import Unusable, build, marks_isolated, rejects, tensor, whole
from ..stated import SAID, check_record, says_converged
from ..unit_names import TABLES
from .fixed_atoms import ZEROED, are_zeroed, fixed_by_constraints
from .label_names import KEYS, REFERENCE, label_in, lacking, unread_labels
from .two_statements import same, virial_of_both

LABELS = ("energy", "forces", "virial", "stress", "charge", "multiplicity", "weight", "split")
RESULTS = ("energy", "free_energy", "forces", "virial", "stress", "charge", "dipole", "magmoms", "magmom", "charges")
PLAIN = ("charge", "multiplicity")  # what these are called in `data` leaves nothing open


@dataclass(frozen=True, slots=True)
class Found:
    """The labels of one row: under which name each stands, with its value, and what is not read."""

    names: dict[str, str]
    values: dict[str, Any]
    left_out: tuple[str, ...]


def find_labels(row: Mapping[str, Any], spec: SourceSpec, *, where: str) -> Found:
    """Look for every label; raise where two values could be one."""
    results = {name: row[name] for name in RESULTS if row.get(name) is not None}
    pairs, data = pairs_of(row), _mapping(row.get("data"))
    everywhere = {**data, **pairs, **results}
    names, silent = {}, set()
    for label in (*LABELS, "group"):
        if label in spec.keys:
            silent |= {*_known(label, everywhere)} if spec.keys[label] == "" else set()
            if everywhere.get(spec.keys[label]) is not None:
                names[label] = spec.keys[label]
            continue
        plain = {**data, **pairs, **results} if label in (*PLAIN, "group") else {**pairs, **results}
        known = [name for name in _known(label, plain) if plain[name] is not None]
        if not known:
            continue
        names[label] = known[0]
        for other in known[1:] if label != "group" else ():
            if same(_numbers(everywhere[known[0]]), _numbers(everywhere[other])):
                silent.add(other)
            elif other not in results:
                hint = f"say `keys: {{{label}: {other}}}` or `keys: {{{label}: {known[0]}}}`"
                raise SourceError(f"both {known[0]!r} and {other!r} could be {label}", where=where, hint=hint)
    missing = tuple(lacking(label, key) for label, key in spec.keys.items() if key and label not in names)
    return Found(
        names=names,
        values={label: everywhere[name] for label, name in names.items()},
        left_out=missing + unread_labels(everywhere, read=names, silent=silent) + _hidden(data, {**pairs, **results}),
    )


def _hidden(data: Mapping[str, Any], others: Mapping[str, Any]) -> tuple[str, ...]:
    """What to say of labels in `data` whose name is also that of another value."""
    twice = [name for name in data if name in others and label_in(name) and not same(_numbers(data[name]), _numbers(others[name]))]
    return tuple(f"{label_in(name)}: {name!r} of `data` is not read" for name in twice)


@rejects("a row of numbers")
def frame_of_row(row: Mapping[str, Any], found: Found, spec: SourceSpec, *, origin: str, group: str) -> Frame | Rejection:
    """Build a frame from `numbers`, `positions`, `cell`, `pbc` and the labels that the row has."""
    unit = {q: TABLES[q][name] if (name := getattr(spec.units, q)) else 1.0 for q in TABLES}
    numbers, positions, cell = (plain_value(row.get(key)) for key in ("numbers", "positions", "cell"))
    if numbers is None or positions is None:
        raise Unusable("no numbers or positions")
    pbc = tuple(bool(p) for p in np.ravel(plain_value(row.get("pbc")))) if row.get("pbc") is not None else (False,) * 3
    lattice = _cell(cell) * unit["length"] if any(pbc) and cell is not None else None
    values, left_out = {label: plain_value(value) for label, value in found.values.items()}, found.left_out
    if lattice is None and not {"virial", "stress"}.isdisjoint(values):
        left_out = (*left_out, "virial: the frame is not periodic")
    atoms, pairs = np.size(numbers), pairs_of(row)
    if not SAID.isdisjoint(pairs):
        check_record(pairs, [int(number) for number in np.ravel(numbers)])
    forces = None if values.get("forces") is None else np.asarray(values["forces"], np.float64) * unit["force"]
    held = fixed_by_constraints(row.get("constraints"), atoms)
    if forces is not None and forces.size == 3 * atoms and are_zeroed(forces.reshape(-1, 3), held):
        forces, left_out = None, (*left_out, ZEROED)
    return build(
        origin=origin,
        group=group,
        numbers=np.ravel(numbers),
        positions=np.reshape(positions, (-1, 3)) * unit["length"],
        cell=lattice,
        pbc=pbc if lattice is not None else (False,) * 3,
        energy=None if (energy := values.get("energy")) is None else float(np.asarray(energy).item()) * unit["energy"],
        forces=forces,
        virial=None if lattice is None else _virial(values, unit, volume=abs(float(np.linalg.det(lattice)))),
        charge=whole(values["charge"], "charge") if "charge" in values else 0,
        multiplicity=whole(values["multiplicity"], "multiplicity") if "multiplicity" in values else None,
        weight=float(np.asarray(values["weight"]).item()) if "weight" in values else 1.0,
        split=str(values.get("split", "")),
        isolated=atoms == 1 and marks_isolated(pairs.get("config_type")),
        converged=says_converged(pairs),
        left_out=left_out,
        info={key: _said(pairs[key]) for key in spec.info if pairs.get(key) is not None},
    )


def _virial(values: Mapping[str, Any], unit: Mapping[str, float], *, volume: float) -> F64 | None:
    """The virial that is stated, or that follows from the stress; they must agree where both are there."""
    virial = tensor(values["virial"]) * unit["energy"] if "virial" in values else None
    stress = tensor(values["stress"]) * unit["stress"] if "stress" in values else None
    if stress is None:
        return virial
    return -volume * stress if virial is None else virial_of_both(virial, stress, volume=volume)


def pairs_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What somebody wrote down beside a structure, by name: key-value pairs of a database, `info` of a trajectory."""
    return {**_mapping(row.get("info")), **_mapping(row.get("key_value_pairs"))}


def _said(value: Any) -> str:
    """As text: of anything but a plain value as JSON."""
    return value if isinstance(value, str) else json.dumps(plain_value(value), default=lambda array: np.asarray(array).tolist())


def name_of_group(found: Found) -> str | None:
    """The material or trajectory that a row names."""
    return str(found.values["group"]) if "group" in found.values else None


def _mapping(value: Any) -> dict[str, Any]:
    return {str(name): item for name, item in value.items()} if isinstance(value, Mapping) else {}


def _known(label: str, present: Mapping[str, Any]) -> list[str]:
    return [name for prefix in ("", *REFERENCE) for key in KEYS[label] if (name := prefix + key) in present]


def _numbers(value: Any) -> Any:
    try:
        return np.asarray(plain_value(value), np.float64).ravel()
    except (TypeError, ValueError):
        return np.nan


def _cell(value: Any) -> F64:
    """(3, 3) from a matrix or from three lengths."""
    cell = np.asarray(value, np.float64)
    return np.diag(cell) if cell.shape == (3,) else cell


def plain_value(value: Any) -> Any:
    """Arrays out of ASE's JSON: {"__ndarray__": [shape, dtype, flat]}, or {"array": ...} of a cell."""
    if isinstance(value, Mapping):
        if "__ndarray__" in value:
            shape, dtype, flat = value["__ndarray__"]
            if np.dtype(dtype).kind not in "fiub":
                raise Unusable("an array that holds no numbers", str(dtype)[:20])
            return np.asarray(flat, dtype).reshape(shape)
        return plain_value(value.get("array"))
    return value
