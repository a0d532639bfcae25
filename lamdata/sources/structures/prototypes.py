"""AFLOW prototypes as pymatgen ships them: one JSON list in, one structure an entry out, without labels.

Each entry holds a pymatgen `StructureNL` as a plain dictionary and the `tags` that name the prototype. The JSON is read as data:
no class that the file names is imported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import Frame, Rejection

from ..build import Unusable, build, rejects
from ..bytes.files import SourceFile

LIMIT = 64 << 20  # bytes; the shipped file unpacks to 1.3 MB


class AflowPrototypes:
    """pymatgen's `aflow_prototypes.json` (`aflow/prototypes`)."""

    name = "aflow/prototypes"
    options: dict[str, tuple[str, ...]] = {}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield one frame an entry; its group is the prototype's AFLOW label."""
        try:
            entries = json.loads(file.bytes(LIMIT))
        except (ValueError, RecursionError) as err:
            raise SourceError(f"not JSON ({err})", where=file.name) from None
        if not isinstance(entries, list):
            raise SourceError("expected a list of prototypes", where=file.name)
        for index, entry in enumerate(entries):
            yield _frame(entry, origin=f"{file.name}#{index}")

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing was computed."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """The two parts of an entry."""
        return head.lstrip()[:1] == b"[" and b'"snl"' in head and (b'"aflow"' in head or b'"tags"' in head)


@rejects("a prototype")
def _frame(entry: Any, *, origin: str) -> Frame | Rejection:
    structure, tags = entry["snl"], entry["tags"]
    return build(
        origin=origin,
        symbols=[_only(site["species"]) for site in structure["sites"]],
        positions=[site["xyz"] for site in structure["sites"]],
        cell=structure["lattice"]["matrix"],
        group=f"aflow/{tags['aflow']}",
    )


def _only(species: list[dict[str, Any]]) -> str:
    """The element of a site that one element fills."""
    if len(species) != 1 or species[0]["occu"] != 1:
        raise Unusable("disorder: a site shared or partly empty")
    return str(species[0]["element"])
