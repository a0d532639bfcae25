"""Open Catalyst 2020 -> frames: S2EF as published (`N.extxyz(.xz)` beside `N.txt`), and the LMDB that fairchem's preprocessing makes.

S2EF: the extxyz holds raw DFT energies (eV) of slab and adsorbate; each line of the txt is "system,frame,reference energy"
(https://github.com/facebookresearch/fairchem, docs/catalysts/datasets/oc20.md). All lines of a system must agree on its reference, its frames
on their composition, and no adsorption energy may be absurd: else the txt belongs to another extxyz. Option `energy`: `total` (default) as computed, or
`adsorption` = raw - reference. The group is the system, so that one relaxation stays on one side of a split.

LMDB: records are pickled PyTorch Geometric objects, whose `y` is either energy, by how preprocess_ef.py was called, and the file
does not say which. So option `energy` is required there, and `y` is taken for it. Nothing is unpickled: see `plain_pickle`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import Frame, Rejection
from lamdata.frames import Parsed

from ..build import build, number_of, rejects
from ..bytes.files import SourceFile
from ..bytes.lmdb_pages import LmdbFile
from ..bytes.plain_pickle import Refused
from ..bytes.torch_pickle import read_record
from ..gathered import gather
from .deepmd_lmdb import is_lmdb
from .extxyz import formula, numbers_of, parse_columns, parse_comment
from .fixed_atoms import ZEROED, are_zeroed, fixed_by_mask
from .xyz_blocks import blocks

ABSURD = 200.0  # eV; published adsorption energies are within some tens
ENERGIES = ("total", "adsorption")
REFERENCE = re.compile(r"^[\w.+-]+,[\w.+-]+,-?\d+(\.\d+)?([eE][+-]?\d+)?$")


class S2efReader:
    """`N.extxyz` with its `N.txt` of references."""

    name = "oc20/s2ef"
    options = {"energy": ENERGIES}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Parsed | Rejection]:
        """Yield the frames, many at once; each must have its line in the txt."""
        return gather(self._frames(file, spec))

    def _frames(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        sidecar = _sidecar(file)
        if sidecar is None:
            raise SourceError("the .txt with its references is missing beside it", where=file.name)
        adsorption = spec.options.get("energy", "total") == "adsorption"
        systems: dict[str, tuple[str, str]] = {}
        with file.open() as stream:
            lines = (line.strip() for line in sidecar.lines())
            for i, (block, line) in enumerate(zip_longest(blocks(stream, file.name), lines)):
                if block is None and not line:
                    continue
                if block is None or not line:
                    raise SourceError("the extxyz and its txt differ in the number of frames", where=f"{file.name}#{i}")
                yield _s2ef_frame(*block, line, systems, adsorption=adsorption, origin=f"{file.name}#{i}")

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated in the file."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """An extxyz with a txt of the same name beside it that has the three columns."""
        if not file.basename.endswith(".extxyz") or not head[:9].strip()[:1].isdigit():
            return False
        sidecar = _sidecar(file)
        return sidecar is not None and bool(REFERENCE.match(sidecar.head(200).decode("ascii", "replace").split("\n")[0].strip()))


class Oc20LmdbReader:
    """`data.lmdb` of fairchem's preprocessing. Option `energy` is required."""

    name = "oc20/lmdb"
    options = {"energy": ENERGIES}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the records by key."""
        if "energy" not in spec.options:
            raise SourceError(
                "is its `y` a total or an adsorption energy?", where=file.name, hint="say `options: {energy: total}` or `adsorption`"
            )
        with file.local() as path, LmdbFile(path, where=file.name) as data:
            records = (entry for entry in data.entries() if entry.key.isdigit())
            for i, entry in enumerate(records):
                yield _lmdb_frame(data.value(entry), file, origin=f"{file.name}#{i}")

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated in the file."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """An LMDB whose first record is a pickle that names PyTorch Geometric."""
        if not is_lmdb(head):
            return False
        try:
            with file.local() as path, LmdbFile(path, where=file.name) as data:
                first = next((entry for entry in data.entries() if entry.key.isdigit()), None)
                return first is not None and b"torch_geometric" in data.value(first)[:512]
        except SourceError:
            return False


def _sidecar(file: SourceFile) -> SourceFile | None:
    return file.sibling(file.basename.removesuffix(".extxyz") + ".txt")


@rejects("an S2EF frame")
def _s2ef_frame(
    comment: str, rows: list[list[bytes]], line: str, systems: dict[str, tuple[str, str]], *, adsorption: bool, origin: str
) -> Frame | Rejection:
    info = parse_comment(comment, where=origin)
    if not REFERENCE.match(line):
        raise SourceError(f"expected system,frame,reference energy in the txt, found {line[:60]!r}", where=origin)
    system, _, reference = line.split(",")
    columns, width = parse_columns(info.get("Properties", ""), where=origin)
    if any(len(row) < width for row in rows) or "forces" not in columns or "energy" not in info:
        raise SourceError("not an S2EF frame: it needs energy and forces", where=origin)
    table = list(zip(*(row[:width] for row in rows)))
    symbols = [token.decode("ascii", "replace") for token in table[columns["species"].start]]
    energy, forces = float(info["energy"]), numbers_of(table[columns["forces"]])
    _belongs(systems, system, (formula(symbols), reference), energy, where=origin)
    zeroed = are_zeroed(forces, _fixed(table, columns))
    return build(
        origin=origin,
        group=system,
        symbols=symbols,
        positions=numbers_of(table[columns["pos"]]),
        cell=info["Lattice"].split(),
        energy=energy - (float(reference) if adsorption else 0.0),
        forces=None if zeroed else forces,
        left_out=(ZEROED,) if zeroed else (),
    )


def _belongs(systems: dict[str, tuple[str, str]], system: str, seen: tuple[str, str], energy: float, *, where: str) -> None:
    """Raise where the line of the txt cannot be that of the frame."""
    hint = "the txt belongs to another extxyz, or lines of it are missing"
    for what, first, now in zip(("composition", "reference energy"), systems.setdefault(system, seen), seen):
        if first != now:
            raise SourceError(f"{system} has {what} {first} and {now}", where=where, hint=hint)
    if abs(energy - float(seen[1])) > ABSURD:
        raise SourceError(f"an adsorption energy of {energy - float(seen[1]):.6g} eV", where=where, hint=hint)


def _fixed(table: list[tuple[bytes, ...]], columns: dict[str, slice]) -> NDArray[np.bool_]:
    """(A,) which atoms were held: those that the mask says, else those below the surface (tag 0)."""
    if "move_mask" in columns:
        return fixed_by_mask(table[columns["move_mask"]])
    tags = table[columns["tags"].start] if "tags" in columns else ()
    return np.array([tag == b"0" for tag in tags] or np.zeros(len(table[0])), bool)


@rejects("an OC20 record")
def _lmdb_frame(raw: bytes, file: SourceFile, *, origin: str) -> Frame | Rejection:
    try:
        data = read_record(raw)
    except Refused as bad:
        raise SourceError(f"a record that is refused: {bad}", where=origin) from None
    energy, forces = data.get("y", data.get("energy")), data.get("force", data.get("forces"))
    fixed = np.asarray(np.ravel(data.get("fixed", ())), bool)
    zeroed = forces is not None and len(fixed) == len(forces) and are_zeroed(np.asarray(forces, np.float64), fixed)
    return build(
        origin=origin,
        group=f"{data['sid']}" if isinstance(data.get("sid"), (int, str)) else file.name,
        numbers=[number_of(int(z)) for z in np.ravel(data["atomic_numbers"])],
        positions=np.reshape(np.asarray(data["pos"], np.float64), (-1, 3)),
        cell=data.get("cell"),
        energy=None if energy is None else np.ravel(energy)[0],
        forces=None if zeroed else forces,
        left_out=(ZEROED,) if zeroed else (),
    )
