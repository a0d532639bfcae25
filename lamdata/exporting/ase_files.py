"""Rows -> ASE's sqlite database, and the ASE-LMDB of fairchem.

A stress is in Voigt's order with ASE's sign; the whole virial, and the group where a database would take it for a number, stand under
`data` as they are in the store. Of a group, origin and split the key-value pairs tell, by which `ase db` selects.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..frame import F64, Frame
from .rows import About, Row

MAP_SIZE = 1 << 40  # bytes of address space: the file grows as it is filled
AT_ONCE = 256  # rows of a transaction
VOIGT = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]


def write_ase_db(rows: Iterable[Row], path: Path, about: About) -> None:
    """Write one sqlite file; ids count from 1 in store order."""
    from ase import db
    from ase.db.row import AtomsRow

    class Charged(AtomsRow):
        """A row of a known total charge, which ASE otherwise adds up from charges of atoms."""

        charge = 0.0

    connect: Any = db.connect
    make: Any = Charged
    with connect(path, type="db", append=False) as database:
        for row in rows:
            entry = make(row.frame.to_ase())
            entry.charge, entry.user, entry.ctime, entry.mtime = float(row.frame.charge), "", 0.0, 0.0
            database.write(entry, key_value_pairs=_pairs(row), data=_data(row))
    with connect(path, type="db") as database:
        database.metadata = about.to_json()


def write_ase_lmdb(rows: Iterable[Row], path: Path, about: About) -> None:
    """Write one LMDB file: a zlib-packed JSON row a key, keys counted from 1 in store order."""
    import lmdb

    count = 0
    with lmdb.open(str(path), subdir=False, lock=False, map_size=MAP_SIZE) as database:
        records: dict[str, Any] = {}
        for count, row in enumerate(rows, start=1):
            records[str(count)] = _row(row, count)
            if len(records) == AT_ONCE:
                _put(database, records)
        _put(database, {**records, "nextid": count + 1, "deleted_ids": [], "metadata": about.to_json()})


def _put(database: Any, records: dict[str, Any]) -> None:
    with database.begin(write=True) as change:
        for key, value in records.items():
            change.put(key.encode(), zlib.compress(json.dumps(value, ensure_ascii=False).encode()))
    records.clear()


def _row(row: Row, number: int) -> dict[str, Any]:
    """As `ase.db` names its columns."""
    frame = row.frame
    found: dict[str, Any] = {
        "unique_id": f"{number:032x}",
        "ctime": 0.0,
        "mtime": 0.0,
        "user": "",
        "numbers": frame.numbers.tolist(),
        "positions": frame.positions.tolist(),
        "cell": (np.zeros((3, 3)) if frame.cell is None else frame.cell).tolist(),
        "pbc": list(frame.pbc),
        "charge": float(frame.charge),
        "key_value_pairs": _pairs(row),
        "data": _data(row),
    }
    labels = {"energy": frame.energy, "forces": frame.forces, "stress": _stress(frame)}
    known = {name: np.asarray(label).tolist() for name, label in labels.items() if label is not None}
    return {**found, **known, **({"calculator": "unknown", "calculator_parameters": {}} if known else {})}


def _stress(frame: Frame) -> F64 | None:
    """(6,) eV/Å^3 in Voigt's order, ASE's sign."""
    if frame.virial is None or not frame.volume:
        return None
    stress: F64 = (-frame.virial / frame.volume)[VOIGT]
    return stress


def _pairs(row: Row) -> dict[str, Any]:
    facts = {name: value for name, value in row.facts().items() if name not in ("pbc", "info") and value not in (None, "")}
    facts["total_charge"] = facts.pop("charge")
    return {name: f"{name} {value}" if isinstance(value, str) and _reads_as_number(value) else value for name, value in facts.items()}


def _reads_as_number(text: str) -> bool:
    """Whether a database would refuse a text, as what may have been meant as a number or a flag."""
    if text in ("True", "False"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def _data(row: Row) -> dict[str, Any]:
    virial = row.frame.virial
    return {**row.facts(), **({} if virial is None else {"virial": virial.tolist()})}
