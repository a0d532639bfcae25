"""ASE databases (sqlite, JSON), ASE-LMDB and ASE trajectories -> frames.

Read as data: sqlite in read-only mode with its own tables, JSON and trajectories without building ASE's objects. The pickled
trajectories and databases of ASE before 2015 are refused.
"""

from __future__ import annotations

import math
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.fields import KEYS as NAMED
from lamdata.frame import Frame, Rejection

from ..bytes.files import SourceFile, Span, even_spans
from ..bytes.json_items import load, parse
from ..bytes.lmdb_pages import LmdbFile
from ..bytes.say import say
from ..bytes.ulm import UlmFile
from ..unit_names import TABLES
from .ase_rows import RESULTS, Found, find_labels, frame_of_row, name_of_group, plain_value
from .deepmd_lmdb import has_key, is_lmdb
from .extxyz import formula

ARRAYS = {"numbers": np.int32, "positions": np.float64, "cell": np.float64, "forces": np.float64, "stress": np.float64}
SCALARS = ("energy", "free_energy", "charge", "pbc", "unique_id", "key_value_pairs", "data", "constraints")
OTHERS = ("dipole", "magmoms", "magmom", "charges")  # labels that are not stored: whether a row has them is all that is asked
TABLE = "SELECT type FROM sqlite_master WHERE name = 'systems'"
STEPS = 5_000_000  # of the sqlite machine between two rows: a crafted schema could compute for ever
TRAJECTORY = b"ASE-Trajectory"  # its tag in the ULM format
MAX_ROW = 64 << 20  # bytes of one row, unpacked


class AseDbReader:
    """The sqlite database of `ase.db`. The group is the key-value pair that `keys: {group: ...}` names, else the material's id or the composition."""

    name = "ase/db"
    options: dict[str, tuple[str, ...]] = {}
    open_units = tuple(TABLES)
    open_keys = NAMED
    keeps_info = True

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the rows by id."""
        with file.local() as path, closing(open_readonly(path)) as database:
            try:
                yield from _frames(lambda one: _sqlite_rows(database, one), spec, file)
            except (sqlite3.Error, OverflowError) as err:
                raise SourceError(f"damaged sqlite database: {say(err)}", where=file.name) from err

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated: the calculator's name says neither version nor functional."""
        return {}

    def spans(self, file: SourceFile, size: int) -> list[Span]:
        """Spans of as many rows as fill `size` on average."""
        if not file.is_plain:
            return []
        with file.local() as path, closing(open_readonly(path)) as database:
            try:
                return even_spans(file, size, count=database.execute("SELECT count(*) FROM systems").fetchone()[0])
            except (sqlite3.Error, OverflowError) as err:
                raise SourceError(f"damaged sqlite database: {say(err)}", where=file.name) from err

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """An sqlite database with ASE's table."""
        if not head.startswith(b"SQLite format 3\0"):
            return False
        with file.local() as path, closing(open_readonly(path)) as database:
            return bool(database.execute(TABLE).fetchone() == ("table",))


class AseJsonReader:
    """The JSON database of `ase.db`: {"1": {...}, ..., "ids": [...], "nextid": n}."""

    name = "ase/json"
    options: dict[str, tuple[str, ...]] = {}
    open_units = tuple(TABLES)
    open_keys = NAMED
    keeps_info = True

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the rows by id."""
        yield from _frames(_json_rows, spec, file)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """An object that starts with a numbered row of numbers and positions."""
        start = re.match(rb'\s*\{\s*("\d+"\s*:\s*\{|"ids"\s*:\s*\[)', head)
        return start is not None and (b'"numbers"' in head or b'"nextid"' in head)


class AseLmdbReader:
    """`.aselmdb` of fairchem: one zlib-packed JSON row a key."""

    name = "ase/lmdb"
    options: dict[str, tuple[str, ...]] = {}
    open_units = tuple(TABLES)
    open_keys = NAMED
    keeps_info = True

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the rows by id."""
        with file.local() as path, LmdbFile(path, where=file.name) as data:
            yield from _frames(lambda one: _lmdb_rows(data, one), spec, file)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """An LMDB meta page and the key `nextid`."""
        return is_lmdb(head) and (file.basename.endswith(".aselmdb") or has_key(file, b"nextid"))


