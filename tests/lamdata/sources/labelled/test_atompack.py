"""Atompack: what a molecule lacks stays missing, and what the file does not state is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamdata.errors import SourceError
from lamdata.frame import Frame
from tests.lamdata.sources.reading import frames as read_frames

atompack = pytest.importorskip("atompack")
WATER = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0.0]]), np.array([8, 1, 1], np.uint8)


def written(path: Path, *molecules) -> Path:
    database = atompack.Database(str(path))
    database.add_molecules(list(molecules))
    database.flush()
    return path


def test_what_a_molecule_lacks_is_missing_beside_others_that_have_it(tmp_path: Path) -> None:
    forces = np.full((3, 3), 0.5, np.float32)
    whole = atompack.Molecule.from_arrays(
        *WATER, energy=-14.2, forces=forces, cell=np.eye(3) * 9.0, pbc=(True, True, False), stress=np.eye(3) * 0.01
    )
    bare = atompack.Molecule.from_arrays(*WATER)
    named = atompack.Molecule.from_arrays(*WATER, energy=0.0)
    for key, value in {"REF_energy": -14.5, "mol_id": "w7", "w": 0.25}.items():
        named.set_property(key, value)
    path = written(tmp_path / "a.atp", whole, bare, named)
    one, two = read_frames(path, "atompack", keys={"energy": "energy"})[:2]
    assert isinstance(one, Frame) and one.energy == -14.2 and one.pbc == (True, True, False) and one.forces.dtype == np.float64
    assert one.virial is not None and np.allclose(one.virial, -np.eye(3) * 0.01 * 729.0)
    assert (two.energy, two.forces, two.virial, two.cell) == (None, None, None, None)
    three = read_frames(path, "atompack", keys={"energy": "REF_energy", "weight": "w"})[2]
    assert three.energy == -14.5 and three.weight == 0.25 and three.group.endswith("/w7")


def test_a_cell_that_is_not_said_to_be_periodic_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path / "a.atp", atompack.Molecule.from_arrays(*WATER, cell=np.eye(3) * 9.0))
    with pytest.raises(
        SourceError, match=r"a\.atp#0: has a cell, and does not say whether it is periodic; say `options: \{pbc: periodic\}`"
    ):
        read_frames(path, "atompack")
    assert read_frames(path, "atompack", options={"pbc": "periodic"})[0].pbc == (True, True, True)
    assert read_frames(path, "atompack", options={"pbc": "free"})[0].cell is None


@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_damaged_file_is_one_line(tmp_path: Path, part: float) -> None:
    data = written(tmp_path / "a.atp", *[atompack.Molecule.from_arrays(*WATER) for _ in range(50)]).read_bytes()
    (tmp_path / "b.atp").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(SourceError, match=r"b\.atp: (damaged Atompack database|holds no frame)"):
        read_frames(tmp_path / "b.atp", "atompack")
