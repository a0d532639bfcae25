"""Rows -> one Parquet file: a row a frame, nested lists for its atoms, null for a label that it lacks; units stand in the schema."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import need
from .rows import AT_ONCE, About, Row

EXTRA = "parquet"
ATOM_COLUMNS = {"numbers": None, "positions": "Angstrom", "forces": "eV/Angstrom"}
TENSORS = {"cell": "Angstrom", "virial": "eV"}


def write_parquet(rows: Iterable[Row], path: Path, about: About) -> None:
    """Write a file with a row group for each thousand frames."""
    arrow, parquet = need("pyarrow", extra=EXTRA), need("pyarrow.parquet", extra=EXTRA)
    schema = _schema(arrow).with_metadata({"lamdata": json.dumps(about.to_json(), ensure_ascii=False)})
    left = iter(rows)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := list(islice(left, AT_ONCE)):
            writer.write_batch(arrow.RecordBatch.from_pydict(_columns(some), schema=schema))


def _schema(arrow: Any) -> Any:
    vector, tensor = arrow.list_(arrow.float64(), 3), arrow.list_(arrow.float64(), 9)
    kinds = {"numbers": arrow.list_(arrow.uint8()), "positions": arrow.list_(vector), "forces": arrow.list_(vector)}
    fields = [_field(arrow, name, kinds[name], unit, missing=name == "forces") for name, unit in ATOM_COLUMNS.items()]
    fields += [_field(arrow, name, tensor, unit, missing=True) for name, unit in TENSORS.items()]
    fields += [
        _field(arrow, "pbc", arrow.list_(arrow.bool_(), 3), None),
        _field(arrow, "energy", arrow.float64(), "eV", missing=True),
        _field(arrow, "charge", arrow.int16(), "e"),
        _field(arrow, "multiplicity", arrow.int16(), None, missing=True),
        _field(arrow, "weight", arrow.float64(), None),
        *(_field(arrow, name, arrow.string(), None) for name in ("group", "origin", "split")),
        _field(arrow, "info", arrow.string(), None, missing=True),
    ]
    return arrow.schema(fields)


def _field(arrow: Any, name: str, kind: Any, unit: str | None, *, missing: bool = False) -> Any:
    return arrow.field(name, kind, nullable=missing, metadata=None if unit is None else {"unit": unit})


def _columns(rows: list[Row]) -> dict[str, list[Any]]:
    frames = [row.frame for row in rows]
    out: dict[str, list[Any]] = {name: [_plain(getattr(frame, name)) for frame in frames] for name in ATOM_COLUMNS}
    out |= {name: [None if (v := getattr(frame, name)) is None else np.asarray(v).ravel() for frame in frames] for name in TENSORS}
    for name in ("pbc", "energy", "charge", "multiplicity", "weight", "group", "origin"):
        out[name] = [getattr(frame, name) for frame in frames]
    infos = [json.dumps(dict(frame.info), ensure_ascii=False) if frame.info else None for frame in frames]
    return out | {"split": [row.split for row in rows], "info": infos}


def _plain(values: np.ndarray | None) -> Any:
    """Of vectors a list of rows, as Arrow takes them."""
    return values if values is None or values.ndim == 1 else list(values)
