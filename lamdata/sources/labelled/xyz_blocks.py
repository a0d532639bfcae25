"""An XYZ file -> its blocks: a count, a comment, and the lines of the atoms, which are taken as a table of numbers or word by word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from lamdata.errors import SourceError
from lamdata.frame import F64, MAX_ATOMS

from ..bytes.lines import Lines

MAX_FRAME = 512 << 20  # bytes
EVERY = MAX_ATOMS**2  # frames: all that there are
Words = list[list[bytes]]


@dataclass(frozen=True, slots=True)
class Block:
    """One frame as it is written, of which the lines of the atoms come next; each is to be taken, or left for the next block to pass over."""

    lines: Lines
    natoms: int
    line: bytes  # the comment
    where: str

    @property
    def comment(self) -> str:
        """The comment as text."""
        return self.line.decode("utf-8", "replace")

    def table(self, pattern: str) -> tuple[F64, NDArray[np.uint8]] | None:
        """Numbers (A, columns) and atomic numbers (A,), read as `take_rows` has it; None where a line is not plainly so."""
        width = pattern.count("n")
        out, numbers = np.empty((self.natoms, width)), np.empty(self.natoms, np.uint8)
        return (out, numbers) if self.lines.take(pattern, out, numbers=numbers, style="fortran") else None

    def skip(self) -> str:
        """The comment alone."""
        self.lines.skip(self.natoms)
        return self.comment

    def rows(self) -> Words:
        """The words of each line."""
        rows: Words = []
        size = 0
        for _ in range(self.natoms):
            row = self.lines.next_bytes()
            size += len(row)
            if not row or size > MAX_FRAME:
                raise SourceError(f"{self.natoms} atoms announced, {len(rows)} found" if not row else "a frame too large", where=self.where)
            rows.append(row.split())
        return rows


def next_block(lines: Lines, where: str) -> Block | None:
    """The next frame; None at the end."""
    line = count_line(lines)
    if not line:
        return None
    if not is_count(line):
        raise SourceError(f"expected a number of atoms, found {line[:40].decode(errors='replace').strip()!r}", where=where)
    return Block(lines, int(line), lines.next_bytes(), where)


def read_blocks(stream: BinaryIO, name: str, *, first: int = 0, stop: int = EVERY) -> Iterator[Block]:
    """The frames `first:stop`, of which the first comes next in the stream; the lines of each are to be taken before the next."""
    lines = Lines(stream, universal=False)
    for i in range(first, stop):
        if (block := next_block(lines, f"{name}#{i}")) is None:
            return
        yield block


def blocks(stream: BinaryIO, name: str, *, first: int = 0, stop: int = EVERY) -> Iterator[tuple[str, Words]]:
    """Yield (comment, split atom lines) of the frames `first:stop`."""
    for block in read_blocks(stream, name, first=first, stop=stop):
        yield block.comment, block.rows()


def count_line(lines: Lines) -> bytes:
    """The line with the number of atoms: blank and # lines between frames are passed over; empty at the end."""
    line = lines.next_bytes()
    while line and (not line.strip() or line.startswith(b"#")):
        line = lines.next_bytes()
    return line


def is_count(line: bytes) -> bool:
    """Whether a line is a number of atoms that can be believed."""
    return line.strip().isdigit() and len(line.strip()) <= 9 and int(line) <= MAX_ATOMS