class AseTrajReader:
    """`.traj` in the ULM format (ase.io.ulm). All frames of a file are one group."""

    name = "ase/traj"
    options: dict[str, tuple[str, ...]] = {}
    open_units = tuple(TABLES)
    open_keys = NAMED
    keeps_info = True

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the steps; what the first says of atoms and cell holds for those that do not say it."""
        with file.local() as path, open(path, "rb") as stream:
            steps = UlmFile(stream, tag=TRAJECTORY, where=file.name)
            yield from _frames(lambda one: _steps(steps, one), spec, file, group=file.name)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def spans(self, file: SourceFile, size: int) -> list[Span]:
        """Spans of as many steps as fill `size` on average."""
        if not file.is_plain:
            return []
        with file.local() as path, open(path, "rb") as stream:
            return even_spans(file, size, count=len(UlmFile(stream, tag=TRAJECTORY, where=file.name)))

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """ULM's signature and the tag of a trajectory."""
        return head.startswith((b"- of UlmASE-Trajectory", b"AFFormatASE-Trajectory"))


def _frames(
    rows: Callable[[SourceFile], Iterator[tuple[int, dict[str, Any]]]], spec: SourceSpec, file: SourceFile, *, group: str | None = None
) -> Iterator[Frame | Rejection]:
    """Frames of (index, row)."""
    for i, row in rows(file):
        origin = f"{file.name}#{i}"
        found = find_labels(row, spec, where=origin)
        name = group if group is not None and not spec.keys.get("group") else _group(row, found, file)
        yield frame_of_row(row, found, spec, origin=origin, group=name)


def _group(row: dict[str, Any], found: Found, file: SourceFile) -> str:
    """The material that the row names, else its composition: the steps of one trajectory share it."""
    return f"{file.name}/{name_of_group(found) or formula([str(n) for n in np.ravel(plain_value(row.get('numbers')))])}"


def open_readonly(path: Path) -> sqlite3.Connection:
    """Open a database so that nothing in it can write, load or run for ever."""
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    database.execute("PRAGMA trusted_schema = OFF")
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_ROW)
    database.set_progress_handler(lambda: 1, STEPS)  # interrupts one statement step that takes as long as this
    return database


def _asked(file: SourceFile, count: int) -> range:
    """Indices of the frames of a file that are asked for."""
    return range(count) if file.span is None else range(file.span.first, min(file.span.stop, count))


