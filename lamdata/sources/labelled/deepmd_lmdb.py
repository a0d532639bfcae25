"""DeePMD LMDB -> frames: one msgpack record a frame, with numpy arrays as {"type", "shape", "data"} (dpdata's `deepmd/lmdb`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import Frame, Rejection

from ..build import build, rejects
from ..bytes.files import SourceFile
from ..bytes.lmdb_pages import LmdbFile
from ..bytes.say import say
from .deepmd import make_system
from .deepmd_sets import Numbers

METADATA = b"__metadata__"
READ = ("atom_types", "coords", "cells", "energies", "forces", "virials")


class LmdbReader:
    """`data.mdb` of a DeePMD LMDB. Option `type_map` as for `deepmd/npy`."""

    name = "deepmd/lmdb"
    options = {"type_map": ()}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the frames by key."""
        with file.local() as path, LmdbFile(path, where=file.name) as data:
            entries = {entry.key: entry for entry in data.entries()}
            if METADATA not in entries:
                raise SourceError("no record __metadata__: not a DeePMD LMDB", where=file.name)
            metadata = _unpack(data.value(entries.pop(METADATA)), file.name)
            names = metadata.get("type_map")
            if not isinstance(names, list):
                raise SourceError("its metadata has no type_map", where=file.name)
            frames = [entry for entry in entries.values() if entry.key.isdigit()]
            if metadata.get("nframes", len(frames)) != len(frames):
                raise SourceError(f"its metadata announces {metadata['nframes']} frames, found {len(frames)}", where=file.name)
            systems = metadata.get("frame_system_ids")
            for i, entry in enumerate(frames):
                origin = f"{file.name}#{i}"
                system = f"/{systems[i]}" if isinstance(systems, list) and len(systems) == len(frames) else ""
                yield _frame(_unpack(data.value(entry), origin), [str(n) for n in names], spec, file, system, origin=origin)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """An LMDB meta page; the record that tells DeePMD's from others is read."""
        return is_lmdb(head) and has_key(file, METADATA)


def is_lmdb(head: bytes) -> bool:
    """Say whether the first bytes are an LMDB meta page."""
    return head[16:20] == b"\xde\xc0\xef\xbe"


def has_key(file: SourceFile, key: bytes) -> bool:
    """Say whether a readable LMDB has the key."""
    try:
        with file.local() as path, LmdbFile(path, where=file.name) as data:
            return any(entry.key == key for entry in data.entries())
    except SourceError:
        return False


def _unpack(raw: bytes, where: str) -> dict[str, Any]:
    import msgpack

    try:
        value = msgpack.unpackb(raw, raw=False, strict_map_key=False)
    except Exception as err:  # msgpack has its own error classes, and raises ValueError, RecursionError and MemoryError too
        raise SourceError(f"not a msgpack record: {say(err)}", where=where) from None
    if not isinstance(value, dict):
        raise SourceError("not a msgpack map", where=where)
    return value


def _array(value: Any, where: str) -> Numbers | None:
    """The array in {"type": dtype, "shape": [...], "data": bytes}."""
    if not isinstance(value, dict):
        return None
    try:
        dtype = np.dtype(str(value["type"]))
        shape = tuple(int(n) for n in value["shape"])
        if dtype.kind not in "fiu" or min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != len(value["data"]):
            raise ValueError(f"{dtype} with shape {shape} in {len(value['data'])} bytes")
        return np.frombuffer(value["data"], dtype).reshape(shape)
    except (KeyError, TypeError, ValueError, OverflowError, SyntaxError) as err:
        raise SourceError(f"not an array: {say(err)}", where=where) from None


@rejects("a DeePMD frame")
def _frame(
    record: dict[str, Any], names: list[str], spec: SourceSpec, file: SourceFile, subsystem: str, *, origin: str
) -> Frame | Rejection:
    found = {key: _array(record.get(key), origin) for key in READ}
    types, positions, cells, energies = (found[key] for key in READ[:4])
    if types is None or positions is None:
        return Rejection(origin=origin, reason="no coords or atom_types")
    periodic = cells is not None and bool(cells.any()) and not record.get("nopbc")
    system = make_system(types.ravel(), names, spec, periodic=periodic, group=file.folder or file.basename, where=origin)
    left_out = tuple(f"{key}: {key} is not read" for key, value in sorted(record.items()) if isinstance(value, dict) and key not in READ)
    if found["virials"] is not None and not periodic:
        left_out = ("virial: the frame is not periodic", *left_out)
    counts = "".join(f"-{c}" for c in record["atom_numbs"]) if isinstance(record.get("atom_numbs"), list) and not subsystem else ""
    return build(
        origin=origin,
        group=system.group + subsystem + counts,  # dpdata merges systems of one composition; their frames may be one trajectory
        numbers=system.elements[system.types],
        positions=positions.reshape(-1, 3) if positions.size % 3 == 0 else positions,
        cell=cells if periodic else None,
        energy=None if energies is None else energies.ravel()[0] if energies.size == 1 else math.nan,
        forces=found["forces"],
        virial=found["virials"] if periodic else None,
        left_out=left_out,
    )
