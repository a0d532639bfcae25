"""Arrays: a view of a dataset -> one of its arrays at a time, nothing else read; and all of them as a lazy `xarray.Dataset`.

The frames are those of the view, and their atoms lie one frame after the other (contiguous ragged, CF conventions 9.3.3).
What a frame lacks is NaN. F = frames, A = all their atoms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .layout import COLUMNS, SPLITS, TEXTS, ArrayPlan, Column
from .segment import Segment
from .selection import Filter
from .views import NamedView

if TYPE_CHECKING:
    import xarray

I64 = NDArray[np.int64]
LABELS = {"energy": "has_energy", "forces": "has_forces", "virial": "has_virial"}
HIDDEN = ("atom_start",)  # which counts the padding of the store
FLAGS = {
    "split": {"flag_values": list(range(len(SPLITS))), "flag_meanings": " ".join(SPLITS)},
    **{flag: {"flag_values": [0, 1], "flag_meanings": "absent present"} for flag in LABELS.values()},
}
UNKNOWN = {"multiplicity": 0}  # what stands in the store for "not known"


class View(Protocol):
    """What arrays are read from: a dataset, or some frames of it."""

    name: str
    meta: Mapping[str, Any]
    filter: Filter
    view: NamedView | None
    segments: list[Segment]

    def __len__(self) -> int: ...

    @property
    def content_hash(self) -> str: ...

    @property
    def elements(self) -> list[str]: ...

    @property
    def natoms(self) -> NDArray[np.int32]: ...

    @property
    def rows(self) -> I64: ...

    @property
    def block_counts(self) -> I64: ...

    def locate_block(self, b: int) -> tuple[Segment, int, slice | I64]: ...

    def blocks_of(self, start: int, stop: int) -> tuple[range, int, int]: ...


def frame_values(dataset: View, name: str, blocks: range) -> np.ndarray:
    """Read an array over frames, of the selected frames of some blocks of a view: (F, ...) as stored, texts as strings."""
    parts = [np.empty(0, _dtype(dataset, name)).reshape(0, *_trailing(COLUMNS[name]))]
    for segment, some in _by_segment(dataset, blocks):
        array, rows = segment.array(name), [rows for _, rows in some]
        for kept, values in zip(rows, _blocks(segment, array, [block for block, _ in some])):
            parts.append(_texts(values[kept]) if name in TEXTS else values[kept])
    return np.concatenate(parts)


def labels_of(dataset: View, block: int) -> tuple[list[str], list[str], NDArray[np.uint8]]:
    """Groups, origins and splits of the selected frames of one block of a view, read together."""
    segment, local, rows = dataset.locate_block(block)
    read, split = segment.read(("group", "origin", "split"), [local]), segment.array("split")
    groups, origins = (_texts(read[name][0][rows]).tolist() for name in ("group", "origin"))
    return groups, origins, read["split"][0][rows] if "split" in read else np.full(len(groups), split.constant, np.uint8)


def atom_values(dataset: View, name: str, blocks: range) -> np.ndarray:
    """Read an array over atoms, of the selected frames of some blocks of a view: (A, ...)."""
    parts = [np.empty(0, _dtype(dataset, name)).reshape(0, *_trailing(COLUMNS[name]))]
    for segment, some in _by_segment(dataset, blocks):
        numbers = [block for block, _ in some]
        counts = _blocks(segment, segment.array("natoms"), numbers)
        for (_, rows), natoms, values in zip(some, counts, _blocks(segment, segment.array(name), numbers)):
            wanted = np.zeros(len(natoms), bool)
            wanted[rows] = True
            parts.append(values[: natoms.sum()][np.repeat(wanted, natoms)])
    return np.concatenate(parts)


def _by_segment(dataset: View, blocks: range) -> Iterator[tuple[Segment, list[tuple[int, slice | I64]]]]:
    """Blocks of a view -> each segment with its blocks and their selected rows."""
    for segment, some in groupby(map(dataset.locate_block, blocks), key=lambda place: place[0]):
        yield segment, [(block, rows) for _, block, rows in some]


def _blocks(segment: Segment, array: ArrayPlan, blocks: list[int]) -> Iterator[np.ndarray]:
    """The values of one array, block after block."""
    if array.constant is not None:
        yield from (_constant(segment, array, block) for block in blocks)
        return
    for values in segment.read((array.column.name,), blocks)[array.column.name]:
        yield values if array.lattice is None else array.lattice.from_stored(values)


def _constant(segment: Segment, array: ArrayPlan, block: int) -> np.ndarray:
    """One value throughout; of `natoms`, none behind the last frame."""
    values = np.full(array.block_shape, array.constant, array.dtype)
    if array.column.name == "natoms":
        values[max(0, segment.plan.frames - block * segment.plan.block_frames) :] = 0
    return values


def _texts(values: NDArray[np.uint8]) -> NDArray[np.str_]:
    """(F, width) UTF-8 padded with zeros -> (F,) strings."""
    return np.char.decode(np.ascontiguousarray(values).view(f"S{values.shape[1]}").reshape(-1), "utf-8")


def _dtype(dataset: View, name: str) -> np.dtype[Any]:
    """Of an array in all segments of a dataset."""
    if name in TEXTS:
        return np.dtype(f"U{max(segment.plan.text_widths.get(name, 1) for segment in dataset.segments)}")
    return max(segment.array(name).dtype for segment in dataset.segments)


def _trailing(column: Column) -> tuple[int, ...]:
    return () if column.name in TEXTS else column.trailing


class Arrays:
    """The arrays of a view by ranges of frames or atoms, what is absent NaN."""

    def __init__(self, dataset: View):
        self.dataset = dataset

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(F + 1,) where each frame's atoms start, and the end."""
        return np.concatenate([[0], np.cumsum(self.dataset.natoms, dtype=np.int64)])

    def shape(self, name: str) -> tuple[int, ...]:
        """Of the whole array."""
        column = COLUMNS[name]
        return len(self.dataset) if column.axis == "frame" else int(self.starts[-1]), *_trailing(column)

    def dtype(self, name: str) -> np.dtype[Any]:
        """Of its values here: a number that may be absent is a float."""
        return np.dtype(np.float32) if name in UNKNOWN else _dtype(self.dataset, name)

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows `start:stop` of one array."""
        if start >= stop:
            return np.empty((0, *self.shape(name)[1:]), self.dtype(name))
        if COLUMNS[name].axis == "frame":
            return self._of_frames(name, start, stop)
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        last = int(np.searchsorted(self.starts, stop, side="left"))
        blocks, begin, _ = self.dataset.blocks_of(first, last)
        values, skip = atom_values(self.dataset, name, blocks), start - int(self.starts[begin])
        values = values[skip : skip + stop - start]
        if name in LABELS:
            natoms = self.dataset.natoms[first:last].copy()
            natoms[-1] -= self.starts[last] - stop
            natoms[0] -= start - self.starts[first]
            values[~np.repeat(self._of_frames(LABELS[name], first, last), natoms)] = np.nan
        return values

    def _of_frames(self, name: str, start: int, stop: int) -> np.ndarray:
        blocks, begin, _ = self.dataset.blocks_of(start, stop)
        values = frame_values(self.dataset, name, blocks)[start - begin : stop - begin].astype(self.dtype(name))
        if name in LABELS:
            values[~self._of_frames(LABELS[name], start, stop)] = np.nan
        elif name == "cell":
            values[~values.any(axis=(1, 2))] = np.nan
        elif name in UNKNOWN:
            values[values == UNKNOWN[name]] = np.nan
        return values


def to_xarray(dataset: View) -> xarray.Dataset:
    """Return the frames of a view, read when they are looked at: named dimensions, units, long names; what is absent is NaN."""
    import xarray

    arrays, rows = Arrays(dataset), dataset.rows
    there = {name for segment in dataset.segments for name in (*segment.plan.arrays, "weight")}
    variables = {name: _variable(arrays, name) for name in COLUMNS if name in there and name not in HIDDEN}
    attributes = {"Conventions": "CF-1.11", "dataset": dataset.name, "content_hash": dataset.content_hash}
    attributes |= {f"filter_{key}": str(value) for key, value in dataset.filter.to_json().items() if value is not None}
    coordinates = {"frame": ("frame", rows, {"long_name": "row in the whole dataset"})}
    return xarray.Dataset(variables, coords=coordinates, attrs=attributes)


def _variable(arrays: Arrays, name: str) -> xarray.Variable:
    import xarray
    from xarray.core import indexing

    column = COLUMNS[name]
    attributes: dict[str, Any] = {"long_name": column.long_name, **FLAGS.get(name, {})}
    encoding: dict[str, Any] = {}
    if column.units:
        attributes["units"] = column.units
    if name == "natoms":
        attributes["sample_dimension"] = "atom"
    if name in LABELS:
        attributes["ancillary_variables"] = LABELS[name]
    if name == "cell":
        attributes["long_name"] = "lattice vectors as rows"
    if name in LABELS or name == "cell":
        encoding["_FillValue"] = np.nan
    if name in UNKNOWN:
        attributes["long_name"] = "spin multiplicity 2S + 1"
        encoding |= {"_FillValue": UNKNOWN[name], "dtype": COLUMNS[name].dtype}
    dimensions = [column.axis, *(() if name in TEXTS else column.dimensions)]
    return xarray.Variable(dimensions, indexing.LazilyIndexedArray(_lazy(arrays, name)), attributes, encoding)


def _lazy(arrays: Arrays, name: str) -> Any:
    """An array that xarray reads when it is looked at."""
    from xarray.backends import BackendArray
    from xarray.core import indexing

    class Lazy(BackendArray):
        shape = arrays.shape(name)
        dtype = arrays.dtype(name)

        def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
            return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

        def _read(self, key: tuple[int | slice, ...]) -> Any:
            first, *others = key
            if not isinstance(first, slice):
                return arrays.read(name, int(first), int(first) + 1)[(0, *others)]
            wanted = range(*first.indices(self.shape[0]))
            if not wanted:
                return arrays.read(name, 0, 0)[(slice(None), *others)]
            low, high = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1]) + 1
            return arrays.read(name, low, high)[:: wanted.step if wanted.step > 0 else -1][:: max(1, -wanted.step)][(slice(None), *others)]

    return Lazy()
