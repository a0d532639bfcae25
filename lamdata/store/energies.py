"""Energies of a dataset <-> small objects of its store, named by their hash, which never change; a commit holds the names.

They may be of millions of compositions, and only who fits reference energies again wants them: so neither a commit grows by them, nor
the time to open a store. Stores that were written before kept them inside the commit, by composition.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from ..energies import Energies
from ..errors import StoreError
from ..places import Place
from ..statistics import Moments, parse_formula

FOLDER = "energies"
OBJECT = re.compile(rf"{FOLDER}/[0-9a-f]{{16}}\.json")  # a dataset may have this name too: its folder holds folders


def object_of(energies: Energies) -> tuple[str, bytes]:
    """Path below the store, and content."""
    data = json.dumps(energies.to_json(), separators=(",", ":")).encode()
    return path_of(data), data


def path_of(data: bytes) -> str:
    """The name that content has."""
    return f"{FOLDER}/{hashlib.sha256(data).hexdigest()[:16]}.json"


def write_energies(place: Place, sides: Mapping[str, Energies]) -> dict[str, str]:
    """Write those of each split; return split -> the name that a commit then holds. Writing the same again makes it young again."""
    objects = {side: object_of(energies) for side, energies in sides.items()}
    for path, data in objects.values():
        place.write(path, data)
    return {side: path for side, (path, _) in objects.items()}


def named_energies(meta: Mapping[str, Any]) -> list[str]:
    """Paths of the objects that the `meta` of a dataset names."""
    return sorted({said for said in meta.get("energies", {}).values() if isinstance(said, str)})


def energies_in(place: Place, meta: Mapping[str, Any], side: str) -> Energies:
    """Those of one split: read by name, or as they stand in a view, or by composition as older stores have them."""
    statistics = meta["statistics"][side]
    if "energies" in statistics:
        cells = [(parse_formula(formula), Moments.from_json(said)) for formula, said in sorted(statistics["energies"].items())]
        return Energies.of(cells, elements=statistics["element_atoms"])
    said = meta["energies"][side]
    return _read(place, said) if isinstance(said, str) else Energies.from_json(said)


def _read(place: Place, path: str) -> Energies:
    where, hint = f"{place.url}/{path}", f"run `lamdata validate {place.url}`"
    try:
        data = place.read(path)
        if path_of(data) == path:
            return Energies.from_json(json.loads(data))
    except FileNotFoundError:
        raise StoreError("the energies of a dataset are missing", where=where, hint=hint) from None
    except (ValueError, KeyError, TypeError):
        pass
    raise StoreError("the energies of a dataset are damaged", where=where, hint=hint)
