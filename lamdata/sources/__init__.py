"""Readers: a foreign file in, frames (or the reason why there is none) out; one file for each family of formats."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any, Protocol, runtime_checkable

from ..catalog import SourceSpec
from ..errors import ConfigError
from ..frame import Frame, Rejection
from ..located import did_you_mean
from .files import SourceFile

ENTRY_POINTS = "lamdata.readers"


@runtime_checkable
class Reader(Protocol):
    """Reads one format. Any object with these names will do; third parties register it under the entry point above."""

    name: str  # as in a card: "qe/pw"

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield every frame of the file, in order, in eV and Å; a frame that must not be used comes as a `Rejection`.

        Raise `SourceError` when the file is not what it should be.
        """
        ...

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Return the fields of `Theory` that the file itself states; {} where it is silent."""
        ...

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """Say whether a file with this name and these first bytes looks like this format."""
        ...
