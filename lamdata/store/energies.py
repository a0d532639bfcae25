"""Energies of a dataset <-> small objects of its store, named by their hash, which never change; a commit holds the names.

They may be of millions of compositions, and only who fits reference energies again wants them: so neither a commit grows by them, nor
the time to open a store. Stores that were written before kept them inside the commit, by composition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..energies import Energies
from ..places import Place
from ..statistics import Moments, parse_formula
from .named import ENERGIES, object_of, read_named


def write_energies(place: Place, sides: Mapping[str, Energies]) -> dict[str, str]:
    """Write those of each split; return split -> the name that a commit then holds. Writing the same again makes it young again."""
    objects = {side: object_of(ENERGIES, energies.to_json()) for side, energies in sides.items()}
    for path, data in objects.values():
        place.write(path, data)
    return {side: path for side, (path, _) in objects.items()}


def energies_in(place: Place, meta: Mapping[str, Any], side: str) -> Energies:
    """Those of one split: read by name, or as they stand in a view, or by composition as older stores have them."""
    statistics = meta["statistics"][side]
    if "energies" in statistics:
        cells = [(parse_formula(formula), Moments.from_json(said)) for formula, said in sorted(statistics["energies"].items())]
        return Energies.of(cells, elements=statistics["element_atoms"])
    said = meta["energies"][side]
    return Energies.from_json(read_named(place, said) if isinstance(said, str) else said)
