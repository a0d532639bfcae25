"""Digests of raw files, which say how they were made: `blake3:HEX`, or HEX alone for sha256, as older stores have them.

BLAKE3 uses several cores and wide registers, where sha256 is one long chain. A dataset keeps the kind that its store has, so that doing an ingest again does nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import BinaryIO, Literal, Protocol

from blake3 import blake3

Kind = Literal["sha256", "blake3"]
BLOCK = 1 << 20  # bytes hashed at once


class Hash(Protocol):
    """What takes bytes and gives their digest."""

    def update(self, data: bytes, /) -> object: ...
    def hexdigest(self) -> str: ...


def kind_like(digests: Iterable[str]) -> Kind:
    """The kind of some digests; that of new ones where there is none."""
    return "blake3" if next(iter(digests), "blake3:").startswith("blake3:") else "sha256"


def digest_of(stream: BinaryIO, kind: Kind) -> str:
    """The digest of all that is left in a stream."""
    block = stream.read(BLOCK)
    found: Hash  # threads are worth their start for what is more than a block
    found = hashlib.sha256() if kind == "sha256" else blake3(max_threads=blake3.AUTO if len(block) == BLOCK else 1)
    while block:
        found.update(block)
        block = stream.read(BLOCK)
    return f"blake3:{found.hexdigest()}" if kind == "blake3" else found.hexdigest()
