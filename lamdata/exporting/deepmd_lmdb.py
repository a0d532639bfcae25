"""Rows -> DeePMD-kit's LMDB, as dpdata writes it: a msgpack record a frame; `frames.jsonl` beside it has what a record has no place for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..elements import NUMBERS
from ..errors import DataError
from .rows import About, Row

MAP_SIZE = 1 << 40  # bytes of address space: the file grows as it is filled
AT_ONCE = 256  # frames of a transaction
KEY = "012d"


def write_deepmd_lmdb(rows: Iterable[Row], path: Path, about: About) -> None:
    """Write `data.mdb` in a folder."""
    import lmdb
    import msgpack

    types = np.zeros(256, np.int32)
    types[[NUMBERS[symbol] for symbol in about.elements]] = np.arange(len(about.elements))
    path.mkdir(parents=True)
    atoms: list[int] = []
    groups: dict[str, int] = {}
    of_groups: list[int] = []
    with lmdb.open(str(path), lock=False, map_size=MAP_SIZE) as database, open(path / "frames.jsonl", "w", encoding="utf-8") as text:
        records: list[tuple[bytes, bytes]] = []
        for i, row in enumerate(rows):
            records.append((format(i, KEY).encode(), msgpack.packb(_record(row, types, len(about.elements)), use_bin_type=True)))
            text.write(row.line())
            atoms.append(len(row.frame.numbers))
            of_groups.append(groups.setdefault(row.frame.group, len(groups)))
            if len(records) == AT_ONCE:
                _put(database, records)
        facts = {
            "nframes": len(atoms),
            "frame_idx_fmt": KEY,
            "type_map": about.elements,
            "frame_nlocs": atoms,
            "frame_system_ids": of_groups,
        }
        _put(database, [*records, (b"__metadata__", msgpack.packb(facts, use_bin_type=True))])
    (path / "dataset.json").write_text(json.dumps(about.to_json(), indent=1, ensure_ascii=False), encoding="utf-8")


def _put(database: Any, records: list[tuple[bytes, bytes]]) -> None:
    with database.begin(write=True) as change:
        for key, value in records:
            change.put(key, value)
    records.clear()


def _record(row: Row, types: np.ndarray, elements: int) -> dict[str, Any]:
    frame = row.frame
    own = types[frame.numbers]
    found: dict[str, Any] = {"atom_types": own, "coords": frame.positions}
    if any(frame.pbc):
        if not frame.volume:
            raise DataError("DeePMD's box needs a volume", where=frame.origin, hint="export to another format")
        found["cells"] = frame.cell
    for name, label in (("energies", frame.energy), ("forces", frame.forces), ("virials", frame.virial)):
        if label is not None:
            found[name] = np.asarray(label)
    return {**{name: _array(value) for name, value in found.items()}, "atom_numbs": np.bincount(own, minlength=elements).tolist()}


def _array(values: np.ndarray) -> dict[str, Any]:
    return {"type": str(values.dtype), "shape": list(values.shape), "data": np.ascontiguousarray(values).tobytes()}
