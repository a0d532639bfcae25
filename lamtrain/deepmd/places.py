"""Our name of a parameter of a descriptor -> the reference's, where a table of places says it."""

from __future__ import annotations

from collections.abc import Mapping

from lamdata.errors import DataError

LEAVES = {"weight": "matrix", "bias": "bias", "dt": "idt"}


def name_by_place(ours: str, places: Mapping[str, str]) -> str:
    """`PLACE.[index.]leaf` -> the reference's place, index and leaf; raises DataError for a parameter without a place."""
    place = next((place for place in places if ours.startswith(f"{place}.")), None)
    if place is None:
        raise DataError(f"parameter `descriptor.{ours}` has no counterpart in DeePMD-kit")
    *index, leaf = ours.removeprefix(f"{place}.").split(".")
    return ".".join([places[place], *index, LEAVES[leaf]])
