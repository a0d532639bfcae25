"""Staging: frames in the order they were parsed, as flat files that can be read at any row.

A piece is what one worker parses in one go. It is written into a hidden folder and renamed when it is whole, so a piece that is
there is complete and a killed ingest goes on with the next one. Segments are then filled from all pieces in their shuffled order.
"""

from __future__ import annotations

import hashlib
import itertools
import json
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
from ..errors import SourceError
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

LAYOUT = 2  # of pieces, and of how files are dealt to them: raised where either changes, so that no ingest goes on with pieces of another version
WINDOW = 1 << 20  # bytes of a file that are read together, about
MOST_INFO = 2000  # characters of what is kept of a frame, names and all: each frame of a segment takes as many bytes as the longest
DENSE = 4  # how many times the wanted bytes may be read to save a call for each row

# A piece has a file for each of these: name -> (dtype, values a row), one row an atom;
ATOMS: dict[str, tuple[str, tuple[int, ...]]] = {"numbers": ("u1", ()), "positions": ("<f8", (3,)), "forces": ("<f8", (3,))}
# one of `frames`, one row a frame;
FRAME = np.dtype(
    [
        ("cell", "<f8", (3, 3)),
        ("pbc", "?", (3,)),
        ("energy", "<f8"),
        ("virial", "<f8", (3, 3)),
        ("has_energy", "?"),
        ("has_forces", "?"),
        ("has_virial", "?"),
        ("charge", "<i2"),
        ("multiplicity", "<i2"),
        ("weight", "<f8"),
        ("shortest", "<f4"),
    ]
)
# one of `texts`, group, origin and info (JSON) of each frame one behind the other; and the `index`: of each frame the atoms, the bytes of its
# texts and of them those of group and origin, and its split.
INDEX = np.dtype([("natoms", "<i4"), ("texts", "<i4"), ("group", "<i4"), ("origin", "<i4"), ("split", "u1")])
FILES = {**{name: np.dtype(of) for name, of in ATOMS.items()}, "frames": FRAME, "index": INDEX, "texts": np.dtype("u1")}


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
        self._files = {name: open(self.hidden / f"{name}.bin", "wb") for name in FILES}  # noqa: SIM115 closed in __exit__
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
        infos = [json.dumps(info, ensure_ascii=False, separators=(",", ":")) if info else "" for info in parsed.infos]
        if infos and len(longest := max(infos, key=len)) > MOST_INFO:
            where, hint = parsed.origins[infos.index(longest)], "leave the longest of them out"
            raise SourceError(
                f"the keys that `info` keeps have {len(longest)} characters, at most {MOST_INFO} are stored", where=where, hint=hint
            )
        survey = Survey.of(frames, parsed.groups, parsed.origins, infos)
        self.facts.survey = survey if self.facts.survey is None else self.facts.survey.merge(survey)
        for group, side, by_hash in zip(parsed.groups, sides.tolist(), dealt.tolist()):
            row = self._groups.setdefault(group, [0, 0])
            row[0] |= 1 << side | DEALT * by_hash
            row[1] += 1
        count_left_out(self.facts.left_out, parsed)
        self.facts.plausibility.add(parsed)
        for name, (dtype, _) in ATOMS.items():
            self._files[name].write(np.ascontiguousarray(getattr(frames, name), dtype).data)
        table, index = np.empty(len(frames), FRAME), np.empty(len(frames), INDEX)
        for name in FRAME.names or ():
            table[name] = getattr(frames, name)
        texts = [[text.encode() for text in some] for some in (parsed.groups, parsed.origins, infos or [""] * len(frames))]
        index["natoms"], index["split"] = frames.natoms, sides
        index["group"], index["origin"], rest = ([len(text) for text in some] for some in texts)
        index["texts"] = index["group"] + index["origin"] + rest
        self._files["frames"].write(table.data)
        self._files["index"].write(index.data)
        self._files["texts"].write(b"".join(itertools.chain.from_iterable(zip(*texts))))

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
    """One complete piece, what is short of it mapped into memory when it is asked for."""

    folder: Path

    def table(self, name: str) -> NDArray[Any]:
        """One of its `FILES`, mapped, not read."""
        path = self.folder / f"{name}.bin"
        return np.memmap(path, FILES[name], "r") if path.stat().st_size else np.empty(0, FILES[name])

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
        index = self.table("index")
        groups, origins, _ = _texts_of(self.table("texts"), index)
        for group, origin, side in zip(groups, origins, index["split"].tolist()):
            if group_key(group) in keys:
                yield group, origin, side

    def rejected(self) -> str:
        """Its part of the ledger."""
        return (self.folder / "rejected.jsonl").read_text(encoding="utf-8")


