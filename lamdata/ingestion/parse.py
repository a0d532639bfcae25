"""Pass 1 of an ingest: source files -> pieces of parsed and checked frames, any number of workers, each piece idempotent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np

from ..catalog import Card, SourceSpec
from ..checks import check
from ..errors import SourceError
from ..frame import Frame, Rejection
from ..frames import Parsed
from ..sources import Reader, SourceFile, guess_format, read_items, read_theory, reader
from .staging import Piece, PieceWriter

FILES_PER_PART = 128  # a piece costs as much as some frames: with 64 small files in each, a tenth of the whole
PARTS = 64  # so many that workers end together
LEAST_PART, LARGEST_PART = 4 << 20, 16 << 20  # bytes of a part: some tenths of a second to a few seconds of work
FRAMES_AT_ONCE = 1024  # checked, counted and written together
ATOMS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Files that one worker parses in one go, and all it must know to do so."""

    number: int
    card: Card
    staging: Path
    on_error: Literal["stop", "skip"]
    files: list[tuple[SourceFile, SourceSpec]] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where its piece is left."""
        return self.staging / f"piece-{self.number:06d}"


def parts_of(files: Sequence[tuple[SourceFile, SourceSpec]], *, card: Card, staging: Path, on_error: Literal["stop", "skip"]) -> list[Part]:
    """Deal files out in order, and large ones in spans; the deal depends on nothing but the files."""
    size = min(max(sum(file.size for file, _ in files) // PARTS, LEAST_PART), LARGEST_PART)
    parts: list[Part] = []
    filled = size
    for file, spec in files:
        for share in _shares(file, spec, size=size):
            if filled >= size or len(parts[-1].files) >= FILES_PER_PART:
                parts.append(Part(number=len(parts), card=card, staging=staging, on_error=on_error))
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
    if part.folder.is_dir():
        return Piece(part.folder)
    with PieceWriter(part.folder) as piece:
        for parsed, unread in _gather(_items(part)):
            _store(parsed, unread, part.card, piece)
    return Piece(part.folder)


def _items(part: Part) -> Iterator[Frame | Parsed | Rejection]:
    """What the files of a part hold, in order."""
    for file, spec in part.files:
        file = file.hold()
        try:
            use = _reader_of(file, spec)
            _agree_on_theory(file, use, part.card)
            yield from read_items(file, spec, use=use)
        except SourceError as err:
            if part.on_error == "stop":
                raise
            yield Rejection(origin=f"{file.name}#", reason="unreadable", value=err.message)


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
    runs = groupby(items, lambda item: isinstance(item, Parsed))
    parts = [part for many, run in runs for part in (run if many else [Parsed.from_list(list(run))])]
    return Parsed.concatenate(parts) if parts else None


def _store(parsed: Parsed | None, unread: list[tuple[int, Rejection]], card: Card, piece: PieceWriter) -> None:
    """Check frames and write those that pass; the ledger keeps the order of the source."""
    refused, shortest = check(parsed, card.checks) if parsed is not None else ({}, np.empty(0))
    for _, rejection in sorted([*unread, *refused.items()], key=lambda row: row[0]):
        piece.reject(rejection)
    if parsed is None:
        return
    if refused:
        rows = np.flatnonzero(~np.isin(np.arange(len(parsed)), list(refused)))
        parsed, shortest = parsed.take(rows), shortest[rows]
    held_out = {group: card.split.is_validation(group) for group in set(parsed.groups)}
    piece.add(parsed, shortest=shortest, validation=np.array([held_out[group] for group in parsed.groups], bool))


def _agree_on_theory(file: SourceFile, use: Reader, card: Card) -> None:
    conflicts = card.theory.conflicts(read_theory(file, use=use))
    if conflicts:
        raise SourceError(
            f"theory differs from the card of {card.dataset}: {'; '.join(conflicts)}",
            where=file.name,
            hint="mend the card, or leave the file out",
        )
