"""Staging: frames in the order they were parsed, as flat files that can be read at any row.

A piece is what one worker parses in one go. It is written into a hidden folder and renamed when it is whole, so a piece that is
there is complete and a killed ingest goes on with the next one. Segments are then filled from all pieces in their shuffled order.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..frame import Rejection
from ..frames import Frames, Parsed
from ..statistics import Statistics
from ..store.rows import copy_rows
from ..store.survey import Survey

WINDOW = 1 << 20  # bytes of a file that are read together, about
DENSE = 4  # how many times the wanted bytes may be read to save a call for each row

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


class PieceWriter:
    """Writes one piece; use as a context manager, nothing is visible before it ends without an error."""

    def __init__(self, folder: Path):
        self.folder, self.hidden = folder, folder.with_name(f".{folder.name}.{os.getpid()}")
        self.statistics = {"train": Statistics(), "validation": Statistics()}
        self.survey: Survey | None = None

    def __enter__(self) -> PieceWriter:
        shutil.rmtree(self.hidden, ignore_errors=True)
        self.hidden.mkdir(parents=True)
        self._files = {name: open(self.hidden / f"{name}.bin", "wb") for name in COLUMNS}  # noqa: SIM115 closed in __exit__
        self._rejected = open(self.hidden / "rejected.jsonl", "w", encoding="utf-8")  # noqa: SIM115
        return self

    def add(self, parsed: Parsed, *, shortest: np.ndarray, validation: np.ndarray) -> None:
        """Append frames, with their shortest distances (F,) in Å and (F,) which of them are held out."""
        if not len(parsed):
            return
        frames = parsed.frames.with_(shortest=shortest.astype(np.float32))
        for side, rows in (("train", np.flatnonzero(~validation)), ("validation", np.flatnonzero(validation))):
            self.statistics[side].add(frames if len(rows) == len(frames) else frames.take(rows), shortest=shortest[rows])
        survey = Survey.of(frames, parsed.groups, parsed.origins)
        self.survey = survey if self.survey is None else self.survey.merge(survey)
        extra = {"split": validation}
        for name, texts in (("group", parsed.groups), ("origin", parsed.origins)):
            rows = [text.encode() for text in texts]
            extra[f"{name}_length"] = np.array([len(row) for row in rows], np.int32)
            extra[name] = np.frombuffer(b"".join(rows), np.uint8)
        for name, (dtype, _, _) in COLUMNS.items():
            values = extra[name] if name in extra else getattr(frames, name)
            self._files[name].write(np.ascontiguousarray(values, dtype))

    def reject(self, rejection: Rejection) -> None:
        """Append a row to the ledger."""
        row = {"origin": rejection.origin, "reason": rejection.reason, "value": rejection.value}
        self._rejected.write(json.dumps(row, default=str) + "\n")

    def __exit__(self, kind, value, trace) -> None:
        if kind is None:
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
        n, frame_fields = len(rows), Frames.__dataclass_fields__
        natoms = self.natoms[rows]
        values = {
            name: self._ragged(name, "natoms", natoms, rows) if axis == "atom" else self._column(name, rows)
            for name, (_, _, axis) in COLUMNS.items()
            if name in frame_fields
        }
        frames = Frames(
            **values,
            head=np.zeros(n, np.int32),
            dataset=np.zeros(n, np.uint64),
            index=np.zeros(n, np.int64),
            epoch=np.zeros(n, np.int64),
        )
        return frames, self._column("split", rows), self._texts("group", rows), self._texts("origin", rows)

    def _parts(self, rows: np.ndarray) -> Iterator[tuple[Piece, np.ndarray, np.ndarray]]:
        """Each piece that holds some of `rows`, their places in `rows`, and their rows in the piece."""
        piece_of = np.searchsorted(self._first, rows, side="right") - 1
        for number in np.unique(piece_of):
            places = np.flatnonzero(piece_of == number)
            yield self.pieces[number], places, rows[places] - self._first[number]

    def _column(self, name: str, rows: np.ndarray) -> np.ndarray:
        """A column with one value a frame."""
        dtype, shape, _ = COLUMNS[name]
        out = np.empty((len(rows), *shape), dtype)
        for piece, places, local in self._parts(rows):
            out[places] = piece.column(name)[local]
        return out

    def _texts(self, name: str, rows: np.ndarray) -> list[str]:
        lengths = self._column(f"{name}_length", rows)
        data, ends = self._ragged(name, f"{name}_length", lengths, rows).tobytes(), np.cumsum(lengths)
        return [data[end - length : end].decode() for end, length in zip(ends, lengths)]

    def _ragged(self, name: str, counts_name: str, counts: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The values of a column with `counts` values a row, one row after the other, each read to where it belongs.

        Read, not mapped: rows in random order touch every page of a mapped file, and all of it would count as memory.
        """
        dtype, shape, _ = COLUMNS[name]
        size = np.dtype(dtype).itemsize * math.prod(shape)
        ends = np.cumsum(counts, dtype=np.int64) * size
        out = np.empty(ends[-1] if len(ends) else 0, np.uint8)
        for piece, places, local in self._parts(rows):
            by_row = np.argsort(local)  # the file is read from its start to its end
            places, local = places[by_row], local[by_row]
            lengths = counts[places].astype(np.int64) * size
            begins = np.cumsum(piece.column(counts_name), dtype=np.int64)[local] * size - lengths
            with open(piece.folder / f"{name}.bin", "rb", buffering=0) as file:
                _read_rows(file, begins, lengths, out, ends[places] - lengths)
        return out.view(dtype).reshape(-1, *shape)


def _read_rows(file: BinaryIO, begins: np.ndarray, lengths: np.ndarray, out: np.ndarray, targets: np.ndarray) -> None:
    """Read `lengths` bytes from each of `begins`, which ascend, to each of `targets` in `out`.

    Those that lie in one window are read together, bytes between them and all, where they are a good part of it.
    """
    borders = [0, *(np.flatnonzero(np.diff(begins // WINDOW)) + 1).tolist(), len(begins)]
    view, room = memoryview(out), np.empty(0, np.uint8)
    for some in map(slice, borders, borders[1:]):
        first, span = int(begins[some][0]), int(begins[some][-1] + lengths[some][-1] - begins[some][0])
        if span <= DENSE * lengths[some].sum():
            room = room if len(room) >= span else np.empty(max(span, 2 * WINDOW), np.uint8)
            file.seek(first)
            file.readinto(memoryview(room)[:span])
            copy_rows(room[:span], begins[some] - first, lengths[some], out, targets[some])
        else:
            for begin, length, target in zip(begins[some].tolist(), lengths[some].tolist(), targets[some].tolist()):
                file.seek(begin)
                file.readinto(view[target : target + length])