class Staging:
    """All pieces of an ingest, in order, as one table of frames that can be read at any rows."""

    def __init__(self, pieces: Iterable[Piece]):
        self.pieces = list(pieces)
        tables = [piece.table("index") for piece in self.pieces]
        self.natoms, self.split = (
            np.concatenate([np.empty(0, INDEX[name]), *(table[name] for table in tables)]) for name in ("natoms", "split")
        )
        self._first = np.cumsum([0, *map(len, tables)])

    def __len__(self) -> int:
        return len(self.natoms)

    def take(self, rows: NDArray[Any]) -> tuple[Frames, NDArray[Any], list[str], list[str], list[str]]:
        """Read frames at `rows`: the frames, their split (0 train, 1 validation, 2 test), groups, origins and infos, in that order."""
        n = len(rows)
        table, index = self._rows("frames", rows), self._rows("index", rows)
        frames = Frames(
            **{name: self._ragged(name, "natoms", index, rows).reshape(-1, *shape) for name, (_, shape) in ATOMS.items()},
            **{name: np.ascontiguousarray(table[name]) for name in FRAME.names or ()},
            natoms=np.ascontiguousarray(index["natoms"]),
            head=np.zeros(n, np.int32),
            dataset=np.zeros(n, np.uint64),
            index=np.zeros(n, np.int64),
            epoch=np.zeros(n, np.int64),
        )
        return frames, np.ascontiguousarray(index["split"]), *_texts_of(self._ragged("texts", "texts", index, rows), index)

    def _parts(self, rows: NDArray[Any]) -> Iterator[tuple[Piece, NDArray[Any], NDArray[Any]]]:
        """Each piece that holds some of `rows`, their places in `rows`, and their rows in the piece."""
        piece_of = np.searchsorted(self._first, rows, side="right") - 1
        for number in np.unique(piece_of):
            places = np.flatnonzero(piece_of == number)
            yield self.pieces[number], places, rows[places] - self._first[number]

    def _rows(self, name: str, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows of what has one a frame."""
        out = np.empty(len(rows), FILES[name])
        for piece, places, local in self._parts(rows):
            out[places] = piece.table(name)[local]
        return out

    def _ragged(self, name: str, counted: str, index: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
        """What has as many values a row as a field of the index of these rows says, one row after the other, each read to where it belongs.

        Read, not mapped: rows in random order touch every page of a mapped file, and all of it would count as memory.
        """
        size = FILES[name].itemsize
        sizes = index[counted].astype(np.int64) * size
        ends = np.cumsum(sizes)
        out = np.empty(ends[-1] if len(ends) else 0, np.uint8)
        for piece, places, local in self._parts(rows):
            by_row = np.argsort(local)  # the file is read from its start to its end
            places, local = places[by_row], local[by_row]
            lengths = sizes[places]
            begins = np.cumsum(piece.table("index")[counted], dtype=np.int64)[local] * size - lengths
            with open(piece.folder / f"{name}.bin", "rb", buffering=0) as file:
                _read_rows(file, begins, lengths, out, ends[places] - lengths)
        return out.view(FILES[name].base)


def _texts_of(data: NDArray[np.uint8], index: NDArray[Any]) -> tuple[list[str], list[str], list[str]]:
    """Groups, origins and infos, of the texts of frames one behind the other and their rows of the index."""
    text, ends = data.tobytes(), np.cumsum(index["texts"], dtype=np.int64)
    begins = ends - index["texts"]
    origins = begins + index["group"]
    borders = [border.tolist() for border in (begins, origins, origins + index["origin"], ends)]
    groups, named, infos = ([text[begin:end].decode() for begin, end in zip(*some)] for some in zip(borders, borders[1:]))
    return groups, named, infos


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
