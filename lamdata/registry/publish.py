"""Publish: a draft -> a version of a registry. Killed at any instant, the same command ends with the same bytes.

First the card is created, which claims the version for this content and keeps the day; then come the files, in any order; last the entry
of the index. Another content under that name finds the claim or the entry, and is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..errors import ConfigError
from ..places import Place, open_place
from .draft import CARD, Draft, sizes
from .entry import Entry, commit, find_entry, refresh, refuse_other
from .files import copy, read_listed

DAY = re.compile(rb"^published: '?([0-9]{4}-[0-9]{2}-[0-9]{2})'?$", re.M)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a publication did."""

    registry: str
    entry: Entry
    bytes: int  # of all files
    written: int  # bytes, now
    new: bool

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        said = {"registry": self.registry, "address": self.entry.address, "new": self.new, "bytes": self.bytes, "written": self.written}
        return said | {"entry": self.entry.model_dump(mode="json")}

    def text(self) -> str:
        """As a line for a person."""
        what = f"{self.entry.address}: {self.entry.kind}, {self.bytes / 1e6:.3g} MB, licence {self.entry.license or 'unknown'}"
        state = "" if self.new else ", already there"
        return f"{what}{state}\nto use it: export LAM_REGISTRY={self.registry}; registry://{self.entry.address}"


def publish(draft: Draft, registry: str, *, quiet: bool = False) -> Published:
    """Put a draft into the registry of a URL; raises ConfigError where the version is there, or begun, with other content."""
    place, address = open_place(registry), draft.entry.address
    draft = draft.dated(_day_begun(place, address) or datetime.now(UTC).date().isoformat())
    entry, files = draft.whole()
    claim, expected = draft.claim(), sizes(files)
    total = sum(file.bytes for file in expected.values())
    if refuse_other(place, entry):
        refresh(place)  # a kill may have come before
        return Published(registry=registry, entry=entry, bytes=total, written=0, new=False)
    if not place.create(f"{address}/{CARD}", claim) and place.read(f"{address}/{CARD}") != claim:
        hint = f"choose another version, or remove {place.url}/{address}"
        raise ConfigError(f"{address} was begun with other content", where=place.url, hint=hint)

    def read(path: str) -> bytes:
        file = files[path]
        return file if isinstance(file, bytes) else read_listed(file)

    written = copy(expected, read, place, address, title=f"publishing {address}", quiet=quiet)
    commit(place, entry)
    return Published(registry=registry, entry=entry, bytes=total, written=written, new=True)


def _day_begun(place: Place, address: str) -> str | None:
    """The day of a publication that is there, or was begun and killed."""
    if (there := find_entry(place, address)) is not None:
        return there.published
    try:
        found = DAY.search(place.read(f"{address}/{CARD}"))
    except FileNotFoundError:
        return None
    return found[1].decode() if found else None
