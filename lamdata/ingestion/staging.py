"""Staging: frames in the order they were parsed, in files that can be read at any row.

A piece is what one worker parses in one go, and one file: records of frames, then what is known of them, then where all of it stands.
It is written under a hidden name and renamed when it is whole, so a piece that is there is complete and a killed ingest goes on with the
next one. Segments are then filled from all pieces in their shuffled order.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..energies import Energies
from ..errors import SourceError
from ..frame import Rejection
from ..frames import Frames, Parsed
from ..plausibility import Plausibility
from ..statistics import Compositions, Statistics
from ..store.layout import SPLITS, TEXTS, encoded
from ..store.rows import copy_rows
from ..store.survey import Survey
from .asked import AskedKeys
from .findings import IsolatedAtoms, LeftOut, count_left_out
from .records import ATOM_BYTES, Table, record_bytes, to_records
from .theories import Theories

LAYOUT = 3  # of pieces, and of how files are dealt to them: raised where either changes, so that no ingest goes on with pieces of another version
WINDOW = 1 << 20  # bytes of a file that are read together, about
MOST_INFO = 2000  # characters of what is kept of a frame, names and all: each frame of a segment takes as many bytes as the longest
DENSE = 4  # how many times the wanted bytes may be read to save a call for each row
TOGETHER = 1 << 22  # bytes of records that are read before they are taken apart, about
SOME = 1 << 14  # frames whose words are looked at together
END = 8  # bytes at the end of a piece, which say how many before them say where everything stands

INDEX = np.dtype([("natoms", "<i4"), ("split", "u1")])  # of all frames of a piece
GROUP = np.dtype([("key", "<u8"), ("sides", "u1"), ("frames", "<i8")])  # of a group: hash of its name, bits of its splits, frames
DEALT = 1 << len(SPLITS)  # the bit of a group with frames that were dealt by hash


def hashes(texts: Iterable[bytes], *, order: Literal["<", ">"] = "<") -> NDArray[np.uint64]:
    """What stands for groups, so that a hundred million of them fit in memory."""
    return np.frombuffer(b"".join([hashlib.blake2b(text, digest_size=8).digest() for text in texts]), f"{order}u8")


def group_key(group: str) -> int:
    """The hash of one."""
    return int(hashes([group.encode()])[0])


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


class Batch(NamedTuple):
    """Where records of a piece stand that have the same widths."""

    at: int  # byte of the file
    frames: int
    widths: list[int]  # bytes of a group, an origin and an info


class PieceWriter:
    """Writes one piece; use as a context manager, nothing is visible before it ends without an error."""

    def __init__(self, path: Path):
        self.path, self.hidden = path, path.with_name(f".{path.name}.{os.getpid()}")
        self.facts = PieceFacts()
        self._batches: list[Batch] = []
        self._index: list[NDArray[Any]] = []
        self._rejected: list[tuple[int, int]] = []  # where rows of the ledger stand, and their bytes
        self._groups: dict[bytes, list[int]] = {}  # group -> bits of its splits, frames

    def __enter__(self) -> PieceWriter:
        self.hidden.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.hidden, "wb")  # noqa: SIM115 closed in __exit__
        return self

    def add(self, parsed: Parsed, *, shortest: NDArray[np.float64], sides: NDArray[np.uint8], dealt: NDArray[np.bool_]) -> None:
        """Append frames, with their shortest distances (F,) in Å, their splits (F,) and which of them were dealt by hash (F,)."""
        if not len(parsed):
            return
        frames, made = parsed.frames.with_(shortest=shortest.astype(np.float32)), Compositions.of(parsed.frames)
        for number, side in enumerate(SPLITS):
            rows = sides == number
            if rows.any():
                self.facts.statistics[side].add(frames, shortest=shortest, rows=rows, compositions=made)
                self.facts.energies[side].add(frames, rows=rows, compositions=made)
        origins = encoded(parsed.origins)
        texts = {"group": origins if parsed.groups is parsed.origins else encoded(parsed.groups), "origin": origins, "info": _infos(parsed)}
        survey, known = Survey.of(frames, *texts.values(), after=self.facts.survey), self.facts.survey
        self.facts.survey = survey if known is None else known.merge(survey)
        for group, side, by_hash in zip(texts["group"].tolist(), sides.tolist(), dealt.tolist()):
            row = self._groups.setdefault(group, [0, 0])
            row[0] |= 1 << side | DEALT * by_hash
            row[1] += 1
        count_left_out(self.facts.left_out, parsed)
        self.facts.plausibility.add(parsed, made)
        index = np.empty(len(frames), INDEX)
        index["natoms"], index["split"] = frames.natoms, sides
        self._index.append(index)
        self._batches.append(Batch(self._file.tell(), len(frames), [texts[name].itemsize for name in TEXTS]))
        self._file.write(to_records(frames, texts).data)

    def reject(self, rejections: Iterable[Rejection]) -> None:
        """Append rows to the ledger."""
        rows = [{"origin": one.origin, "reason": one.reason, "value": one.value} for one in rejections]
        if rows:
            text = "".join(json.dumps(row, default=str) + "\n" for row in rows).encode()
            self._rejected.append((self._file.tell(), len(text)))
            self._file.write(text)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        with self._file:
            if kind is None:
                self._write_end()
        if kind is None:
            self.hidden.rename(self.path)
        else:
            self.hidden.unlink()

    def _write_end(self) -> None:
        groups = np.empty(len(self._groups), GROUP)
        groups["key"] = hashes(self._groups)
        groups["sides"], groups["frames"] = np.array(list(self._groups.values()), np.int64).reshape(-1, 2).T
        parts = {
            "facts": json.dumps(self.facts.to_json()).encode(),
            "groups": groups.tobytes(),
            "index": b"".join(table.tobytes() for table in self._index),
        }
        said = {}
        for name, data in parts.items():
            said[name] = self._file.tell(), len(data)
            self._file.write(data)
        end = json.dumps(said | {"batches": self._batches, "rejected": self._rejected}).encode()
        self._file.write(end + len(end).to_bytes(END, "little"))


def _infos(parsed: Parsed) -> NDArray[np.bytes_]:
    if not any(parsed.infos):
        return np.zeros(len(parsed), "S1")
    infos = [json.dumps(info, ensure_ascii=False, separators=(",", ":")) if info else "" for info in parsed.infos]
    if len(longest := max(infos, key=len)) > MOST_INFO:
        where, hint = parsed.origins[infos.index(longest)], "leave the longest of them out"
        raise SourceError(
            f"the keys that `info` keeps have {len(longest)} characters, at most {MOST_INFO} are stored", where=where, hint=hint
        )
    return encoded(infos)


@dataclass(frozen=True, slots=True)
class Piece:
    """One complete piece."""

    path: Path

    def batches(self) -> list[Batch]:
        """Its frames."""
        return [Batch(*row) for row in self._end()["batches"]]

    def index(self) -> NDArray[Any]:
        """One row a frame, as `INDEX`."""
        return np.frombuffer(self._read(*self._end()["index"]), INDEX)

    def facts(self) -> PieceFacts:
        """What is known of its frames."""
        return PieceFacts.from_json(json.loads(self._read(*self._end()["facts"])))

    def groups(self) -> NDArray[np.void]:
        """One row a group, as `GROUP`."""
        return np.frombuffer(self._read(*self._end()["groups"]), GROUP)

    def rows_of_groups(self, keys: set[int]) -> Iterator[tuple[str, str, int]]:
        """Group, origin and split of each frame of the groups that these hashes stand for."""
        if not keys & set(self.groups()["key"].tolist()):
            return
        staging = Staging([self])
        for first in range(0, len(staging), SOME):
            rows = np.arange(first, min(first + SOME, len(staging)))
            _, sides, texts = staging.take(rows)
            for group, origin, side in zip(texts["group"].tolist(), texts["origin"].tolist(), sides.tolist()):
                if group_key(group.decode()) in keys:
                    yield group.decode(), origin.decode(), side

    def rejected(self) -> str:
        """Its part of the ledger."""
        return "".join(self._read(at, size).decode() for at, size in self._end()["rejected"])

    def _end(self) -> dict[str, Any]:
        size = self.path.stat().st_size - END
        length = int.from_bytes(self._read(size, END), "little")
        end: dict[str, Any] = json.loads(self._read(size - length, length))
        return end

    def _read(self, at: int, size: int) -> bytes:
        with open(self.path, "rb", buffering=0) as file:
            file.seek(at)
            return file.read(size)


class Staging:
    """All pieces of an ingest, in order, as one table of frames that can be read at any rows."""

    def __init__(self, pieces: Iterable[Piece]):
        pieces = list(pieces)
        index = np.concatenate([np.empty(0, INDEX), *(piece.index() for piece in pieces)])
        self.natoms, self.split = (np.ascontiguousarray(index[name]) for name in ("natoms", "split"))
        found = [(number, batch) for number, piece in enumerate(pieces) for batch in piece.batches()]
        self._paths, self._piece = [piece.path for piece in pieces], np.array([number for number, _ in found], np.int64)
        self._at = np.array([batch.at for _, batch in found], np.int64)
        self._widths = np.array([batch.widths for _, batch in found], np.int64).reshape(-1, len(TEXTS))
        self._first = np.cumsum([0, *(batch.frames for _, batch in found)])  # rows of batches
        self._atoms = np.cumsum(self.natoms, dtype=np.int64) - self.natoms

    def __len__(self) -> int:
        return len(self.natoms)

    def take(self, rows: NDArray[Any]) -> tuple[Frames, NDArray[Any], dict[str, NDArray[np.bytes_]]]:
        """Read frames at `rows`: the frames, their split (0 train, 1 validation, 2 test), and their groups, origins and infos in UTF-8.

        Read, not mapped: rows in random order touch every page of a mapped file, and all of it would count as memory.
        """
        table = Table(self.natoms[rows], widths=self._widths.max(axis=0, initial=1))
        split, places = self.split[rows], np.argsort(rows)  # a file is read from its start to its end
        rows = rows[places]
        batch = np.searchsorted(self._first, rows, side="right") - 1
        widths, first = self._widths[batch], self._first[batch]
        sizes = record_bytes(self.natoms[rows].astype(np.int64), widths)
        begins = (
            self._at[batch]
            + (rows - first) * record_bytes(np.zeros(1, np.int64), widths)
            + (self._atoms[rows] - self._atoms[first]) * ATOM_BYTES
        )
        piece, ends = self._piece[batch], np.cumsum(sizes)
        for some in _runs(ends // TOGETHER):
            into = ends[some] - sizes[some] - (ends[some.start] - sizes[some.start])
            records = np.empty(int(into[-1] + sizes[some][-1]), np.uint8)
            for one in _runs(piece[some]):
                with open(self._paths[piece[some][one.start]], "rb", buffering=0) as file:
                    _read_rows(file, begins[some][one], sizes[some][one], records, into[one])
            table.put(records, into, widths[some], places[some])
        return table.frames(), split, table.texts


def _runs(values: NDArray[Any]) -> Iterator[slice]:
    """Where values that are equal follow one another."""
    borders = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return map(slice, borders, borders[1:]) if len(values) else iter(())


def _read_rows(file: FileIO, begins: NDArray[Any], lengths: NDArray[Any], out: NDArray[Any], targets: NDArray[Any]) -> None:
    """Read `lengths` bytes from each of `begins`, which ascend, to each of `targets` in `out`.

    Those that lie in one window are read together, bytes between them and all, where they are a good part of it.
    """
    borders = np.concatenate([[0], np.flatnonzero(np.diff(begins // WINDOW)) + 1, [len(begins)]])
    spans = (begins + lengths)[borders[1:] - 1] - begins[borders[:-1]]
    dense = spans <= DENSE * np.add.reduceat(lengths, borders[:-1])
    view, room = memoryview(out.data), np.empty(0, np.uint8)
    for first, last, span, together in zip(borders.tolist(), borders[1:].tolist(), spans.tolist(), dense.tolist()):
        if together:
            some, start = slice(first, last), int(begins[first])
            room = room if len(room) >= span else np.empty(max(span, 2 * WINDOW), np.uint8)
            file.seek(start)
            file.readinto(memoryview(room.data)[:span])
            copy_rows(room[:span], begins[some] - start, lengths[some], out, targets[some])
        else:
            for row in range(first, last):
                target = int(targets[row])
                file.seek(int(begins[row]))
                file.readinto(view[target : target + int(lengths[row])])
