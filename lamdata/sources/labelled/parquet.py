"""Parquet files as `lamdata export --format parquet` writes them -> frames, many at a time. Needs the extra `parquet`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError, need
from lamdata.frames import Frames, Parsed

from ..bytes.files import SourceFile, Span, even_spans

MAGIC = b"PAR1"
AT_ONCE = 1024  # frames
PLAIN = ("numbers", "positions", "pbc", "cell", "energy", "forces", "virial", "charge", "multiplicity")
TEXTS = ("group", "origin")
WEIGHT = "weight"  # which files of earlier versions do not have


class ParquetReader:
    """Parquet of `lamdata export`: a row a frame, columns numbers, positions, cell, pbc, energy, forces, virial, charge, multiplicity, weight,
    group, origin, split. Groups are those of the store it came from; `keys: {split: split}` takes its splits over too."""

    name = "parquet"
    options: dict[str, tuple[str, ...]] = {}
    open_units: tuple[str, ...] = ()
    open_keys = ("split",)

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Parsed]:
        """Yield the rows in order."""
        rows = range(file.span.first, file.span.stop) if file.span is not None else None
        with file.local() as path, _opened(path, file) as table:
            split = spec.keys.get("split") or None
            names = [*PLAIN, *TEXTS, *([split] if split else [])]
            names += [WEIGHT] if WEIGHT in table.schema_arrow.names else []
            if missing := [name for name in names if name not in table.schema_arrow.names]:
                raise SourceError(f"has no column {', '.join(missing)}", where=file.name, hint="it is read as `lamdata export` writes it")
            first = 0
            for batch in table.iter_batches(batch_size=AT_ONCE, columns=names):
                wanted = range(first, first + len(batch))
                if rows is not None:
                    wanted = range(max(first, rows.start), min(first + len(batch), rows.stop))
                if len(wanted):
                    yield _parsed(batch.slice(wanted.start - first, len(wanted)), file, wanted.start, split)
                first += len(batch)
                if rows is not None and first >= rows.stop:
                    return

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """What the card said of the dataset that was exported."""
        with file.local() as path, _opened(path, file) as table:
            said = json.loads((table.schema_arrow.metadata or {}).get(b"lamdata", b"{}"))
        return {name: value for name, value in (said.get("card", {}).get("theory") or {}).items() if value is not None}

    def spans(self, file: SourceFile, size: int) -> list[Span]:
        """Spans of as many rows as fill `size` on average."""
        if not file.is_plain:
            return []
        with file.local() as path, _opened(path, file) as table:
            return even_spans(file, size, count=table.metadata.num_rows)

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """Parquet's first four bytes."""
        return head.startswith(MAGIC)


def _opened(path: Any, file: SourceFile) -> Any:
    parquet = need("pyarrow.parquet", extra="parquet")
    try:
        return parquet.ParquetFile(path)
    except Exception as err:  # of Arrow's own kinds
        raise SourceError(f"damaged Parquet file: {str(err).splitlines()[0][:120]}", where=file.name) from err


def _parsed(batch: Any, file: SourceFile, first: int, split: str | None) -> Parsed:
    column = {name: batch.column(name) for name in batch.schema.names}
    natoms = np.diff(np.asarray(column["numbers"].offsets)).astype(np.int32)
    numbers, count = np.asarray(column["numbers"].flatten(), np.uint8), len(batch)
    forces, has_forces = _vectors(column["forces"], natoms, "forces", file, first)
    positions, _ = _vectors(column["positions"], natoms, "positions", file, first)
    cell, _ = _tensors(column["cell"])
    virial, has_virial = _tensors(column["virial"])
    energy = column["energy"]
    frames = Frames(
        numbers=numbers,
        positions=positions,
        natoms=natoms,
        cell=cell,
        pbc=np.asarray(column["pbc"].flatten().to_numpy(zero_copy_only=False), bool).reshape(count, 3),
        energy=energy.fill_null(0.0).to_numpy(zero_copy_only=False),
        forces=forces,
        virial=virial,
        has_energy=~_null(energy),
        has_forces=has_forces,
        has_virial=has_virial,
        charge=column["charge"].to_numpy(zero_copy_only=False).astype(np.int16),
        multiplicity=column["multiplicity"].fill_null(0).to_numpy(zero_copy_only=False).astype(np.int16),
        weight=column[WEIGHT].to_numpy(zero_copy_only=False) if WEIGHT in column else np.ones(count),
        shortest=np.full(count, np.nan, np.float32),
        head=np.zeros(count, np.int32),
        dataset=np.zeros(count, np.uint64),
        index=np.arange(count),
        epoch=np.zeros(count, np.int64),
    )
    return Parsed(
        frames=frames,
        groups=[group or file.name for group in column["group"].to_pylist()],
        origins=[f"{file.name}#{first + row}" for row in range(count)],
        unconverged=np.zeros(count, bool),
        splits=column[split].to_pylist() if split else (),
    )


def _null(column: Any) -> NDArray[np.bool_]:
    flags: NDArray[np.bool_] = np.asarray(column.is_null().to_numpy(zero_copy_only=False), bool)
    return flags


def _vectors(
    column: Any, natoms: NDArray[np.int32], name: str, file: SourceFile, first: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(A, 3) of all frames, zeros where a frame has none, and (F,) which have one. Raises SourceError where atoms do not fit."""
    there = ~_null(column)
    sizes = np.asarray(column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), np.int64)
    wrong = np.flatnonzero(there & (sizes != natoms))
    if len(wrong):
        row = int(wrong[0])
        raise SourceError(f"{name} of {sizes[row]} atoms, and there are {natoms[row]}", where=f"{file.name}#{first + row}")
    out = np.zeros((int(natoms.sum()), 3))
    values = column.flatten().flatten().to_numpy(zero_copy_only=False)
    out[np.repeat(there, natoms)] = np.asarray(values, np.float64).reshape(-1, 3)
    return out, there


def _tensors(column: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(F, 3, 3), zeros where there is none, and (F,) which have one."""
    there = ~_null(column)
    out = np.zeros((len(column), 3, 3))
    out[there] = np.asarray(column.drop_null().flatten().to_numpy(zero_copy_only=False), np.float64).reshape(-1, 3, 3)
    return out, there
