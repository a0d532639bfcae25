"""One row of an ASE database, or one step of an ASE trajectory -> a frame.

ASE's units are eV, Å, eV/Å^3; a card may state others. Its `energy` is the one extrapolated to zero smearing where a code gives
one, its forces belong to `free_energy`: `keys: {energy: free_energy}` chooses that one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.frame import Frame, Rejection

from ..build import Unusable, build, marks_isolated, rejects, tensor, whole
from ..unit_names import TABLES

LABELS = ("energy", "forces", "stress")


@rejects("a row of numbers")
def frame_of_row(row: Mapping[str, Any], spec: SourceSpec, *, origin: str, group: str) -> Frame | Rejection:
    """Build a frame from `numbers`, `positions`, `cell`, `pbc` and the labels that the row has."""
    unit = {q: TABLES[q][name] if (name := getattr(spec.units, q)) else 1.0 for q in TABLES}
    numbers, positions, cell = (plain(row.get(key)) for key in ("numbers", "positions", "cell"))
    if numbers is None or positions is None:
        raise Unusable("no numbers or positions")
    pbc = tuple(bool(p) for p in np.ravel(plain(row.get("pbc")))) if row.get("pbc") is not None else (False,) * 3
    periodic = any(pbc) and cell is not None
    labels = {label: _label(row, label, spec) for label in LABELS}
    return build(
        origin=origin,
        group=group,
        numbers=np.ravel(numbers),
        positions=np.reshape(positions, (-1, 3)) * unit["length"],
        cell=_cell(cell) * unit["length"] if periodic else None,
        pbc=pbc if periodic else (False,) * 3,
        energy=None if labels["energy"] is None else float(labels["energy"]) * unit["energy"],
        forces=None if labels["forces"] is None else np.asarray(labels["forces"], np.float64) * unit["force"],
        stress=tensor(labels["stress"]) * unit["stress"] if periodic and labels["stress"] is not None else None,
        charge=whole(row["charge"], "charge") if row.get("charge") is not None else 0,
        split=str(_label(row, "split", spec)) if spec.keys.get("split") else "",
        isolated=len(np.ravel(numbers)) == 1 and marks_isolated(_pairs(row).get("config_type")),
    )


def _label(row: Mapping[str, Any], label: str, spec: SourceSpec) -> Any:
    """A label under the card's key or its own name, among the row's properties or its key-value pairs; None where it is absent."""
    key = spec.keys.get(label, label)
    value = row.get(key)
    if value is None:
        value = _pairs(row).get(key)
    if value is None and spec.keys.get(label):
        raise Unusable(f"no {key!r} for {label}")
    return plain(value)


def _pairs(row: Mapping[str, Any]) -> Mapping[str, Any]:
    pairs = row.get("key_value_pairs")
    return pairs if isinstance(pairs, Mapping) else {}


def _cell(value: Any) -> np.ndarray:
    """(3, 3) from a matrix or from three lengths."""
    cell = np.asarray(value, np.float64)
    return np.diag(cell) if cell.shape == (3,) else cell


def plain(value: Any) -> Any:
    """Arrays out of ASE's JSON: {"__ndarray__": [shape, dtype, flat]}, or {"array": ...} of a cell."""
    if isinstance(value, Mapping):
        if "__ndarray__" in value:
            shape, dtype, flat = value["__ndarray__"]
            if np.dtype(dtype).kind not in "fiub":
                raise Unusable("an array that holds no numbers", str(dtype)[:20])
            return np.asarray(flat, dtype).reshape(shape)
        return plain(value.get("array"))
    return value
