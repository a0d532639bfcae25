"""Pass 1 of an ingest: source files -> pieces of parsed and checked frames, any number of workers, each piece idempotent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..catalog import Card, SourceSpec
from ..checks import check
from ..errors import SourceError
from ..frame import Frame, Rejection
from ..frames import Parsed
from ..sources import Reader, SourceFile, guess_format, read_items, read_theory, reader
from .findings import UNREADABLE, add_atoms, as_isolated_atom
from .kept import not_kept
from .splits import Splitter, mark_split
from .staging import Piece, PieceWriter

FILES_PER_PART = 128  # a piece costs as much as some frames: with 64 small files in each, a tenth of the whole
PARTS = 64  # so many that workers end together
LEAST_PART, LARGEST_PART = 4 << 20, 32 << 20  # bytes of a part: some tenths of a second to a few seconds of work
FRAMES_AT_ONCE = 4096  # checked, counted and written together
ATOMS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Files that one worker parses in one go, and all it must know to do so."""

    number: int
    card: Card
    staging: Path
    splitter: Splitter
    on_error: Literal["stop", "skip"]
    files: list[tuple[SourceFile, SourceSpec]] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """Where its piece is left."""
        return self.staging / f"piece-{self.number:06d}"


def parts_of(
    files: Sequence[tuple[SourceFile, SourceSpec]], *, card: Card, splitter: Splitter, staging: Path, on_error: Literal["stop", "skip"]
) -> list[Part]:
    """Deal files out in order, and large ones in spans; the deal depends on nothing but the files."""
    size = min(max(sum(file.size for file, _ in files) // PARTS, LEAST_PART), LARGEST_PART)
    parts: list[Part] = []
    filled = size
    for file, spec in files:
        for share in _shares(file, spec, size=size):
            if filled >= size or len(parts[-1].files) >= FILES_PER_PART:
                parts.append(Part(number=len(parts), card=card, splitter=splitter, staging=staging, on_error=on_error))
                filled = 0
            parts[-1].files.append((share, spec))
            filled += file.size if share.span is None else size
    return parts


def _shares(file: SourceFile, spec: SourceSpec, *, size: int) -> list[SourceFile]:
    """A file in spans of about `size` bytes, where it is larger and its reader makes them; else, or where it is damaged, the file."""
    if file.size < 2 * size:
        return [file]
    try:
        spans = getattr(_reader_of(file, spec), "spans", None)
        return [replace(file, span=span) for span in spans(file, size)] or [file] if spans else [file]
    except SourceError:  # the worker that reads it says what is wrong, or skips it
        return [file]


def _reader_of(file: SourceFile, spec: SourceSpec) -> Reader:
    return reader(guess_format(file) if spec.format == "auto" else spec.format)


def parse_part(part: Part) -> Piece:
    """Parse the files of one part, unless it has been done already."""
    if part.path.exists():
        return Piece(part.path)
    with PieceWriter(part.path) as piece:
        for parsed, unread in _gather(_items(part, piece)):
            _store(parsed, unread, part, piece)
    return Piece(part.path)


def stage_frames(frames: Iterable[Frame | Parsed | Rejection], part: Part) -> Piece:
    """Check and write frames that are in hand as the one piece of a part, unless it has been done already."""
    if not part.path.exists():
        with PieceWriter(part.path) as piece:
            for parsed, unread in _gather(frames):
                _store(parsed, unread, part, piece)
    return Piece(part.path)


def _items(part: Part, piece: PieceWriter) -> Iterator[Frame | Parsed | Rejection]:
    """What the files of a part hold, in order; what they state of their theory goes into the facts of the piece."""
    for file, spec in part.files:
        file = file.hold()
        try:
            use = _reader_of(file, spec)
            stated = read_theory(file, use=use)
            _agree_on_theory(file, stated, part.card)
            piece.facts.theories.add(file.name, stated)
            number = part.card.sources.index(spec)
            for item in read_items(file, spec, use=use):
                piece.facts.asked.see(number, spec, item)
                yield from (item,) if isinstance(item, Rejection) else _as_frames(mark_split(item, spec), spec)
        except SourceError as err:
            if part.on_error == "stop":
                raise
            yield Rejection(origin=f"{file.name}#", reason=UNREADABLE, value=err.message)


def _as_frames(item: Frame | Parsed, spec: SourceSpec) -> Iterator[Frame | Parsed]:
    """Free atoms as the source's `isolated_atoms` has them."""
    if spec.isolated_atoms == "all":
        yield replace(item, isolated=True) if isinstance(item, Frame) else replace(item, isolated=[True] * len(item))
        return
    yield item
    if spec.isolated_atoms == "also frames":
        marked = [item] if isinstance(item, Frame) else item
        yield from (replace(one, isolated=False, split="train") for one in marked if one.isolated)


def _gather(items: Iterable[Frame | Parsed | Rejection]) -> Iterator[tuple[Parsed | None, list[tuple[int, Rejection]]]]:
    """Frames stacked to a size that is good to work on, and what could not be read with the number of frames before it."""
    read: list[Frame | Parsed] = []
    unread: list[tuple[int, Rejection]] = []
    frames = atoms = 0
    for item in items:
        if isinstance(item, Rejection):
            unread.append((frames, item))
        else:
            read.append(item)
            frames += len(item) if isinstance(item, Parsed) else 1
            atoms += len(item.numbers)
        if frames + len(unread) >= FRAMES_AT_ONCE or atoms >= ATOMS_AT_ONCE:
            yield _stack(read), unread
            read, unread, frames, atoms = [], [], 0, 0
    if read or unread:
        yield _stack(read), unread


def _stack(items: Sequence[Frame | Parsed]) -> Parsed | None:
    parts: list[Parsed] = []
    singles: list[Frame] = []
    for item in items:
        if isinstance(item, Frame):
            singles.append(item)
            continue
        if singles:
            parts.append(Parsed.from_list(singles))
            singles = []
        parts.append(item)
    if singles:
        parts.append(Parsed.from_list(singles))
    return Parsed.concatenate(parts) if parts else None


def _store(parsed: Parsed | None, unread: list[tuple[int, Rejection]], part: Part, piece: PieceWriter) -> None:
    """Check frames and write those that pass; the ledger keeps the order of the source; free atoms become reference energies."""
    if parsed is not None and any(parsed.isolated):
        parsed, unread = _set_atoms_apart(parsed, unread, piece)
    refused, shortest = check(parsed, part.card.checks) if parsed is not None else ({}, np.empty(0))
    if parsed is not None:
        refused = not_kept(parsed, part.card.keep, shortest=shortest) | refused
    ledger = [rejection for _, rejection in sorted([*unread, *refused.items()], key=lambda row: row[0])]
    piece.reject(ledger)
    piece.facts.met |= part.splitter.met(rejection.origin for rejection in ledger)
    if parsed is None:
        return
    piece.facts.met |= part.splitter.met(parsed.origins, parsed.groups)
    if refused:
        rows = np.flatnonzero(~np.isin(np.arange(len(parsed)), list(refused)))
        parsed, shortest = parsed.take(rows), shortest[rows]
    sides, dealt = part.splitter.sides(parsed)
    piece.add(parsed, shortest=shortest, sides=sides, dealt=dealt)


def _set_atoms_apart(
    parsed: Parsed, unread: list[tuple[int, Rejection]], piece: PieceWriter
) -> tuple[Parsed | None, list[tuple[int, Rejection]]]:
    """Put the energies of free atoms into the facts of a piece; return what is left, and what was not read or gives no energy."""
    atoms = np.asarray(parsed.isolated, bool)
    before = np.concatenate([[0], np.cumsum(~atoms)]).tolist()  # frames that are none, before each row
    apart = [(before[number], rejection) for number, rejection in unread]
    rows = np.flatnonzero(atoms)
    for row, frame in zip(rows.tolist(), parsed.take(rows)):
        found = as_isolated_atom(frame)
        if isinstance(found, Rejection):
            apart.append((before[row], found))
        else:
            add_atoms(piece.facts.isolated, dict([found]))
    return None if atoms.all() else parsed.take(np.flatnonzero(~atoms)), apart


def _agree_on_theory(file: SourceFile, stated: dict[str, Any], card: Card) -> None:
    conflicts = card.theory.conflicts(stated)
    if conflicts:
        raise SourceError(
            f"theory differs from the card of {card.dataset}: {'; '.join(conflicts)}",
            where=file.name,
            hint="mend the card, or leave the file out",
        )
