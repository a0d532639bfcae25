"""Views: frames of a dataset that have a name <-> one small object of the store, which never changes.

A view holds which frames, a bit for each of the dataset, and the content that they were chosen from: where other frames have taken the
place of these, it does not open. What was asked for (a filter, a list) is kept for people; nothing is asked anew when it is opened.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..places import Place
from .commits import Index

FOLDER = "views"
OBJECT = re.compile(rf"{FOLDER}/[0-9a-f]{{16}}\.json")  # a dataset may have this name too: its folder holds folders


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedView:
    """Which frames of a dataset."""

    of: str  # the dataset
    content_hash: str  # of the whole dataset, as it was
    asked: Mapping[str, Any]  # plain JSON, for people
    kept: NDArray[np.bool_]  # (F,) of all frames of the dataset, in store order
    facts: Mapping[str, Any]  # `statistics`, `references` and `energies` of these frames, in the place of those of the dataset

    @property
    def digest(self) -> str:
        """sha256 of all that it is."""
        said = json.dumps([self.of, self.content_hash, dict(self.asked), dict(self.facts), len(self.kept)], sort_keys=True)
        return hashlib.sha256(said.encode() + np.packbits(self.kept).tobytes()).hexdigest()

    @property
    def path(self) -> str:
        """Where its object is, below the store."""
        return f"{FOLDER}/{self.digest[:16]}.json"

    def to_index(self) -> dict[str, Any]:
        """What a commit says of it."""
        frames = int(np.count_nonzero(self.kept))
        return {"of": self.of, "object": self.path, "frames": frames, "asked": dict(self.asked), "content_hash": self.content_hash}

    def to_bytes(self) -> bytes:
        """Its object."""
        bits = base64.b85encode(zlib.compress(np.packbits(self.kept).tobytes(), 9)).decode()
        said = {"of": self.of, "content_hash": self.content_hash, "asked": dict(self.asked), "facts": dict(self.facts)}
        return json.dumps(said | {"frames": len(self.kept), "kept": bits}, ensure_ascii=False).encode()

    @staticmethod
    def from_bytes(data: bytes) -> NamedView:
        """Back from `to_bytes`."""
        said = json.loads(data)
        bits = np.frombuffer(zlib.decompress(base64.b85decode(said["kept"])), np.uint8)
        kept = np.unpackbits(bits, count=said["frames"]).astype(bool)
        return NamedView(kept=kept, **{name: said[name] for name in ("of", "content_hash", "asked", "facts")})


def read_view(place: Place, name: str, entry: Mapping[str, Any]) -> NamedView:
    """The view that a commit names. Raises StoreError where its object is not what was written."""
    where = f"{place.url}/{entry['object']}"
    hint = f"`lamdata rm {place.url} {name}`, and `lamdata select` it again"
    try:
        found = NamedView.from_bytes(place.read(entry["object"]))
        intact = found.path == entry["object"]
    except FileNotFoundError:
        raise StoreError(f"the object of view `{name}` is missing", where=where, hint=hint) from None
    except (ValueError, KeyError, TypeError, zlib.error):
        intact = False
    if not intact:
        raise StoreError(f"the object of view `{name}` is damaged", where=where, hint=hint)
    return found


def stale(index: Index, entry: Mapping[str, Any]) -> str | None:
    """Why a view no longer opens; None where it does."""
    if entry["of"] not in index.datasets:
        return f"{entry['of']}, of which it is, is no longer here"
    try:
        content_hash = index.entry(entry["of"]).content_hash
    except StoreError as err:  # of its page
        return err.message
    if content_hash != entry["content_hash"]:
        return f"{entry['of']} was replaced after its frames were chosen"
    return None