def _sqlite_rows(database: sqlite3.Connection, file: SourceFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """(index, row) by id."""
    kind = database.execute(TABLE).fetchone()
    if kind != ("table",):
        raise SourceError("no table `systems`: not an ASE database", where=file.name)
    columns = {column[1] for column in database.execute("PRAGMA table_info(systems)")}
    wanted = [name for name in (*ARRAYS, *SCALARS) if name in columns]
    others = [name for name in OTHERS if name in columns]
    select = ", ".join([*wanted, *(f"CASE WHEN {name} IS NOT NULL THEN 1 END" for name in others)])
    if not {"numbers", "positions"} <= set(wanted):
        raise SourceError("table `systems` has no numbers or positions", where=file.name)
    ids = database.execute("SELECT id FROM systems ORDER BY id").fetchall()
    for i in _asked(file, len(ids)):
        (row_id,) = ids[i]
        values = database.execute(f"SELECT {select} FROM systems WHERE id = ?", (row_id,)).fetchone()
        yield i, _decoded(dict(zip([*wanted, *others], values)), f"{file.name}#{row_id}")


def _json_rows(file: SourceFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """(index, row) by id."""
    value = load(file)
    ids = value.get("ids") if isinstance(value, dict) else None
    if not isinstance(ids, list):
        raise SourceError("no list of ids: not an ASE JSON database", where=file.name)
    for i, key in enumerate(ids):
        row = value.get(str(key))
        if not isinstance(row, dict):
            raise SourceError(f"row {str(key)[:20]} is missing", where=f"{file.name}#{i}")
        yield i, row


def _lmdb_rows(data: LmdbFile, file: SourceFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """(index, row) by id."""
    for i, entry in enumerate(entry for entry in data.entries() if entry.key.isdigit()):
        where = f"{file.name}#{i}"
        row = parse(unzlib(data.value(entry), where=where), where=where)
        if not isinstance(row, dict):
            raise SourceError("not a row of an ASE-LMDB", where=where)
        yield i, row


def _decoded(row: dict[str, Any], where: str) -> dict[str, Any]:
    """Blobs as arrays (little-endian, as ase.db writes them on every machine), pbc as three flags."""
    for name, dtype in ARRAYS.items():
        if isinstance(row.get(name), bytes):
            try:
                row[name] = np.frombuffer(row[name], np.dtype(dtype).newbyteorder("<"))
            except ValueError:
                raise SourceError(f"{name} is cut short", where=where) from None
        elif row.get(name) is not None:
            raise SourceError(f"{name} is not a blob", where=where)
    if row.get("cell") is not None and row["cell"].size == 9:
        row["cell"] = row["cell"].reshape(3, 3)
    if isinstance(row.get("pbc"), int):
        row["pbc"] = [bool(row["pbc"] & bit) for bit in (1, 2, 4)]
    for name in ("key_value_pairs", "constraints"):
        if isinstance(row.get(name), (str, bytes)) and row[name]:
            row[name] = parse(row[name], where=where)
    if isinstance(row.get("data"), (str, bytes)):
        row["data"] = _data(row["data"], where=where)
    return row


def _data(value: str | bytes, *, where: str) -> Any:
    """`data` of a row: JSON, or as ase.db packs it, an offset, arrays, and at the offset JSON that says where each array is."""
    if isinstance(value, str) or value[:1] in (b"{", b"n"):
        return parse(value, where=where)
    offset = int.from_bytes(value[:8], "little")
    return _unpacked(parse(value[offset:], where=where), value) if 8 <= offset < len(value) else None


def _unpacked(item: Any, packed: bytes) -> Any:
    """{"__ndarray__": [shape, dtype, offset]} as arrays; one that is damaged or holds no numbers is left as it is."""
    if not isinstance(item, dict):
        return item
    if "__ndarray__" not in item:
        return {name: _unpacked(value, packed) for name, value in item.items()}
    try:
        shape, kind, offset = item["__ndarray__"]
        dtype = np.dtype(str(kind)).newbyteorder("<")
        if dtype.kind not in "fiub":
            return item
        return np.frombuffer(packed, dtype, count=math.prod(shape), offset=offset).reshape(shape)
    except (TypeError, ValueError, SyntaxError):
        return item


def unzlib(data: bytes, *, where: str) -> bytes:
    """Unpack zlib data of bounded size."""
    engine = zlib.decompressobj()
    try:
        out = engine.decompress(data, MAX_ROW)
    except zlib.error as err:
        raise SourceError(f"not packed with zlib: {err}", where=where) from None
    if engine.unconsumed_tail or not engine.eof:
        raise SourceError("a record that is truncated or unpacks too large", where=where)
    return out


def _steps(steps: UlmFile, file: SourceFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """(index, row) of what a step says, and of what the first step said for all of them."""
    first = steps.item(0) if len(steps) else {}
    for i in _asked(file, len(steps)):
        step = steps.item(i) if i else first
        row = {name: step.get(name, first.get(name)) for name in ("numbers", "positions", "cell", "pbc")}
        calculator = step.get("calculator")
        if isinstance(calculator, dict):
            row |= {name: calculator[name] for name in RESULTS if name in calculator}
        constraints = step.get("constraints", first.get("constraints"))
        row["constraints"] = parse(constraints, where=f"{file.name}#{i}") if isinstance(constraints, str) else constraints
        yield i, row | {"info": step.get("info")}
