"""Staging: frames in the order they were parsed, as flat files that can be read at any row.

A piece is what one worker parses in one go. It is written into a hidden folder and renamed when it is whole, so a piece that is
there is complete and a killed ingest goes on with the next one. Segments are then filled from all pieces in their shuffled order.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .frame import Frame, Rejection
from .frames import Frames
from .statistics import Statistics
from .survey import Survey

# name -> (dtype, values a row); "atom" rows are one an atom, "frame" rows one a frame, "byte" rows one a byte of text.
COLUMNS: dict[str, tuple[str, tuple[int, ...], str]] = {
    "numbers": ("u1", (), "atom"),
    "positions": ("f8", (3,), "atom"),
    "forces": ("f8", (3,), "atom"),
    "natoms": ("i4", (), "frame"),
    "cell": ("f8", (3, 3), "frame"),
    "pbc": ("?", (3,), "frame"),
    "energy": ("f8", (), "frame"),
    "virial": ("f8", (3, 3), "frame"),
    "has_energy": ("?", (), "frame"),
    "has_forces": ("?", (), "frame"),
    "has_virial": ("?", (), "frame"),
    "charge": ("i2", (), "frame"),
    "multiplicity": ("i2", (), "frame"),
    "shortest": ("f4", (), "frame"),
    "split": ("u1", (), "frame"),
    "group_length": ("i4", (), "frame"),
    "origin_length": ("i4", (), "frame"),
    "group": ("u1", (), "byte"),
    "origin": ("u1", (), "byte"),
}
ROWS_PER_WRITE = 512


class PieceWriter:
    """Writes one piece; use as a context manager, nothing is visible before it ends without an error."""

    def __init__(self, folder: Path):
        self.folder, self.hidden = folder, folder.with_name(f".{folder.name}.{os.getpid()}")
        self.statistics = {"train": Statistics(), "validation": Statistics()}
        self.survey: Survey | None = None
        self._rows: list[tuple[Frame, float, bool]] = []

    def __enter__(self) -> PieceWriter:
        shutil.rmtree(self.hidden, ignore_errors=True)
        self.hidden.mkdir(parents=True)
        self._files = {name: open(self.hidden / f"{name}.bin", "wb") for name in COLUMNS}  # noqa: SIM115 closed in __exit__
        self._rejected = open(self.hidden / "rejected.jsonl", "w", encoding="utf-8")  # noqa: SIM115
        return self

    def add(self, frame: Frame, *, shortest: float, validation: bool) -> None:
        """Append a frame."""
        self.statistics["validation" if validation else "train"].add(frame, shortest=shortest)
        self._rows.append((frame, shortest, validation))
        if len(self._rows) >= ROWS_PER_WRITE:
            self._flush()

    def reject(self, rejection: Rejection) -> None:
        """Append a row to the ledger."""
        row = {"origin": rejection.origin, "reason": rejection.reason, "value": rejection.value}
        self._rejected.write(json.dumps(row, default=str) + "\n")

    def _flush(self) -> None:
        if not self._rows:
            return
        frames = Frames.from_list([row[0] for row in self._rows], shortest=[row[1] for row in self._rows])
        groups, origins = [row[0].group for row in self._rows], [row[0].origin for row in self._rows]
        survey = Survey.of(frames, groups, origins)
        self.survey = survey if self.survey is None else self.survey.merge(survey)
        text = {"group": [g.encode() for g in groups], "origin": [o.encode() for o in origins]}
        extra = {"split": np.array([row[2] for row in self._rows], np.uint8)}
        for name, rows in text.items():
            extra[f"{name}_length"] = np.array([len(row) for row in rows], np.int32)
            extra[name] = np.frombuffer(b"".join(rows), np.uint8)
        for name, (dtype, _, _) in COLUMNS.items():
            values = extra[name] if name in extra else getattr(frames, name)
            self._files[name].write(np.ascontiguousarray(values, dtype).tobytes())
        self._rows.clear()

    def __exit__(self, kind, value, trace) -> None:
        if kind is None:
            self._flush()
            summary = {side: statistics.to_json() for side, statistics in self.statistics.items()}
            summary["survey"] = None if self.survey is None else self.survey.to_json()
            (self.hidden / "summary.json").write_text(json.dumps(summary))
        for file in (*self._files.values(), self._rejected):
            file.close()
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.hidden.rename(self.folder)
        else:
            shutil.rmtree(self.hidden, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Piece:
    """One complete piece, its short columns mapped into memory when they are asked for."""

    folder: Path

    def column(self, name: str) -> np.ndarray:
        """A whole column, mapped, not read."""
        dtype, shape, _ = COLUMNS[name]
        path = self.folder / f"{name}.bin"
        if path.stat().st_size == 0:
            return np.empty((0, *shape), dtype)
        return np.memmap(path, dtype, "r").reshape(-1, *shape)

    def summary(self) -> tuple[Statistics, Statistics, Survey | None]:
        """Statistics of its training and of its validation frames, and its survey; `None` when it has no frame."""
        data = json.loads((self.folder / "summary.json").read_text())
        survey = None if data["survey"] is None else Survey.from_json(data["survey"])
        return Statistics.from_json(data["train"]), Statistics.from_json(data["validation"]), survey

    def rejected(self) -> str:
        """Its part of the ledger."""
        return (self.folder / "rejected.jsonl").read_text(encoding="utf-8")


class Staging:
    """All pieces of an ingest, in order, as one table of frames that can be read at any rows."""

    def __init__(self, pieces: Iterable[Piece]):
        self.pieces = list(pieces)
        self.natoms = np.concatenate([p.column("natoms") for p in self.pieces]) if self.pieces else np.empty(0, np.int32)
        self._first = np.cumsum([0, *(len(p.column("natoms")) for p in self.pieces)])

    def __len__(self) -> int:
        return len(self.natoms)

    def take(self, rows: np.ndarray) -> tuple[Frames, np.ndarray, list[str], list[str]]:
        """Read frames at `rows`: the frames, their split (0 train, 1 validation), groups and origins, in that order."""
        piece_of = np.searchsorted(self._first, rows, side="right") - 1
        parts, splits, groups, origins, places = [], [], [], [], []
        for number in np.unique(piece_of):
            places.append(np.flatnonzero(piece_of == number))
            local = rows[places[-1]] - self._first[number]
            piece = self.pieces[number]
            parts.append(_frames(piece, local))
            splits.append(piece.column("split")[local])
            groups += _texts(piece, "group", local)
            origins += _texts(piece, "origin", local)
        back = np.argsort(np.concatenate(places), kind="stable")
        return (
            Frames.concatenate(parts).take(back),
            np.concatenate(splits)[back],
            [groups[i] for i in back],
            [origins[i] for i in back],
        )


def _frames(piece: Piece, rows: np.ndarray) -> Frames:
    natoms = piece.column("natoms")
    values = {}
    for name, (_, _, axis) in COLUMNS.items():
        if name in Frames.__dataclass_fields__:
            values[name] = _ragged_rows(piece, name, natoms, rows) if axis == "atom" else np.array(piece.column(name)[rows])
    n = len(rows)
    return Frames(
        **values,
        head=np.zeros(n, np.int32),
        dataset=np.zeros(n, np.uint64),
        index=np.zeros(n, np.int64),
        epoch=np.zeros(n, np.int64),
    )


def _texts(piece: Piece, name: str, rows: np.ndarray) -> list[str]:
    lengths = piece.column(f"{name}_length")
    data = _ragged_rows(piece, name, lengths, rows).tobytes()
    ends = np.cumsum(lengths[rows])
    return [data[end - length : end].decode() for end, length in zip(ends, lengths[rows])]


def _ragged_rows(piece: Piece, name: str, counts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The values that belong to `rows`, one row after the other, of a column with `counts` values a row.

    Read, not mapped: rows in random order touch every page of a mapped file, and all of it would count as memory.
    """
    dtype, shape, _ = COLUMNS[name]
    size = np.dtype(dtype).itemsize * math.prod(shape)
    lengths = counts[rows].astype(np.int64) * size
    offsets = np.cumsum(counts, dtype=np.int64)[rows] * size - lengths
    out = np.empty(lengths.sum(), np.uint8)
    left = memoryview(out)
    with open(piece.folder / f"{name}.bin", "rb", buffering=0) as file:
        for offset, length in zip(offsets.tolist(), lengths.tolist()):
            file.seek(offset)
            file.readinto(left[:length])
            left = left[length:]
    return out.view(dtype).reshape(-1, *shape)
