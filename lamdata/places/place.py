"""Place: where a store lives; reads ranges, writes whole objects, creates each commit at most once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

Range = tuple[str, int, int]  # path below the place, first byte, end


@dataclass(frozen=True, slots=True)
class Object:
    """What a place says of an object without reading it."""

    path: str  # below the place
    size: int  # bytes
    modified: float  # s since 1970-01-01 UTC, by the place's own clock


class Place(Protocol):
    """A folder or a prefix of a bucket. Paths are relative and use `/`."""

    url: str
    request_bytes: int  # neighbouring chunks are asked for together up to this size

    def read(self, path: str) -> bytes:
        """The whole object; `FileNotFoundError` if there is none."""

    def read_ranges(self, ranges: Sequence[Range]) -> Iterable[memoryview]:
        """Exactly the bytes asked for, in the order of the ranges."""

    def write(self, path: str, data: bytes) -> None:
        """Put the whole object, or nothing, in place of what was there."""

    def create(self, path: str, data: bytes) -> bool:
        """As `write`, only if there is no such object; say whether it was created."""

    def list(self, path: str) -> list[str]:
        """Names directly below `path`, sorted; empty if there is no such folder."""

    def size(self, path: str) -> int | None:
        """Bytes of the object, or `None`."""

    def objects(self, path: str) -> Sequence[Object]:
        """All objects below `path`, sorted, or the one that it names; empty if there is none."""

    def remove(self, path: str) -> None:
        """Delete one object or folder; nothing if there is none."""

    def forget(self, path: str) -> None:
        """Drop what is kept nearer of an object that came out damaged."""
