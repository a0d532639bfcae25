"""DeePMD-kit data -> frames: npy (also mixed type), raw and hdf5 systems.

A system is a folder with `type.raw`, `type_map.raw` and sets `set.*/{coord,box,energy,force,virial}.npy`; an empty file `nopbc`
says that it is not periodic. Units are eV, Å, eV/Å; the virial is in eV, positive when compressed
(https://docs.deepmodeling.com/projects/deepmd/en/stable/data/system.html). The source file of npy is a set's `coord.npy`, so that sets are
read in parallel. Other files of a set (spin, properties, atomic energies, fparam, aparam) are not read, and each frame says so.
"""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import MAX_ATOMS, Frame, Rejection
from lamdata.frames import Parsed

from ..build import Unusable, number_of
from ..bytes.endings import may_be_cut
from ..bytes.files import SourceFile, Span, even_spans
from ..bytes.npy_rows import MAX_ROW, NpyRows
from ..bytes.say import say
from .deepmd_sets import LABELS, Numbers, System, frames_of, unread_labels

MAX_TYPES = 8 << 20  # bytes of type.raw and type_map.raw
MAX_NAMES = 1000
MAX_HEAD = 8000  # bytes; the last word of so long a head may be cut
NUMBER = re.compile(rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][-+]?\d+)?")


class NpyReader:
    """`set.*/coord.npy` with its neighbours, uniform or mixed type.

    Option `type_map`: element symbols by type, as "O H", where the system has no `type_map.raw`.
    """

    name = "deepmd/npy"
    options = {"type_map": ()}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Parsed | Rejection]:
        """Yield the frames of one set."""
        system = replace(folder_system(file, spec, up="../"), left_out=unread_labels(self._stems(file), ending=".npy"))
        found = {label: file if label == "coord" else file.sibling(f"{label}.npy") for label in LABELS}
        yield from frames_of(system, {label: NpyRows(f) for label, f in found.items() if f is not None}, file)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def spans(self, file: SourceFile, size: int) -> list[Span]:
        """Spans of as many frames as have `size` bytes of coordinates; all labels must be plain files."""
        if not all(found.is_plain for label in LABELS if (found := file.sibling(f"{label}.npy")) is not None):
            return []
        coordinates = NpyRows(file)
        coordinates.close()
        return even_spans(file, size, count=coordinates.count)

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """`set.*/coord.npy`."""
        return file.basename == "coord.npy" and head.startswith(b"\x93NUMPY")

    def ignored(self, file: SourceFile) -> list[str]:
        """Names of label files beside this one that are not read."""
        return [f"{stem}.npy" for stem in sorted(set(self._stems(file)) - set(LABELS))]

    def _stems(self, file: SourceFile) -> list[str]:
        return [found.basename.removesuffix(".npy") for found in file.siblings("*.npy")]


class RawReader:
    """`coord.raw` with its neighbours: text, one frame a line. Option `type_map` as for `deepmd/npy`."""

    name = "deepmd/raw"
    options = {"type_map": ()}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Parsed | Rejection]:
        """Yield the frames of the system."""
        stems = [found.basename.removesuffix(".raw") for found in file.siblings("*.raw")]
        system = replace(folder_system(file, spec, up=""), left_out=unread_labels(stems, ending=".raw"))
        found = {label: file if label == "coord" else file.sibling(f"{label}.raw") for label in LABELS}
        yield from frames_of(system, {label: _TextRows(f) for label, f in found.items() if f is not None}, file)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """`coord.raw` of rows of numbers, unless the system also has sets: then it is the same data as text."""
        words, ended = head.lstrip().split(b"\n")[0].split(), b"\n" in head.lstrip() or len(head) < MAX_HEAD
        numbers = words if ended else words[:-1]  # the last may be cut
        rows = bool(numbers) and all(NUMBER.fullmatch(word) for word in numbers) and not (ended and len(words) % 3)
        return file.basename == "coord.raw" and rows and not file.siblings("set.*/coord.npy")


