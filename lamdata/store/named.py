"""What a commit holds by name alone: small objects of the store, named by the hash of their bytes, which never change.

`energies/` are those of a split (`energies`), `sources/` the hash of each file that a dataset was made from, by name: of a hundred thousand files, which no commit
should hold eight times over and only who replaces or repairs wants. Stores that were written before kept both inside the commit.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from ..errors import StoreError
from ..places import Place

ENERGIES, SOURCES = FOLDERS = ("energies", "sources")
OBJECT = re.compile(rf"({'|'.join(FOLDERS)})/[0-9a-f]{{16}}\.json")  # a dataset may have such a name too: its folder holds folders


def object_of(folder: str, content: Any) -> tuple[str, bytes]:
    """Path below the store, and bytes, of plain JSON."""
    data = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    return path_of(folder, data), data


def path_of(folder: str, data: bytes) -> str:
    """The name that bytes have."""
    return f"{folder}/{hashlib.sha256(data).hexdigest()[:16]}.json"


def is_whole(path: str, data: bytes) -> bool:
    """Whether an object has the bytes that it was named by."""
    return path_of(path.partition("/")[0], data) == path


def named_objects(meta: Mapping[str, Any]) -> list[str]:
    """Paths of the objects that the `meta` of a dataset names."""
    said = [*meta.get(ENERGIES, {}).values(), meta.get(SOURCES)]
    return sorted({path for path in said if isinstance(path, str)})


def read_named(place: Place, path: str) -> Any:
    """The JSON of an object. Raises StoreError where it is missing or not what was written."""
    what, where, hint = path.partition("/")[0], f"{place.url}/{path}", f"run `lamdata validate {place.url}`"
    try:
        data = place.read(path)
        if is_whole(path, data):
            return json.loads(data)
    except FileNotFoundError:
        raise StoreError(f"the {what} of a dataset are missing", where=where, hint=hint) from None
    except ValueError:
        pass
    raise StoreError(f"the {what} of a dataset are damaged", where=where, hint=hint)


def write_sources(place: Place, hashes: Mapping[str, str]) -> str:
    """Write name -> hash of each file; return the name that a commit then holds."""
    path, data = object_of(SOURCES, dict(sorted(hashes.items())))
    place.write(path, data)
    return path


def sources_in(place: Place, meta: Mapping[str, Any]) -> Mapping[str, str]:
    """Name -> hash of each file that a dataset was made from."""
    said = meta.get(SOURCES, {})
    found: Mapping[str, str] = read_named(place, said) if isinstance(said, str) else said
    return found
