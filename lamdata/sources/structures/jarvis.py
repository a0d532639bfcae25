"""JARVIS JSON -> structures: a list of {"jid": ..., "atoms": {lattice_mat, coords, elements, cartesian}} (jarvis.core.atoms.Atoms.to_dict).

No energy is read unless `keys: {energy: KEY}` names it, because most of the database's are per atom: option `energy: per_atom`
multiplies by the number of atoms. Atoms that are not those of the entry's `formula` and `nat` are rejected. The group is the `jid`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.frame import Frame, Rejection
from lamdata.units import ENERGY

from ..build import Unusable, array, build, number_of, rejects
from ..bytes.files import SourceFile
from ..bytes.json_items import records
from ..labelled.label_names import lacking
from ..stated import check_count, check_energy_is_named, check_formula, unread_labels

HINT = "without `keys: {{{label}: {name}}}`, where it is an energy, and `options: {{energy: per_atom}}`, where it is one of those"


class JarvisReader:
    """Entries of a JARVIS data set."""

    name = "jarvis"
    options: dict[str, tuple[str, ...]] = {"energy": ("total", "per_atom")}
    open_units = ("energy",)
    open_keys = ("energy",)

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the entries."""
        check_energy_is_named(spec, of=(*spec.options, *spec.units.model_fields_set))
        for i, (_, entry) in enumerate(records(file, under=())):
            yield _frame(entry, spec, origin=f"{file.name}#{i}")

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """The field names of JARVIS atoms."""
        return head.lstrip()[:1] in (b"{", b"[") and b'"lattice_mat"' in head and b'"atoms"' in head


@rejects("a JARVIS entry")
def _frame(entry: Any, spec: SourceSpec, *, origin: str) -> Frame | Rejection:
    atoms = entry["atoms"]
    cell = array(atoms["lattice_mat"], (3, 3), "lattice_mat")
    if cell is None:
        raise Unusable("no lattice_mat")
    coordinates = np.array(atoms["coords"], np.float64).reshape(-1, 3)
    cartesian = atoms.get("cartesian", False)
    if cartesian not in (True, False):
        raise Unusable("`cartesian` is neither true nor false", str(cartesian)[:20])
    key = spec.keys.get("energy")
    energy = entry.get(key) if key else None
    if energy is not None and not isinstance(energy, (int, float)):  # "na" stands for a missing value
        raise Unusable(f"{key} is not a number", str(energy)[:20])
    scale = (len(coordinates) if spec.options.get("energy") == "per_atom" else 1) * (
        ENERGY[spec.units.energy] if spec.units.energy else 1.0
    )
    lacked = (lacking("energy", key),) if key and key not in entry else ()
    symbols = [str(e).strip() for e in atoms["elements"]]
    numbers = [number_of(symbol) for symbol in symbols]
    check_count(entry.get("nat"), len(numbers), "nat")
    check_formula(entry.get("formula"), numbers)
    return build(
        origin=origin,
        group=str(entry.get("jid") or entry.get("cod") or origin),
        symbols=symbols,
        positions=coordinates if cartesian else coordinates @ cell,
        cell=cell,
        energy=None if energy is None else energy * scale,
        left_out=lacked + unread_labels(entry, given=() if energy is None else ("energy",), hint=HINT),
    )
