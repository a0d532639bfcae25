"""Atompack databases (`.atp`) -> frames, by the `atompack-db` package.

Å is part of the format, as is the sign of a stress, which is ASE's; units of labels are not. Molecules are read one by one: where several are asked for at
once, the package fills what one of them lacks with zeros. Atoms of a cell are periodic where `pbc` says so; where it says nothing, the card must
(`options: {pbc: periodic}` or `free`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError, need
from lamdata.fields import KEYS as NAMED
from lamdata.frame import Frame, Rejection

from ..bytes.files import SourceFile, Span, even_spans
from ..bytes.say import say
from .ase_rows import find_labels, frame_of_row, name_of_group
from .extxyz import formula

MAGIC = b"ATPK"
LABELS = ("energy", "forces", "stress", "charges")
PERIODIC = {"periodic": (True, True, True), "free": (False, False, False)}


class AtompackReader:
    """Atompack. Groups are what `keys: {group: ...}` names, else compositions; custom properties are named as key-value pairs of ASE are."""

    name = "atompack"
    options = {"pbc": tuple(PERIODIC)}
    open_units = ("energy", "force", "stress")
    open_keys = NAMED

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the molecules in order."""
        with _opened(file) as database:
            count = len(database)
            for i in range(count) if file.span is None else range(file.span.first, min(file.span.stop, count)):
                origin = f"{file.name}#{i}"
                row = _row(database, i, origin)
                if row["pbc"] is None and row["cell"] is not None:
                    said = spec.options.get("pbc")
                    if said is None:
                        hint = "say `options: {pbc: periodic}` or `options: {pbc: free}`"
                        raise SourceError("has a cell, and does not say whether it is periodic", where=origin, hint=hint)
                    row["pbc"] = PERIODIC[str(said)]
                found = find_labels(row, spec, where=origin)
                group = name_of_group(found) or formula([str(n) for n in row["numbers"]])
                yield frame_of_row(row, found, spec, origin=origin, group=f"{file.name}/{group}")

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def spans(self, file: SourceFile, size: int) -> list[Span]:
        """Spans of as many molecules as fill `size` on average."""
        if not file.is_plain:
            return []
        with _opened(file) as database:
            return even_spans(file, size, count=len(database))

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """Its first four bytes."""
        return head.startswith(MAGIC)


@contextmanager
def _opened(file: SourceFile) -> Iterator[Any]:
    atompack = need("atompack", extra="atompack")
    with file.local() as path:
        try:
            database = atompack.Database.open(str(path))
        except (ValueError, OSError) as err:
            raise SourceError(f"damaged Atompack database: {say(err)}", where=file.name) from err
        yield database


def _row(database: Any, index: int, origin: str) -> dict[str, Any]:
    """A molecule as ASE's rows are: what it lacks is None, custom properties are key-value pairs."""
    try:
        molecule = database[index]
        row = {"numbers": np.array(molecule.atomic_numbers), "positions": np.array(molecule.positions, np.float64)}
        row |= {name: getattr(molecule, name) for name in ("cell", "pbc", *LABELS)}
        return row | {"key_value_pairs": {key: molecule.get_property(key) for key in molecule.property_keys()}}
    except (ValueError, OSError) as err:
        raise SourceError(f"damaged record: {say(err)}", where=origin) from err
