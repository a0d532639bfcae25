"""A JSON record of a structure -> its labels by what each layout calls them, and the names of those that are not read.

An entry's `energy` is uncorrected, MPtrj's is `uncorrected_total_energy`; corrections are not part of what was computed. Forces are eV/Å.
`virial` is in eV as dpdata writes it. `stress` is in kbar with VASP's sign, (3, 3) or xx yy zz yz xz xy, in MatPES
(https://matpes.ai/dataset, emmet's MatPESTrainDoc) and MPtrj (https://doi.org/10.6084/m9.figshare.23713842); elsewhere nobody states its
unit and sign, and it is named instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lamdata.frame import F64, LABELS
from lamdata.units import GPA, KBAR

from ..build import Unusable, tensor
from ..stated import DIFFERENCES
from .label_names import label_in

STATED = ("matpes_id", "mp_aloe_id", "uncorrected_total_energy")  # keys of the layouts whose stress is kbar with VASP's sign
NAMES = {
    "energy": ("uncorrected_total_energy", "energy"),
    "forces": ("forces", "force"),
    "virial": ("virial",),
    "stress": ("stress", "stress_matrix"),
}
OTHERS = {"e_fr_energy": "energy", "e_0_energy": "energy", "ef_per_atom": "energy", "e_per_atom_relaxed": "energy"}
UNITS = (1.0, KBAR, GPA)  # eV/Å^3 of what a stress beside a virial may be in
CLOSE = 1e-3  # of the largest component


def labels_of(record: dict[str, Any], structure: dict[str, Any]) -> dict[str, Any]:
    """What `build` is given: energy, forces, virial or stress, and what was left out."""
    entry = record is not structure
    found = {name: _stated(record, name) for name in NAMES} if entry else {}
    labels = {name: found[name] for name in LABELS if found.get(name) is not None}
    stress = found.get("stress")
    if stress is not None and any(key in record for key in STATED):
        labels["stress"] = -tensor(stress) * KBAR
        if "virial" in labels:
            _compare(labels["virial"], labels["stress"], (1.0,), structure)
    elif stress is not None and "virial" in labels:
        _compare(labels["virial"], tensor(stress), (*UNITS, *(-unit for unit in UNITS)), structure)
    left_out = tuple(_unread(record, structure, given=labels))
    return labels | ({"left_out": left_out} if left_out else {})


def _stated(record: dict[str, Any], name: str) -> Any:
    """The value of a label at the top of a record or in its `data`; two that differ are refused."""
    data = mapping(record, "data")
    values = [plain(value) for key in NAMES[name] for value in (record.get(key), data.get(key)) if value is not None]
    if name == "energy" and "uncorrected_total_energy" in record:
        values = values[:1]  # `energy` is another one there
    if any(not _same(values[0], value) for value in values[1:]):
        raise Unusable(f"two statements of {name} differ")
    return values[0] if values else None


def _same(one: Any, other: Any) -> bool:
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return a.size == b.size and bool(np.allclose(a.ravel(), b.ravel(), rtol=1e-5, atol=1e-6, equal_nan=True))


def _compare(virial: Any, stress: F64, units: tuple[float, ...], structure: dict[str, Any]) -> None:
    """Refuse a virial that is -V x the stress in none of the units."""
    given = np.asarray(virial, np.float64).reshape(3, 3)
    expected = -abs(float(np.linalg.det(np.asarray(structure["lattice"]["matrix"], np.float64)))) * stress
    if not any(np.abs(given - unit * expected).max() <= CLOSE * max(np.abs(given).max(), CLOSE) for unit in units):
        raise Unusable("virial and stress differ", f"{given[0, 0]:g} eV and {stress[0, 0]:g}")


def _unread(record: dict[str, Any], structure: dict[str, Any], *, given: dict[str, Any]) -> Iterator[str]:
    """Name the labels that stand somewhere in the record and are not given."""
    sites = structure.get("sites")
    first = sites[0] if isinstance(sites, list) and sites and isinstance(sites[0], dict) else {}
    places = {"": record, **{f"{key}.": value for key, value in record.items() if isinstance(value, dict) and value is not structure}}
    places |= {"structure.properties.": mapping(structure, "properties"), "site properties: ": mapping(first, "properties")}
    for label in LABELS:
        if label in given or (label == "virial" and "stress" in given):
            continue
        mine = (*NAMES[label], *(NAMES["stress"] if label == "virial" else ()))
        for place, name in ((place, name) for place, values in places.items() for name in _first_of(mine, values, label)):
            known = place in ("", "data.") and name in NAMES["stress"]
            yield (
                f"{label}: the unit and sign of `{place}{name}` are not stated"
                if known
                else f"{label}: stands as `{place}{name}`, which is not read"
            )
            break


def _first_of(mine: tuple[str, ...], values: Mapping[str, Any], label: str) -> Iterator[str]:
    """The names below which `values` may have a label, those that are read first."""
    known = [name for name in mine if values.get(name) is not None]
    yield from known
    for name, value in values.items():
        if value is not None and name not in known and (OTHERS.get(name) or label_in(name)) == label and not DIFFERENCES.search(name):
            yield name


def plain(value: Any) -> Any:
    """A list, or monty's array {"@class": "array", "data": [...]}."""
    return value.get("data") if isinstance(value, dict) else value


def mapping(record: dict[str, Any], key: str) -> dict[str, Any]:
    """The object below a key; {} where there is none."""
    value = record.get(key)
    return value if isinstance(value, dict) else {}
