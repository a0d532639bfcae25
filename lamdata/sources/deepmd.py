"""DeePMD-kit data -> frames: npy (also mixed type), raw and hdf5 systems.

A system is a folder with `type.raw`, `type_map.raw` and sets `set.*/{coord,box,energy,force,virial}.npy`; an empty file `nopbc`
says that it is not periodic. Units are eV, Å, eV/Å; the virial is in eV, positive when compressed
(https://docs.deepmodeling.com/projects/deepmd/en/stable/data/system.html). The source file of npy is a set's `coord.npy`, so that sets are
read in parallel. Other labels (spin, properties, atomic energies) are not read; `ignored` names them.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import SourceSpec
from ..errors import SourceError
from ..frame import Frame, Rejection
from .build import MAX_ATOMS, Unusable, build, number_of
from .files import SourceFile
from .npy_rows import npy_rows

LABELS = ("coord", "box", "energy", "force", "virial", "real_atom_types")
Rows = Mapping[str, tuple[int, Iterator[np.ndarray]]]  # label -> (number of frames, one flat row a frame)


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What all frames of a DeePMD system share."""

    types: np.ndarray  # (A,) index into `elements`
    elements: np.ndarray  # (T,) atomic number of each type, 0 where the name is no element
    periodic: bool
    group: str


class NpyReader:
    """`set.*/coord.npy` with its neighbours, uniform or mixed type.

    Option `type_map`: element symbols by type, as "O H", where the system has no `type_map.raw`.
    """

    name = "deepmd/npy"
    options = {"type_map": ()}
    open_units = False

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the frames of one set."""
        system = folder_system(file, spec, up="../")
        found = {label: file if label == "coord" else file.sibling(f"{label}.npy") for label in LABELS}
        yield from frames_of(system, {label: npy_rows(f) for label, f in found.items() if f is not None}, file)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """`set.*/coord.npy`."""
        return file.basename == "coord.npy" and head.startswith(b"\x93NUMPY")

    def ignored(self, file: SourceFile) -> list[str]:
        """Names of label files beside this one that are not read."""
        names = [found.basename for found in file.siblings("*.npy")]
        return [name for name in names if name.removesuffix(".npy") not in LABELS]


class RawReader:
    """`coord.raw` with its neighbours: text, one frame a line. Option `type_map` as for `deepmd/npy`."""

    name = "deepmd/raw"
    options = {"type_map": ()}
    open_units = False

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the frames of the system."""
        system = folder_system(file, spec, up="")
        found = {label: file if label == "coord" else file.sibling(f"{label}.raw") for label in LABELS}
        rows = {label: (-1, _text_rows(f)) for label, f in found.items() if f is not None}
        yield from frames_of(system, rows, file)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """`coord.raw`, unless the system also has sets: then it is the same data as text."""
        return file.basename == "coord.raw" and not file.siblings("set.*/coord.npy")


class Hdf5Reader:
    """Systems in an HDF5 file, as dpdata writes them: any group with `type.raw` is one. Option `type_map` as for `deepmd/npy`."""

    name = "deepmd/hdf5"
    options = {"type_map": ()}
    open_units = False

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the frames of all systems and sets, by name."""
        import h5py

        with file.local() as path:
            try:
                with h5py.File(path, "r") as root:
                    for group in _hdf5_systems(root):
                        yield from _hdf5_frames(group, file, spec)
            except (OSError, RuntimeError, KeyError, TypeError, ValueError, AttributeError, MemoryError) as err:
                if isinstance(err, SourceError):
                    raise
                raise SourceError(f"damaged HDF5 file: {str(err)[:120]}", where=file.name) from err

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """An HDF5 signature and a name that is not one of other codes' (vaspout.h5)."""
        return head.startswith(b"\x89HDF\r\n\x1a\n") and file.basename.endswith((".hdf5", ".h5")) and "vaspout" not in file.basename


def folder_system(file: SourceFile, spec: SourceSpec, *, up: str) -> System:
    """What `type.raw`, `type_map.raw` and `nopbc` in the folder `up` say."""
    types, names = file.sibling(f"{up}type.raw"), file.sibling(f"{up}type_map.raw")
    if types is None:
        raise SourceError("type.raw is missing from the system", where=file.name)
    return make_system(
        types.text().split(),
        None if names is None else names.text().split(),
        spec,
        periodic=file.sibling(f"{up}nopbc") is None,
        group=posixpath.dirname(file.folder) if up and posixpath.dirname(file.folder) else file.folder or file.basename,
        where=file.name,
    )


def make_system(types: Any, names: list[str] | None, spec: SourceSpec, *, periodic: bool, group: str, where: str) -> System:
    """Check types against names; the option `type_map` stands in for missing names."""
    named = str(spec.options["type_map"]).split() if "type_map" in spec.options else names
    if not named:
        raise SourceError(
            "no type_map.raw says which elements the types are", where=where, hint='say `options: {type_map: "O H"}` in the card'
        )
    try:
        types = np.asarray(types).astype(np.int64).ravel()
    except (ValueError, OverflowError):
        raise SourceError("type.raw is not a list of integers", where=where) from None
    if not 0 < len(types) <= MAX_ATOMS or types.min() < 0 or types.max() >= len(named):
        raise SourceError(
            f"{len(types)} atoms with types {types.min(initial=0)}..{types.max(initial=0)}, but {len(named)} names", where=where
        )
    return System(types=types, elements=np.array([_number(n) for n in named]), periodic=periodic, group=group)


