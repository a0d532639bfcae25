"""Pass 1 of an ingest: source files -> pieces of parsed and checked frames, any number of workers, each piece idempotent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..catalog import Card, SourceSpec
from ..checks import check
from ..errors import SourceError
from ..frame import Rejection
from ..sources import Reader, SourceFile, guess_format, read_all, read_theory, reader
from .staging import Piece, PieceWriter

FILES_PER_PART = 64
BYTES_PER_PART = 16 << 20  # a few seconds of work, so that workers end together


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


def parts_of(
    files: Sequence[tuple[SourceFile, SourceSpec]], *, card: Card, staging: Path, on_error: Literal["stop", "skip"]
) -> list[Part]:
    """Deal files out in order: a part is 64 files, or 16 MiB of them, whichever is less. The deal depends on nothing else."""
    parts: list[Part] = []
    size = BYTES_PER_PART
    for file, spec in files:
        if size >= BYTES_PER_PART or len(parts[-1].files) >= FILES_PER_PART:
            parts.append(Part(number=len(parts), card=card, staging=staging, on_error=on_error))
            size = 0
        parts[-1].files.append((file, spec))
        size += file.size
    return parts


def parse_part(part: Part) -> Piece:
    """Parse the files of one part, unless it has been done already."""
    if part.folder.is_dir():
        return Piece(part.folder)
    with PieceWriter(part.folder) as piece:
        for file, spec in part.files:
            try:
                _parse_file(file, spec, part.card, piece)
            except SourceError as err:
                if part.on_error == "stop":
                    raise
                piece.reject(Rejection(origin=f"{file.name}#", reason="unreadable", value=err.message))
    return Piece(part.folder)


def _parse_file(file: SourceFile, spec: SourceSpec, card: Card, piece: PieceWriter) -> None:
    use = reader(guess_format(file) if spec.format == "auto" else spec.format)
    _agree_on_theory(file, use, card)
    for item in read_all(file, spec, use=use):
        if isinstance(item, Rejection):
            piece.reject(item)
            continue
        rejection, shortest = check(item, card.checks)
        if rejection is not None:
            piece.reject(rejection)
        else:
            piece.add(item, shortest=shortest, validation=card.split.is_validation(item.group))


def _agree_on_theory(file: SourceFile, use: Reader, card: Card) -> None:
    conflicts = card.theory.conflicts(read_theory(file, use=use))
    if conflicts:
        raise SourceError(f"theory differs from the card of {card.dataset}: {'; '.join(conflicts)}", where=file.name, hint="mend the card, or leave the file out")
