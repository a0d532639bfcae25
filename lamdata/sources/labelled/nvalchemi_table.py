"""The arrays of an nvalchemi dataset, once they are known to fit together: one row an atom or a frame, of any range of frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError

from ..bytes.files import SourceFile
from ..bytes.say import say
from ..unit_names import TABLES
from .label_names import lacking, unread_labels

KEYS = {label: label for label in ("energy", "forces", "virial", "stress", "charge")}
OURS = {"multiplicity": "spin", "weight": "frame_weight", "group": "frame_group"}  # beside these, in what `lamdata export` wrote
PER_ATOM = ("positions", "atomic_numbers", "forces", "velocities", "momenta", "charges", "atomic_masses", "atom_categories", "node_attrs")
SHAPES = {
    "energy": (),
    "forces": (3,),
    "virial": (3, 3),
    "stress": (3, 3),
    "cell": (3, 3),
    "pbc": (3,),
    "positions": (3,),
    "atomic_numbers": (),
}
MAX_FRAMES = 200_000_000
OF_ATOMS = ("positions", "atomic_numbers", "forces")


class Table:
    """The arrays that a card asks for. Raises SourceError where they do not fit together."""

    def __init__(self, file: SourceFile, spec: SourceSpec):
        from ..bytes.zarr_group import ZarrGroup  # zarr-python, which takes long to import

        self.file, self.spec = file, spec
        group = ZarrGroup(file)
        self.ours = "lamdata" in group.attributes
        self.starts = _pointer(group, file)
        self.count = len(self.starts) - 1
        mask = group.array("meta/samples_mask")
        if mask is None or mask.shape != (self.count,) or group.attributes.get("num_samples") != self.count:
            found = f"num_samples is {group.attributes.get('num_samples')}, atoms_ptr has {self.count} frames"
            raise SourceError(f"does not fit together: {found}, as after an append that was cut short", where=file.name)
        self.alive = np.asarray(read_rows(mask, 0, self.count, file), bool)
        fields = group.attributes.get("fields", {})
        self.per_atom = {name for part in ("core", "custom") for name in group.names(part) if _level(fields, part, name) == "atom"}
        place = {name: f"{part}/{name}" for part in ("custom", "core") for name in group.names(part)}
        self.keys = {**KEYS, **(OURS if self.ours else {}), **spec.keys}
        self.arrays: dict[str, Any] = {}
        for label, name in {**self.keys, **{name: name for name in ("positions", "atomic_numbers", "cell", "pbc")}}.items():
            if name in place:
                self.arrays[label] = self._fitting(group.array(place[name]), label, name)
        for name in ("positions", "atomic_numbers"):
            if name not in self.arrays:
                raise SourceError(f"core/{name} is missing", where=file.name)
        if "cell" in self.arrays and "pbc" not in self.arrays and "pbc" not in spec.options:
            hint = "say `options: {pbc: periodic}` or `options: {pbc: free}`"
            raise SourceError("has cells, and does not say whether they are periodic", where=file.name, hint=hint)
        read = {label: name for label, name in self.keys.items() if label in self.arrays}
        silent = [KEYS[label] for label, name in spec.keys.items() if name == "" and label in KEYS]
        asked = tuple(lacking(label, key) for label, key in spec.keys.items() if key and label not in self.arrays)
        self.left_out = asked + unread_labels(sorted(place), read=read, silent=silent)
        self.unit = {q: TABLES[q][name] if (name := getattr(spec.units, q)) else 1.0 for q in TABLES}

    def _fitting(self, array: Any, label: str, name: str) -> Any:
        """An array with a row for each atom or frame. Raises SourceError."""
        rows = int(self.starts[-1]) if name in self.per_atom else self.count
        shape = SHAPES.get(label, ())
        fits = array is not None and array.shape[:1] == (rows,) and array.size == rows * int(np.prod(shape))
        if not fits or (name in self.per_atom) != (label in OF_ATOMS):
            found = "missing" if array is None else f"of shape {array.shape}"
            raise SourceError(f"{name} is {found}, expected {(rows, *shape)}", where=self.file.name)
        if label == "atomic_numbers" and np.dtype(array.dtype).kind not in "iu":
            raise SourceError(f"atomic_numbers are {array.dtype}, expected integers", where=self.file.name)
        return array

    def take(self, label: str, first: int, stop: int) -> NDArray[Any] | None:
        """Rows of frames `first:stop`; None where there is no such array."""
        if label not in self.arrays:
            return None
        atoms = label in OF_ATOMS
        a, b = (int(self.starts[first]), int(self.starts[stop])) if atoms else (first, stop)
        return read_rows(self.arrays[label], a, b, self.file).reshape(b - a, *SHAPES.get(label, ()))


def _pointer(group: Any, file: SourceFile) -> NDArray[np.int64]:
    array = group.array("meta/atoms_ptr")
    if array is None or array.ndim != 1 or not 0 < array.shape[0] <= MAX_FRAMES or np.dtype(array.dtype).kind not in "iu":
        raise SourceError("meta/atoms_ptr is missing, or no list of integers", where=file.name)
    starts = read_rows(array, 0, array.shape[0], file).astype(np.int64)
    if starts[0] != 0 or (np.diff(starts) < 0).any():
        raise SourceError("meta/atoms_ptr does not ascend from nought", where=file.name)
    return starts


def _level(fields: Any, part: str, name: str) -> str:
    """Over what an array lies, as the group says, or as the toolkit takes it where it is silent."""
    said = fields.get(part) if isinstance(fields, Mapping) else None
    if isinstance(said, Mapping) and name in said:
        return str(said[name])
    return "atom" if part == "core" and name in PER_ATOM else "system"


def read_rows(array: Any, first: int, stop: int, file: SourceFile) -> NDArray[Any]:
    """Rows of an array, decoded."""
    try:
        values: NDArray[Any] = np.asarray(array[first:stop])
    except (ValueError, TypeError, KeyError, OSError, RuntimeError, MemoryError, OverflowError) as err:  # of the codecs
        raise SourceError(f"damaged array {array.path}: {say(err)}", where=file.name) from err
    return values
