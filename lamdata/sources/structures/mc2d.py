"""MC2D's `structures.json` -> two-dimensional structures (Materials Cloud Archive; the older version of the record).

An entry has `cell` [["a1", x, y, z], ...] and `atomic_positions` [[kind, x, y, z, symbol], ...] in Å; the third direction is vacuum. The
later record's `structure_2d.json` holds properties only: its coordinates are in CIF and XSF files named by UUID, which have their own
readers. No energies are given. The group is the structure's UUID.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lamdata.catalog import SourceSpec
from lamdata.frame import Frame, Rejection

from ..build import Unusable, build, number_of, rejects
from ..bytes.files import SourceFile
from ..bytes.json_items import records
from ..stated import check_formula, unread_labels


class Mc2dReader:
    """Entries of `structures.json`."""

    name = "mc2d"
    options: dict[str, tuple[str, ...]] = {}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the entries."""
        for i, (key, entry) in enumerate(records(file, under=())):
            yield _frame(entry, origin=f"{file.name}#{i}", group=f"{file.name}/{key}")

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """Field names of MC2D in JSON."""
        return head.lstrip()[:1] in (b"{", b"[") and any(
            w in head for w in (b"relaxed_2D_structure_uuid", b"be_df2", b"optimized_structure_uuid")
        )


@rejects("an MC2D entry")
def _frame(entry: Any, *, origin: str, group: str) -> Frame | Rejection:
    if "atomic_positions" not in entry or "cell" not in entry:
        raise Unusable("no coordinates: they are in the CIF or XSF file that is named by its UUID")
    sites = entry["atomic_positions"]
    if entry.get("number_of_atoms", len(sites)) != len(sites):
        raise Unusable("number_of_atoms differs from the positions", entry["number_of_atoms"])
    symbols = [site[-1] for site in sites]  # the first is the kind, which numbers magnetic sites: Co1, Co2
    numbers = [number_of(symbol) for symbol in symbols]
    check_formula(entry.get("formula"), numbers)  # of the cell without magnetism, which may be half of this one
    return build(
        origin=origin,
        group=str(entry.get("relaxed_2D_structure_uuid") or group),
        symbols=symbols,
        positions=[site[1:4] for site in sites],
        cell=[vector[-3:] for vector in entry["cell"]],
        pbc=(True, True, False),
        left_out=unread_labels(entry),
    )
