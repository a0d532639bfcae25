"""ASE's databases and trajectories: choices of energy, and files that want to run something."""

from __future__ import annotations

import pickle
import sqlite3
import zlib

import numpy as np
import pytest
from writers import ase_db, ase_lmdb, ase_traj, emt_frames

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.sources import SourceFile, read_all, reader


def read(path, name, **spec):
    return list(read_all(SourceFile(name=path.name, path=str(path)), SourceSpec(path=path.name, **spec), use=reader(name)))


def test_free_energy_is_chosen_by_its_key(tmp_path):
    path = ase_db(emt_frames(), tmp_path)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE systems SET free_energy = -99.0")
    assert {f.energy for f in read(path, "ase/db", keys={"energy": "free_energy"})} == {-99.0}
    assert -99.0 not in {f.energy for f in read(path, "ase/db")}


def test_units_of_the_card_are_heeded(tmp_path):
    path = ase_db(emt_frames(1), tmp_path)
    plain, scaled = (read(path, "ase/db", units=u)[0] for u in ({}, {"energy": "meV"}))
    assert scaled.energy == pytest.approx(plain.energy / 1000)


def test_a_view_in_place_of_the_table_is_refused(tmp_path):
    path = tmp_path / "evil.db"
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE VIEW systems AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id, NULL numbers, NULL positions FROM n"
        )
    with pytest.raises(SourceError, match="no table `systems`"):
        read(path, "ase/db")


def test_reading_leaves_a_database_as_it_was(tmp_path):
    path = ase_db(emt_frames(), tmp_path)
    before = path.read_bytes()
    read(path, "ase/db")
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_pickled_trajectory_is_refused(tmp_path):
    path = tmp_path / "old.traj"
    path.write_bytes(b"PickleTrajectory" + pickle.dumps({"a": 1}))
    with pytest.raises(SourceError, match="not an ASE trajectory"):
        read(path, "ase/traj")


def test_a_trajectory_whose_array_leads_out_of_the_file_is_refused(tmp_path):
    path = ase_traj(emt_frames(1), tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"ndarray": [[4, 3]', b'"ndarray": [[999999999, 3]'))
    with pytest.raises(SourceError):
        read(path, "ase/traj")


def test_forces_on_fixed_atoms_are_as_computed(tmp_path):
    from ase.constraints import FixAtoms
    from ase.io.trajectory import Trajectory

    frame = emt_frames(1)[0]
    atoms = frame.to_ase()
    atoms.set_constraint(FixAtoms([0, 1]))
    with Trajectory(str(tmp_path / "a.traj"), "w") as out:
        out.write(atoms)
    np.testing.assert_allclose(read(tmp_path / "a.traj", "ase/traj")[0].forces, frame.forces)


def test_a_row_that_unpacks_too_large_is_refused(tmp_path):
    from writers import lmdb_file

    bomb = zlib.compress(bytes(80 << 20))
    path = lmdb_file(tmp_path / "a.aselmdb", {b"1": bomb, b"nextid": zlib.compress(b"2")})
    with pytest.raises(SourceError, match="unpacks too large"):
        read(path, "ase/lmdb")


def test_rows_of_an_lmdb_come_in_numeric_order(tmp_path):
    frames = emt_frames(12)
    back = read(ase_lmdb(frames, tmp_path), "ase/lmdb")
    np.testing.assert_allclose([f.energy for f in back], [f.energy for f in frames])


def test_real_databases_agree_with_ase(samples):
    from ase.db import connect

    path = samples / "ase_db/10_mptraj_systems.db"
    ours = read(path, "ase/db")
    with connect(path) as database:
        theirs = [row.toatoms() for row in database.select()]
    for a, b in zip(ours, theirs, strict=True):
        assert a.energy == b.get_potential_energy()
        np.testing.assert_array_equal(a.forces, b.get_forces())
        np.testing.assert_allclose(a.virial, -b.get_volume() * b.get_stress(voigt=False), atol=1e-12)
