"""Draft: what is to be published, before it has a date -> every file of the version, the same bytes for the same date."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .croissant import croissant
from .entry import Entry, Listed
from .files import LIST, SUMS, Stored, check_path, listed, write_list, write_sums
from .page import version_page
from .readme import readme

CARD = "card.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A dataset or a model, and all that is said of it."""

    entry: Entry
    card: Mapping[str, Any]  # plain data: the whole card of the dataset, or what the model says of itself
    items: Mapping[str, bytes | Stored]  # path -> what is published, or where it lies

    def dated(self, day: str) -> Draft:
        """The same on a day, as 2026-01-31."""
        return Draft(entry=self.entry.model_copy(update={"published": day}), card=self.card, items=self.items)

    def claim(self) -> bytes:
        """`card.yaml`, the first file that is written: it says whose the version is, and on what day it was begun."""
        return to_yaml(self.entry.model_dump(mode="json") | {"card": dict(self.card)})

    def files(self) -> dict[str, bytes | Stored]:
        """Path -> file, of all but the list."""
        found: dict[str, bytes | Stored] = dict(self.items)
        found[CARD], found["README.md"] = self.claim(), readme(self.entry, self.card).encode()
        if self.entry.kind == "dataset":
            found["croissant.json"] = croissant(self.entry, self.card, sizes(found))
        found["index.html"] = version_page(self.entry.model_dump(), {path: file.bytes for path, file in sizes(found).items()}).encode()
        found[SUMS] = write_sums(sizes(found))
        for path in found:
            check_path(path, where=self.entry.address)
        return found

    def whole(self) -> tuple[Entry, dict[str, bytes | Stored]]:
        """The entry of the index, and all files, the list among them."""
        found = self.files()
        found[LIST] = data = write_list(sizes(found))
        return self.entry.model_copy(update={"listed": listed(data)}), found


def sizes(files: Mapping[str, bytes | Stored]) -> dict[str, Listed]:
    """Sizes and hashes; of what lies elsewhere those it should have."""
    return {path: listed(file) if isinstance(file, bytes) else file.listed for path, file in files.items()}


def to_yaml(values: Mapping[str, Any]) -> bytes:
    """Plain data as YAML, keys in their order."""
    from ruamel.yaml import YAML

    writer, text = YAML(), io.BytesIO()
    writer.width = 4096
    writer.dump(dict(values), text)
    return text.getvalue()