class Hdf5Reader:
    """Systems in an HDF5 file, as dpdata writes them: any group with `type.raw` is one. Option `type_map` as for `deepmd/npy`."""

    name = "deepmd/hdf5"
    options = {"type_map": ()}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Parsed | Rejection]:
        """Yield the frames of all systems and sets, by name."""
        import h5py

        with file.local() as path:
            try:
                with h5py.File(path, "r") as root:
                    for group in _hdf5_systems(root):
                        yield from _hdf5_frames(group, file, spec)
            except SourceError:
                raise
            except (OSError, RuntimeError, KeyError, TypeError, ValueError, AttributeError, MemoryError) as err:
                raise SourceError(f"damaged HDF5 file: {say(err)}", where=file.name) from err

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """An HDF5 file in which some group has `type.raw`."""
        import h5py

        if not head.startswith(b"\x89HDF\r\n\x1a\n"):
            return False
        with file.local() as path, h5py.File(path, "r") as root:
            return "type.raw" in root or root.visit(lambda name: name.endswith("/type.raw") or None) is not None


def folder_system(file: SourceFile, spec: SourceSpec, *, up: str) -> System:
    """What `type.raw`, `type_map.raw` and `nopbc` in the folder `up` say."""
    types, names = file.sibling(f"{up}type.raw"), file.sibling(f"{up}type_map.raw")
    if types is None:
        raise SourceError("type.raw is missing from the system", where=file.name)
    return make_system(
        words(types),
        None if names is None else words(names),
        spec,
        periodic=file.sibling(f"{up}nopbc") is None,
        group=posixpath.dirname(file.folder) if up and posixpath.dirname(file.folder) else file.folder or file.basename,
        where=file.name,
    )


def words(file: SourceFile) -> list[str]:
    """The words of a small text file."""
    return file.bytes(MAX_TYPES).decode("utf-8", "replace").split()


def make_system(
    types: Sequence[str] | Numbers, names: list[str] | None, spec: SourceSpec, *, periodic: bool, group: str, where: str
) -> System:
    """Check types against names; the option `type_map` stands in for missing names."""
    named = str(spec.options["type_map"]).split() if "type_map" in spec.options else names
    if not named or len(named) > MAX_NAMES:
        raise SourceError(
            "no type_map.raw says which elements the types are", where=where, hint='say `options: {type_map: "O H"}` in the card'
        )
    try:
        numbers = types if isinstance(types, np.ndarray) else [int(word) for word in types]  # an array of words is as wide as its longest
        types = np.array(numbers, dtype=np.int64)
    except (ValueError, OverflowError):
        raise SourceError("type.raw is not a list of integers", where=where) from None
    if not 0 < len(types) <= MAX_ATOMS or types.min() < 0 or types.max() >= len(named):
        raise SourceError(
            f"{len(types)} atoms with types {types.min(initial=0)}..{types.max(initial=0)}, but {len(named)} names", where=where
        )
    if names and named != names:
        _refuse_other_names(types, named, names, where=where)
    return System(types=types, elements=np.array([_number(n) for n in named]), periodic=periodic, group=group)


def _refuse_other_names(types: Numbers, named: list[str], names: list[str], *, where: str) -> None:
    """Raise where the card calls a type that is used otherwise than the system does."""
    for kind in np.unique(types).tolist():
        stated = names[kind] if kind < len(names) else "nothing"
        if stated != named[kind]:
            raise SourceError(
                f"its type_map says {stated} of type {kind}, the card says {named[kind]}",
                where=where,
                hint="leave `options: {type_map}` out",
            )


def _number(name: str) -> int:
    """Atomic number, or 0 for a name that is no element: an error only where an atom uses it."""
    try:
        return number_of(name)
    except Unusable:
        return 0


