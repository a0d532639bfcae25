"""HDF5 of ChemReporter, which InstaDeep's `mlip` reads: a group a system -> frames.

A group has `elements` (A,), `positions` and `forces` (A, 3), `pbc` (3,), perhaps `stress` (3, 3) with ASE's sign, and the attributes `energy`, `charge`,
`spin_multiplicity` and `subset`; what was computed beside is in `extras`. Energies, forces and stresses are those of ASE: eV, eV/Å, eV/Å^3; a card may state
others. Version 0.1.0 writes no cell: a periodic frame without one is refused, since without its cell its labels are not of what is read. Where there is a `cell`,
it is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.fields import KEYS as NAMED
from lamdata.frame import MAX_ATOMS, Frame, Rejection

from ..build import Unusable
from ..bytes.files import SourceFile, Span, even_spans
from ..bytes.say import say
from .ase_rows import find_labels, frame_of_row, name_of_group
from .extxyz import formula

MAGIC = b"\x89HDF\r\n\x1a\n"
MUST = ("elements", "positions", "forces")
ARRAYS = {"elements": "numbers", "positions": "positions", "forces": "forces", "pbc": "pbc", "cell": "cell", "stress": "stress"}
RESULTS = ("energy",)  # attributes that are a result of the calculation; others are key-value pairs
MAX_VALUES = 9 * MAX_ATOMS  # of one array
MAX_PAIRS = 1000
LOOKED_AT = 100  # groups, one of which must be a system


class ChemReporterReader:
    """ChemReporter's exports. Groups are what `keys: {group: ...}` names (`subset`, or an attribute of `extras`), else compositions."""

    name = "chemreporter/hdf5"
    options: dict[str, tuple[str, ...]] = {}
    open_units = ("energy", "force", "stress")
    open_keys = NAMED

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the systems by name."""
        import h5py

        with file.local() as path:
            try:
                with h5py.File(path, "r") as root:
                    names = sorted(_held(root))
                    if not any(map(_is_system, map(root.__getitem__, names[:LOOKED_AT]))):
                        raise SourceError("its groups are no systems with elements, positions and forces", where=file.name)
                    span = range(len(names)) if file.span is None else range(file.span.first, min(file.span.stop, len(names)))
                    for i in span:
                        yield _frame(root[names[i]], spec, file.name, origin=f"{file.name}#{i}")
            except SourceError:
                raise
            except (OSError, RuntimeError, KeyError, TypeError, ValueError, AttributeError, MemoryError) as err:
                raise SourceError(f"damaged HDF5 file: {say(err)}", where=file.name) from err

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def spans(self, file: SourceFile, size: int) -> list[Span]:
        """Spans of as many systems as fill `size` on average."""
        import h5py

        if not file.is_plain:
            return []
        with file.local() as path, h5py.File(path, "r") as root:
            return even_spans(file, size, count=len(_held(root)))

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """An HDF5 file whose first group has `elements`, `positions` and `forces`."""
        import h5py

        if not head.startswith(MAGIC):
            return False
        with file.local() as path, h5py.File(path, "r") as root:
            first = next(iter(root), None)
            return first is not None and first in _held(root, [first]) and _is_system(root[first])


def _held(group: Any, names: Iterable[str] | None = None) -> list[str]:
    """Of the names in a group those that lie in this file: a link may lead to any other."""
    import h5py

    return [name for name in (group if names is None else names) if isinstance(group.get(name, getlink=True), h5py.HardLink)]


def _is_system(item: Any) -> bool:
    import h5py

    return isinstance(item, h5py.Group) and len(_held(item, [name for name in MUST if name in item])) == len(MUST)


def _frame(group: Any, spec: SourceSpec, name: str, *, origin: str) -> Frame | Rejection:
    try:
        row = _row(group)
        if row.get("cell") is None and np.any(row.get("pbc", False)):
            raise Unusable("periodic, and its cell is not in the file", group.name.strip("/")[:80])
        found = find_labels(row, spec, where=origin)
    except Unusable as bad:
        return Rejection(origin=origin, reason=bad.reason, value=bad.value)
    part = name_of_group(found) or formula([str(number) for number in np.ravel(row["numbers"]).tolist()])
    return frame_of_row(row, found, spec, origin=origin, group=f"{name}/{part}")


def _row(group: Any) -> dict[str, Any]:
    """A system as ASE's rows are: results, and what else is said as key-value pairs."""
    import h5py

    if not _is_system(group):
        raise Unusable("no system with elements, positions and forces")
    row: dict[str, Any] = {name: group.attrs[name] for name in RESULTS if name in group.attrs}
    held = _held(group)
    row |= {ARRAYS[name]: _values(group[name]) for name in held if name in ARRAYS}
    pairs: dict[str, Any] = {}
    for place in ([group["extras"]] if "extras" in held and isinstance(group["extras"], h5py.Group) else []) + [group]:
        if len(place.attrs) < MAX_PAIRS:
            pairs |= {key: _plain(place.attrs[key]) for key in place.attrs if place is not group or key not in RESULTS}
            pairs |= {key: _values(place[key]) for key in _held(place) if key not in ARRAYS and isinstance(place[key], h5py.Dataset)}
    return row | {"key_value_pairs": pairs}


def _values(data: Any) -> Any:
    """An array of numbers that is neither too large nor of a kind that has to be run."""
    if data.dtype.kind not in "fiub" or data.size > MAX_VALUES or data.external or data.is_virtual:  # which would be read from another file
        raise Unusable("an array that holds no numbers", f"{data.name}: {data.dtype} {data.shape}"[:80])
    return data[()]


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value.item() if isinstance(value, np.generic) else value
