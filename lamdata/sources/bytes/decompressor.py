"""Decompressor: what gives decompressed bytes."""

from __future__ import annotations

from typing import Protocol


class Decompressor(Protocol):
    """What gives decompressed bytes."""

    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...