def _number(name: str) -> int:
    """Atomic number, or 0 for a name that is no element: an error only where an atom uses it."""
    try:
        return number_of(name)
    except Unusable:
        return 0


def frames_of(system: System, rows: Rows, file: SourceFile, *, inside: str = "") -> Iterator[Frame | Rejection]:
    """Frames from row iterators over the labels of one set; the labels must have as many rows as `coord`."""
    if "coord" not in rows or (system.periodic and "box" not in rows):
        raise SourceError(f"{'box' if 'coord' in rows else 'coord'} is missing", where=file.name)
    counts = {label: count for label, (count, _) in rows.items()}
    if len(set(counts.values())) > 1:
        raise SourceError(f"frames differ in number: {', '.join(f'{k} {v}' for k, v in counts.items())}", where=file.name)
    ended = object()
    columns = [iter(r) for _, r in rows.values()]
    for i in range(MAX_ATOMS**2):
        row = dict(zip(rows, (next(column, ended) for column in columns)))
        if all(value is ended for value in row.values()):
            return
        if any(value is ended for value in row.values()):
            raise SourceError(f"{', '.join(k for k, v in row.items() if v is ended)} ends before coord", where=f"{file.name}#{inside}{i}")
        yield _frame(system, row, f"{file.name}#{inside}{i}")


def _frame(system: System, row: dict[str, Any], origin: str) -> Frame | Rejection:
    types = np.asarray(row.get("real_atom_types", system.types)).astype(np.int64).ravel()
    real = types >= 0  # mixed type pads short frames with atoms of type -1
    if len(types) != len(system.types) or (types >= len(system.elements)).any():
        return Rejection(origin=origin, reason="real_atom_types does not fit the system")
    labels = {"energy": row["energy"][0] if "energy" in row and len(row["energy"]) == 1 else None}
    if "energy" in row and labels["energy"] is None:
        return Rejection(origin=origin, reason="energy has more than one value", value=len(row["energy"]))
    for name, shape in (("coord", (-1, 3)), ("force", (-1, 3))):
        if name in row and len(row[name]) != 3 * len(types):
            return Rejection(origin=origin, reason=f"{name} has {len(row[name])} values, expected {3 * len(types)}")
        labels[name] = np.asarray(row[name]).reshape(shape)[real] if name in row else None
    return build(
        origin=origin,
        group=system.group,
        numbers=system.elements[types[real]],
        positions=labels["coord"],
        cell=row["box"] if system.periodic else None,
        energy=labels["energy"],
        forces=labels["force"],
        virial=row.get("virial") if system.periodic else None,
    )


def _text_rows(file: SourceFile) -> Iterator[np.ndarray]:
    for i, line in enumerate(file.lines()):
        try:
            values = np.array(line.split(), dtype=np.float64)
        except ValueError as err:
            raise SourceError(str(err)[:120], where=f"{file.name}:{i + 1}") from None
        if values.size:
            yield values


def _hdf5_systems(root: Any) -> list[Any]:
    """Groups that hold `type.raw`, by name; soft links are not followed."""
    import h5py

    found: list[Any] = [root] if "type.raw" in root else []
    root.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Group) and "type.raw" in item else None)
    if not found:
        raise OSError("no group in it has type.raw")
    return sorted(found, key=lambda group: group.name)


def _hdf5_frames(group: Any, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
    names = [n.decode() if isinstance(n, bytes) else str(n) for n in group["type_map.raw"][()]] if "type_map.raw" in group else None
    if group["type.raw"].size > MAX_ATOMS:
        raise SourceError("type.raw has too many atoms", where=file.name)
    label = f"{file.name}{'' if group.name == '/' else group.name}"
    system = make_system(group["type.raw"][()], names, spec, periodic="nopbc" not in group, group=label, where=label)
    for name in sorted(key for key in group if key.startswith("set.")):
        rows = {key: _dataset_rows(group[name][f"{key}.npy"], file) for key in LABELS if f"{key}.npy" in group[name]}
        yield from frames_of(system, rows, file, inside=f"{group.name.strip('/')}/{name}/".lstrip("/"))


def _dataset_rows(data: Any, file: SourceFile) -> tuple[int, Iterator[np.ndarray]]:
    row = int(np.prod(data.shape[1:])) * data.dtype.itemsize
    if data.dtype.kind not in "fiu" or row > 256 << 20:
        raise SourceError(f"an array of {data.dtype} with shape {data.shape}", where=file.name)
    batch = max(1, (8 << 20) // max(row, 1))

    def rows() -> Iterator[np.ndarray]:
        for start in range(0, data.shape[0], batch):
            block = data[start : start + batch]
            yield from block.reshape(len(block), -1)

    return data.shape[0], rows()
