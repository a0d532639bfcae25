"""CIF -> structures, one a data block, through pymatgen.

Rejected with the reason: sites that are shared, partly empty or in a disorder group (some libraries read those as ordered), and
groups written as an element (NH3 is read as nihonium). There are no labels. The group is the file, so that the
polymorphs of one study stay together only if they share a file.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import Frame, Rejection

from ..build import build
from ..bytes.files import SourceFile
from ..bytes.say import say

MAX_BYTES = 64 << 20
BLOCK = re.compile(r"^data_\S*", re.MULTILINE | re.IGNORECASE)
LAST_ELEMENT = 103  # beyond lawrencium no crystal is known: a heavier "element" is a misread group
MAX_SITES = 20_000
SAME_SITE = 2e-3  # of a cell vector; pymatgen snaps 0.3333 to 1/3 and merges sites closer than 1e-4


class CifReader:
    """`*.cif`, and `*.mcif` without its magnetic moments."""

    name = "cif"
    options: dict[str, tuple] = {}
    open_units = False

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the structure of each data block that has atoms."""
        text = file.bytes(MAX_BYTES).decode("utf-8", "replace")
        starts = [found.start() for found in BLOCK.finditer(text)]
        if not starts:
            raise SourceError("no data_ block: not a CIF", where=file.name)
        for i, (start, end) in enumerate(zip(starts, [*starts[1:], len(text)])):
            block = text[start:end]
            if "_atom_site_" in block or len(starts) == 1:
                yield _frame(block, f"{file.name}#{i}", file.name)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """The ending, or a data block with a cell."""
        return file.basename.lower().endswith((".cif", ".mcif")) or head.lstrip().startswith(b"data_") and b"_cell_length_a" in head


def _frame(block: str, origin: str, group: str) -> Frame | Rejection:
    from pymatgen.io.cif import CifParser

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parser = CifParser.from_str(block, occupancy_tolerance=1.0)
            data = next(iter(parser.as_dict().values()))
            reason = _disorder(data)
            if reason:
                return Rejection(origin=origin, reason=reason)
            _fill_occupancies(parser)
            structures = parser.parse_structures(primitive=False, check_occu=True, on_error="raise")
    except Exception as err:  # pymatgen raises what its parts raise
        return Rejection(origin=origin, reason=f"not a CIF that pymatgen reads: {say(err)}")
    structure = structures[0]
    if not structure.is_ordered:
        site = next(site for site in structure if not site.is_ordered)
        return Rejection(origin=origin, reason="disorder: a site shared or partly empty", value=site.species_string)
    # a dummy species of pymatgen has a hash for its atomic number
    heavy = next((site.specie.symbol for site in structure if not 1 <= site.specie.Z <= LAST_ELEMENT), None)
    if heavy:
        return Rejection(origin=origin, reason="a group of atoms in place of an element", value=heavy)
    if _lost(data, structure.frac_coords):
        return Rejection(origin=origin, reason="pymatgen leaves out a site", value=_lost(data, structure.frac_coords))
    return build(
        origin=origin,
        group=group,
        numbers=[site.specie.Z for site in structure],
        positions=structure.cart_coords,
        cell=structure.lattice.matrix,
    )


def _disorder(data: dict[str, Any]) -> str | None:
    """Why a block's own fields say that it is not one ordered structure."""
    sites = data.get("_atom_site_fract_x", data.get("_atom_site_cartn_x", []))
    if len(sites) > MAX_SITES:
        return "too many sites"
    groups = {str(g).strip() for g in _column(data, "_atom_site_disorder_group")} - {".", "?", "", "0"}
    if groups:
        return f"disorder: disorder groups {', '.join(sorted(groups))[:40]}"
    for word in _column(data, "_atom_site_occupancy"):
        try:
            if abs(float(str(word).split("(")[0]) - 1.0) > 1e-3:
                return f"disorder: occupancy {str(word)[:20]}"
        except ValueError:
            continue  # "." and "?" mean full
    return None


def _fill_occupancies(parser: Any) -> None:
    """Say 1 where the file says "." or "?": pymatgen takes those for 0 and leaves the atom out."""
    for block in parser._cif.data.values():
        words = block.data.get("_atom_site_occupancy")
        if isinstance(words, list):
            words[:] = ["1" if str(word).strip() in (".", "?") else word for word in words]


def _lost(data: dict[str, Any], found: np.ndarray) -> str | None:
    """The label of a site of the file that is not among the fractional coordinates (A, 3) found; pymatgen skips what it cannot parse."""
    from pymatgen.io.cif import str2float

    columns = [_column(data, f"_atom_site_fract_{axis}") for axis in "xyz"]
    labels = _column(data, "_atom_site_label")
    for i, words in enumerate(zip(*columns)):
        offset = found - np.array([str2float(word) for word in words])
        if not (np.abs(offset - np.round(offset)).max(axis=1) < SAME_SITE).any():
            return str(labels[i]) if i < len(labels) else str(i)
    return None


def _column(data: dict[str, Any], name: str) -> list[Any]:
    value = data.get(name, [])
    return value if isinstance(value, list) else [value]
