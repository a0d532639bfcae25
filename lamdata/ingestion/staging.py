"""Staging: frames in the order they were parsed, as flat files that can be read at any row.

A piece is what one worker parses in one go. It is written into a hidden folder and renamed when it is whole, so a piece that is
there is complete and a killed ingest goes on with the next one. Segments are then filled from all pieces in their shuffled order.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..energies import Energies
from ..frame import Rejection
from ..frames import Frames, Parsed
from ..plausibility import Plausibility
from ..statistics import Statistics
from ..store.layout import SPLITS
from ..store.rows import copy_rows
from ..store.survey import Survey
from .asked import AskedKeys
from .findings import IsolatedAtoms, LeftOut, count_left_out
from .theories import Theories

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
    "weight": ("f8", (), "frame"),
    "shortest": ("f4", (), "frame"),
    "split": ("u1", (), "frame"),
    "group_length": ("i4", (), "frame"),
    "origin_length": ("i4", (), "frame"),
    "group": ("u1", (), "byte"),
    "origin": ("u1", (), "byte"),
}


GROUP = np.dtype([("key", "<u8"), ("sides", "u1"), ("frames", "<i8")])  # of a group: hash of its name, bits of its splits, frames
DEALT = 1 << len(SPLITS)  # the bit of a group with frames that were dealt by hash


def group_key(group: str) -> int:
    """The hash that stands for a group, so that a hundred million of them fit in memory."""
    return int.from_bytes(hashlib.blake2b(group.encode(), digest_size=8).digest(), "little")


@dataclass(slots=True, kw_only=True)
class PieceFacts:
    """What is known of the frames of a piece beside the frames themselves."""

    statistics: dict[str, Statistics] = field(default_factory=lambda: {side: Statistics() for side in SPLITS})
    energies: dict[str, Energies] = field(default_factory=lambda: {side: Energies() for side in SPLITS})
    survey: Survey | None = None
    plausibility: Plausibility = field(default_factory=Plausibility)
    left_out: LeftOut = field(default_factory=dict)
    isolated: IsolatedAtoms = field(default_factory=dict)
    theories: Theories = field(default_factory=Theories)
    asked: AskedKeys = field(default_factory=AskedKeys)
    met: set[str] = field(default_factory=set)  # lines of the lists of the split that name a frame here

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "statistics": {side: statistics.to_json() for side, statistics in self.statistics.items()},
            "energies": {side: energies.to_json() for side, energies in self.energies.items()},
            "survey": None if self.survey is None else self.survey.to_json(),
            "plausibility": self.plausibility.to_json(),
            "left_out": self.left_out,
            "isolated": self.isolated,
            "theories": self.theories.to_json(),
            "asked": self.asked.to_json(),
            "met": sorted(self.met),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> PieceFacts:
        """Back from `to_json`."""
        return PieceFacts(
            statistics={side: Statistics.from_json(part) for side, part in data["statistics"].items()},
            energies={side: Energies.from_json(part) for side, part in data["energies"].items()},
            survey=None if data["survey"] is None else Survey.from_json(data["survey"]),
            plausibility=Plausibility.from_json(data["plausibility"]),
            left_out=data["left_out"],
            isolated=data["isolated"],
            theories=Theories.from_json(data["theories"]),
            asked=AskedKeys.from_json(data["asked"]),
            met=set(data["met"]),
        )


class PieceWriter:
    """Writes one piece; use as a context manager, nothing is visible before it ends without an error."""

    def __init__(self, folder: Path):
        self.folder, self.hidden = folder, folder.with_name(f".{folder.name}.{os.getpid()}")
        self.facts = PieceFacts()
        self._groups: dict[str, list[int]] = {}  # group -> bits of its splits, frames

    def __enter__(self) -> PieceWriter:
        shutil.rmtree(self.hidden, ignore_errors=True)
        self.hidden.mkdir(parents=True)
        self._files = {name: open(self.hidden / f"{name}.bin", "wb") for name in COLUMNS}  # noqa: SIM115 closed in __exit__
        self._rejected = open(self.hidden / "rejected.jsonl", "w", encoding="utf-8")  # noqa: SIM115
        return self

    def add(self, parsed: Parsed, *, shortest: NDArray[np.float64], sides: NDArray[np.uint8], dealt: NDArray[np.bool_]) -> None:
        """Append frames, with their shortest distances (F,) in Å, their splits (F,) and which of them were dealt by hash (F,)."""
        if not len(parsed):
            return
        frames = parsed.frames.with_(shortest=shortest.astype(np.float32))
        for number, side in enumerate(SPLITS):
            rows = np.flatnonzero(sides == number)
            if len(rows):
                some = frames if len(rows) == len(frames) else frames.take(rows)
                self.facts.statistics[side].add(some, shortest=shortest[rows])
                self.facts.energies[side].add(some)
        survey = Survey.of(frames, parsed.groups, parsed.origins)
        self.facts.survey = survey if self.facts.survey is None else self.facts.survey.merge(survey)
        for group, side, by_hash in zip(parsed.groups, sides.tolist(), dealt.tolist()):
            row = self._groups.setdefault(group, [0, 0])
            row[0] |= 1 << side | DEALT * by_hash
            row[1] += 1
        count_left_out(self.facts.left_out, parsed)
        self.facts.plausibility.add(parsed)
        extra: dict[str, NDArray[Any]] = {"split": sides}
        for name, texts in (("group", parsed.groups), ("origin", parsed.origins)):
            words = [text.encode() for text in texts]
            extra[f"{name}_length"] = np.array([len(word) for word in words], np.int32)
            extra[name] = np.frombuffer(b"".join(words), np.uint8)
        for name, (dtype, _, _) in COLUMNS.items():
            values = extra[name] if name in extra else getattr(frames, name)
            self._files[name].write(np.ascontiguousarray(values, dtype).tobytes())

    def reject(self, rejection: Rejection) -> None:
        """Append a row to the ledger."""
        row = {"origin": rejection.origin, "reason": rejection.reason, "value": rejection.value}
        self._rejected.write(json.dumps(row, default=str) + "\n")

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            (self.hidden / "summary.json").write_text(json.dumps(self.facts.to_json()))
            rows = [(group_key(group), sides, frames) for group, (sides, frames) in self._groups.items()]
            np.save(self.hidden / "groups.npy", np.array(rows, GROUP))
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

    def column(self, name: str) -> NDArray[Any]:
        """A whole column, mapped, not read."""
        dtype, shape, _ = COLUMNS[name]
        path = self.folder / f"{name}.bin"
        if path.stat().st_size == 0:
            return np.empty((0, *shape), dtype)
        return np.memmap(path, dtype, "r").reshape(-1, *shape)

    def facts(self) -> PieceFacts:
        """What is known of its frames."""
        return PieceFacts.from_json(json.loads((self.folder / "summary.json").read_text()))

    def groups(self) -> NDArray[np.void]:
        """One row a group, as `GROUP`."""
        table: NDArray[np.void] = np.load(self.folder / "groups.npy", allow_pickle=False)
        return table

    def rows_of_groups(self, keys: set[int]) -> Iterator[tuple[str, str, int]]:
        """Group, origin and split of each frame of the groups that these hashes stand for."""
        if not keys & set(self.groups()["key"].tolist()):
            return
        for group, origin, side in zip(self._texts("group"), self._texts("origin"), self.column("split").tolist()):
            if group_key(group) in keys:
                yield group, origin, side

    def _texts(self, name: str) -> Iterator[str]:
        data, at = self.column(name).tobytes(), 0
        for length in self.column(f"{name}_length").tolist():
            yield data[at : at + length].decode()
            at += length

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

    def take(self, rows: NDArray[Any]) -> tuple[Frames, NDArray[Any], list[str], list[str]]:
        """Read frames at `rows`: the frames, their split (0 train, 1 validation, 2 test), groups and origins, in that order."""
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

    def _parts(self, rows: NDArray[Any]) -> Iterator[tuple[Piece, NDArray[Any], NDArray[Any]]]:
        """Each piece that holds some of `rows`, their places in `rows`, and their rows in the piece."""
        piece_of = np.searchsorted(self._first, rows, side="right") - 1
        for number in np.unique(piece_of):
            places = np.flatnonzero(piece_of == number)
            yield self.pieces[number], places, rows[places] - self._first[number]

    def _column(self, name: str, rows: NDArray[Any]) -> NDArray[Any]:
        """A column with one value a frame."""
        dtype, shape, _ = COLUMNS[name]
        out = np.empty((len(rows), *shape), dtype)
        for piece, places, local in self._parts(rows):
            out[places] = piece.column(name)[local]
        return out

    def _texts(self, name: str, rows: NDArray[Any]) -> list[str]:
        lengths = self._column(f"{name}_length", rows)
        data, ends = self._ragged(name, f"{name}_length", lengths, rows).tobytes(), np.cumsum(lengths)
        return [data[end - length : end].decode() for end, length in zip(ends, lengths)]

    def _ragged(self, name: str, counts_name: str, counts: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
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


def _read_rows(file: FileIO, begins: NDArray[Any], lengths: NDArray[Any], out: NDArray[Any], targets: NDArray[Any]) -> None:
    """Read `lengths` bytes from each of `begins`, which ascend, to each of `targets` in `out`.

    Those that lie in one window are read together, bytes between them and all, where they are a good part of it.
    """
    borders = [0, *(np.flatnonzero(np.diff(begins // WINDOW)) + 1).tolist(), len(begins)]
    view, room = memoryview(out.data), np.empty(0, np.uint8)
    for some in map(slice, borders, borders[1:]):
        first, span = int(begins[some][0]), int(begins[some][-1] + lengths[some][-1] - begins[some][0])
        if span <= DENSE * lengths[some].sum():
            room = room if len(room) >= span else np.empty(max(span, 2 * WINDOW), np.uint8)
            file.seek(first)
            file.readinto(memoryview(room.data)[:span])
            copy_rows(room[:span], begins[some] - first, lengths[some], out, targets[some])
        else:
            for begin, length, target in zip(begins[some].tolist(), lengths[some].tolist(), targets[some].tolist()):
                file.seek(begin)
                file.readinto(view[target : target + length])
