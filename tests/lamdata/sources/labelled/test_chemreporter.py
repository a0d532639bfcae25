"""ChemReporter's HDF5: to the bit what stands in it; a periodic frame without its cell is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lamdata.errors import SourceError
from lamdata.frame import Frame, Rejection
from tests.lamdata.sources.reading import frames, read, stated


def written(path: Path, *, periodic: bool = False, **attributes: Any) -> Path:
    """Twelve molecules as version 0.1.0 of the program writes them: by key, not by number."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w", track_order=False, libver="latest") as root:
        for i in range(12):
            atoms, group = 2 + i % 3, root.create_group(f"omol_train_data$a_{i}")
            group.attrs["energy"] = rng.normal() * 1000
            for name, value in {
                "subset": f"set{i % 2}",
                "charge": i % 3 - 1,
                "spin_multiplicity": 1 + i % 2,
                "num_atoms": atoms,
                **attributes,
            }.items():
                group.attrs[name] = value
            group.create_dataset("elements", data=rng.integers(1, 60, atoms))
            for name in ("positions", "forces"):
                group.create_dataset(name, data=rng.normal(size=(atoms, 3)), dtype=np.float64)
            group.create_dataset("pbc", data=np.full(3, periodic), dtype=np.float32)
            group.create_dataset("mulliken_charges", data=rng.normal(size=atoms), dtype=np.float64)
            group.create_group("extras").attrs["inchi_key"] = "KEY"
    return path


def test_every_system_is_read_to_the_bit(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5")
    assert stated(path) == ("chemreporter/hdf5", {})
    back = frames(path, "chemreporter/hdf5")
    with h5py.File(path) as root:
        for frame, name in zip(back, sorted(root), strict=True):
            group = root[name]
            assert frame.energy == group.attrs["energy"] and frame.cell is None
            assert frame.charge == group.attrs["charge"] and frame.multiplicity == group.attrs["spin_multiplicity"]
            assert np.array_equal(frame.numbers, group["elements"][()])
            assert np.array_equal(frame.positions, group["positions"][()]) and np.array_equal(frame.forces, group["forces"][()])
    assert back[0].left_out == ("atomic charges: 'mulliken_charges' is not a label that is stored",)
    assert {frame.group for frame in frames(path, "chemreporter/hdf5", keys={"group": "subset"})} == {"a.h5/set0", "a.h5/set1"}
    assert {frame.group for frame in frames(path, "chemreporter/hdf5", keys={"group": "inchi_key"})} == {"a.h5/KEY"}


def test_a_periodic_frame_without_its_cell_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5", periodic=True)
    with h5py.File(path, "r+") as root:
        root["omol_train_data$a_3"].create_dataset("cell", data=np.eye(3) * 9.0)
        root["omol_train_data$a_3"].create_dataset("stress", data=np.diag([0.1, 0.0, 0.0]))
    items = read(path, "chemreporter/hdf5")
    assert [item.reason for item in items if isinstance(item, Rejection)] == ["periodic, and its cell is not in the file"] * 11
    (one,) = (item for item in items if isinstance(item, Frame))
    assert one.pbc == (True, True, True) and one.virial is not None and one.virial[0, 0] == pytest.approx(-72.9)


def test_a_number_of_atoms_that_is_not_the_stated_one_refuses_its_frame(tmp_path: Path) -> None:
    (first, *_) = read(written(tmp_path / "a.h5", num_atoms=3), "chemreporter/hdf5")
    assert isinstance(first, Rejection) and "num_atoms differs" in first.reason


def test_no_link_leads_to_another_file(tmp_path: Path) -> None:
    elsewhere = written(tmp_path / "elsewhere.h5")
    path = written(tmp_path / "a.h5")
    with h5py.File(path, "r+") as root:
        root["a_first"] = h5py.ExternalLink(str(elsewhere), "/omol_train_data$a_0")
        del root["omol_train_data$a_0/positions"]
        root["omol_train_data$a_0/positions"] = h5py.ExternalLink(str(elsewhere), "/omol_train_data$a_0/positions")
        del root["omol_train_data$a_1/positions"]
        root["omol_train_data$a_1"].create_dataset("positions", shape=(3, 3), dtype="f8", external=[(str(elsewhere), 0, 72)])
    items = read(path, "chemreporter/hdf5")
    assert len(items) == 12 and [type(item) for item in items].count(Rejection) == 2


@pytest.mark.parametrize("part", [0.2, 0.9])
def test_a_file_that_is_cut_is_one_line(tmp_path: Path, part: float) -> None:
    data = written(tmp_path / "a.h5").read_bytes()
    (tmp_path / "b.h5").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(SourceError, match=r"b\.h5: damaged HDF5 file"):
        read(tmp_path / "b.h5", "chemreporter/hdf5")


@pytest.mark.slow  # it needs chemreporter, which brings fairchem, rdkit and more
def test_what_chemreporter_wrote_itself(tmp_path: Path) -> None:
    write = pytest.importorskip("chemreporter.database_processors.hdf5_writer")._ase_atoms_to_hdf5
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    rng = np.random.default_rng(1)
    atoms = Atoms("OH2", rng.normal(size=(3, 3)) * 2, info={"charge": 1, "spin": 2, "data_id": "elytes"})
    calculator: Any = SinglePointCalculator
    atoms.calc = calculator(atoms, energy=-2080.123456789, forces=rng.normal(size=(3, 3)))
    with h5py.File(tmp_path / "own.h5", "w", libver="latest") as root:
        write(atoms, root, "omol_train_data_0", {"charge": "charge", "spin": "spin_multiplicity", "data_id": "subset"}, {"logP": 0.5})
    (frame,) = frames(tmp_path / "own.h5", "chemreporter/hdf5", keys={"group": "subset"})
    assert frame.energy == -2080.123456789 and np.array_equal(frame.forces, atoms.get_forces()) and frame.group == "own.h5/elytes"
    assert np.array_equal(frame.positions, atoms.positions) and (frame.charge, frame.multiplicity) == (1, 2)
