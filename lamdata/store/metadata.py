"""The `zarr.json` documents of a segment: what zarr-python and xarray need to open what `codec` wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .layout import ELEMENT_BYTES, SPLITS, ArrayPlan, SegmentPlan

_TYPES = {"|b1": "bool", "|u1": "uint8", "<i2": "int16", "<i4": "int32", "<i8": "int64", "<f4": "float32", "<f8": "float64"}
_SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")
_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
_CRC = {"name": "crc32c"}


def segment_documents(plan: SegmentPlan, attributes: Mapping[str, Any]) -> dict[str, bytes]:
    """Return path -> bytes of each `zarr.json` of the segment; the group's own holds a copy of all (consolidated)."""
    arrays = {name: array_document(plan, name) for name in plan.arrays}
    arrays |= {name: block_array_document(name, shape, dtype) for name, (shape, dtype) in block_arrays(plan.blocks).items()}
    consolidated = {"kind": "inline", "must_understand": False, "metadata": arrays}
    documents = {f"{name}/zarr.json": _json(document) for name, document in arrays.items()}
    documents["zarr.json"] = _json(group_document(attributes) | {"consolidated_metadata": consolidated})
    return documents


def group_document(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """A Zarr group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}


def array_document(plan: SegmentPlan, name: str) -> dict[str, Any]:
    """A sharded array over frames or atoms."""
    array = plan.array(name)
    length = plan.frames if array.column.axis == "frame" else plan.blocks * plan.atom_width
    shard_shape = [array.block_shape[0] * plan.shard_blocks, *array.block_shape[1:]]
    sharding = {
        "chunk_shape": list(array.block_shape),
        "codecs": _chunk_codecs(array),
        "index_codecs": [_BYTES, _CRC],
        "index_location": "start",
    }
    return _array(
        shape=[length, *array.block_shape[1:]],
        chunk_shape=shard_shape,
        dtype=array.dtype,
        fill=array.constant,
        codecs=[{"name": "sharding_indexed", "configuration": sharding}],
        attributes=_attributes(array),
        dimensions=[array.column.axis, *array.column.dimensions],
    )


def block_arrays(blocks: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of the statistics of blocks, by which a filter skips a block unread."""
    return {
        "block_elements": ((blocks, ELEMENT_BYTES), "|u1"),
        "block_natoms_min": ((blocks,), "<i4"),
        "block_natoms_max": ((blocks,), "<i4"),
        "block_splits": ((blocks, len(SPLITS)), "<i4"),
    }


_BLOCK_TEXTS = {
    "block_elements": ("element_byte", "elements present: bit Z (little-endian) is atomic number Z"),
    "block_natoms_min": (None, "atoms of the smallest frame of the block"),
    "block_natoms_max": (None, "atoms of the largest frame of the block"),
    "block_splits": ("split_number", "frames of the block in train, validation and test"),
}


def block_array_document(name: str, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
    """An array over blocks, in one chunk."""
    dimension, long_name = _BLOCK_TEXTS[name]
    return _array(
        shape=list(shape),
        chunk_shape=[max(1, length) for length in shape],
        dtype=np.dtype(dtype),
        fill=None,
        codecs=[_bytes(np.dtype(dtype)), _CRC],
        attributes={"long_name": long_name},
        dimensions=["block", *([dimension] if dimension else [])],
    )


def _array(
    *,
    shape: Sequence[int],
    chunk_shape: Sequence[int],
    dtype: np.dtype[Any],
    fill: float | int | bool | None,
    codecs: Sequence[Mapping[str, Any]],
    attributes: Mapping[str, Any],
    dimensions: Sequence[str],
) -> dict[str, Any]:
    zero = {"b": False, "f": 0.0}.get(dtype.kind, 0)
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": _TYPES[dtype.str],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk_shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": zero if fill is None else fill,
        "codecs": codecs,
        "attributes": attributes,
        "dimension_names": dimensions,
        "storage_transformers": [],
    }


def _attributes(array: ArrayPlan) -> dict[str, Any]:
    """Units and names after the CF conventions (https://cfconventions.org, sections 3.1, 3.2, 8.1 and 9.3.3)."""
    attributes: dict[str, object] = {"long_name": array.column.long_name}
    if array.column.units:
        attributes["units"] = array.column.units
    if array.column.name == "natoms":
        attributes["sample_dimension"] = "atom"
    if array.lattice is not None and array.lattice.factor != 1.0:
        attributes["scale_factor"] = array.lattice.factor  # the source printed another unit: its number x this is what `units` says
        attributes["source_units"] = array.lattice.unit
    return attributes


def _chunk_codecs(array: ArrayPlan) -> list[dict[str, Any]]:
    if array.blosc is None:
        return [_bytes(array.stored), _CRC]
    compressor, level, shuffle = array.blosc
    configuration = {"typesize": array.stored.itemsize, "cname": compressor, "clevel": level, "shuffle": _SHUFFLES[shuffle], "blocksize": 0}
    codecs = [_bytes(array.stored), {"name": "blosc", "configuration": configuration}, _CRC]
    if array.lattice is None:
        return codecs
    filters = [{"scale": array.lattice.scale, "offset": 0, "dtype": array.dtype.str, "astype": array.stored.str}]
    if array.lattice.shift:  # in a filter of its own: an offset after the division would round
        filters.append({"scale": 1, "offset": -array.lattice.shift, "dtype": array.stored.str, "astype": array.stored.str})
    return [*({"name": "numcodecs.fixedscaleoffset", "configuration": each} for each in filters), *codecs]


def _bytes(dtype: np.dtype) -> dict[str, Any]:
    return _BYTES if dtype.itemsize > 1 else {"name": "bytes"}


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode()