class _TextRows:
    """Rows of a `.raw` file: text, one frame a line."""

    def __init__(self, file: SourceFile):
        self._file, self._at, self._source = file, 0, file.lines()
        self._lines: Generator[str] = (line for line in self._source if not line.isspace())
        self.count, self.width = 0, 0
        lines, before, last = file.lines(), "", ""
        for line in lines:
            if not line.isspace():
                self.width = self.width or len(line.split())
                self.count += 1
                before, last = last, line
        if last and lines.cut and may_be_cut(last.split()[-1], before.split()[-1:]):
            raise SourceError(
                f"ends without a line break: its last number, {last.split()[-1][:40]}, may be cut",
                where=file.name,
                hint="end the file with a line break if it is whole",
            )

    def skip(self, rows: int) -> None:
        """Pass over the next rows."""
        self._at += sum(1 for _ in itertools.islice(self._lines, rows))

    def take(self, rows: int) -> Numbers:
        """(rows, width) the next rows."""
        self._at += rows
        out = np.empty((rows, self.width))
        if self._source.take("n" * self.width, out, style="plain"):
            return out
        try:
            return np.loadtxt(itertools.islice(self._lines, rows), comments=None, ndmin=2)
        except ValueError as err:
            raise SourceError(say(err), where=f"{self._file.name}#{self._at - rows}") from None

    def close(self) -> None:
        """End the reading."""
        self._lines.close()


def _hdf5_systems(root: Any) -> list[Any]:
    """Groups that hold `type.raw`, by name; soft links are not followed."""
    import h5py

    found: list[Any] = [root] if "type.raw" in root else []
    root.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Group) and "type.raw" in item else None)
    if not found:
        raise SourceError("no group in it has type.raw: not a DeePMD file")
    return sorted(found, key=lambda group: group.name)


def _hdf5_frames(group: Any, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Parsed | Rejection]:
    names = [n.decode() if isinstance(n, bytes) else str(n) for n in group["type_map.raw"][()]] if "type_map.raw" in group else None
    if group["type.raw"].size > MAX_ATOMS:
        raise SourceError("type.raw has too many atoms", where=file.name)
    label = f"{file.name}{'' if group.name == '/' else group.name}"
    system = make_system(group["type.raw"][()].ravel(), names, spec, periodic=not _is_set(group, "nopbc"), group=label, where=label)
    for name in sorted((key for key in group if key.startswith("set.")), key=_by_number):
        stems = [key.removesuffix(".npy") for key in group[name] if key.endswith(".npy")]
        system = replace(system, left_out=unread_labels(stems, ending=".npy"))
        columns = {key: _Dataset(group[name][f"{key}.npy"], file) for key in LABELS if f"{key}.npy" in group[name]}
        yield from frames_of(system, columns, file, inside=f"{group.name.strip('/')}/{name}/".lstrip("/"))


def _is_set(group: Any, name: str) -> bool:
    """A flag of a group, which is there or is true."""
    return name in group and not (getattr(group[name], "shape", None) == () and group[name][()] in (False, 0))


def _by_number(name: str) -> tuple[int, str]:
    """set.2 comes before set.10."""
    number = name.removeprefix("set.")
    return (int(number) if number.isdigit() else 0), name


class _Dataset:
    """Rows of an HDF5 dataset of numbers."""

    def __init__(self, data: Any, file: SourceFile):
        self.count, self.width = (data.shape or (0,))[0], int(np.prod(data.shape[1:]))
        if data.dtype.kind not in "fiu" or self.width * data.dtype.itemsize > MAX_ROW:
            raise SourceError(f"an array of {data.dtype} with shape {data.shape}", where=file.name)
        self._data, self._at = data, 0

    def skip(self, rows: int) -> None:
        """Pass over the next rows."""
        self._at += rows

    def take(self, rows: int) -> Numbers:
        """(rows, width) the next rows."""
        self._at += rows
        values: Numbers = self._data[self._at - rows : self._at].reshape(rows, self.width)
        return values

    def close(self) -> None:
        """Nothing is open but the file."""
