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


def database(tmp_path, *rows):
    """One frame a row, with (key-value pairs, data) of each."""
    from ase.db import connect

    with connect(tmp_path / "pairs.db") as out:
        for frame, (pairs, data) in zip(emt_frames(len(rows)), rows, strict=True):
            out.write(frame.to_ase(), key_value_pairs=pairs, data=data)
    return tmp_path / "pairs.db"


def bare(tmp_path, name, **info):
    """A trajectory of frames without a calculator, with `info`."""
    from ase.io.trajectory import Trajectory

    with Trajectory(str(tmp_path / name), "w") as out:
        for frame in emt_frames(2):
            atoms = frame.to_ase()
            atoms.calc, atoms.info = None, info
            out.write(atoms)
    return tmp_path / name


@pytest.mark.parametrize("label", ["energy", "forces", "stress", "virial", "charge", "group", "split"])
@pytest.mark.parametrize(("write", "name"), [(ase_db, "ase/db"), (ase_lmdb, "ase/lmdb"), (ase_traj, "ase/traj")])
def test_a_key_of_the_card_is_said_of_each_row_that_lacks_it(tmp_path, write, name, label):
    found = read(write(emt_frames(), tmp_path), name, keys={label: "mine"})
    assert all(f"{label}: its key 'mine' is not there" in frame.left_out for frame in found) and found


def test_a_key_of_the_card_that_some_rows_lack_is_said_of_these(tmp_path):
    path = database(tmp_path, ({"e_dft": -7.5}, {}), ({}, {}))
    first, second = read(path, "ase/db", keys={"energy": "e_dft"})
    assert first.energy == -7.5 and second.energy is None
    assert "energy: its key 'e_dft' is not there" in second.left_out and first.left_out == ("energy: 'energy' is not read, 'e_dft' is",)


def test_a_key_that_only_another_span_has_is_not_missing(tmp_path):
    from dataclasses import replace

    path, use = database(tmp_path, ({}, {}), ({}, {}), ({"e_dft": -7.5}, {})), reader("ase/db")
    file = SourceFile(name=path.name, path=str(path))
    spans = use.spans(file, 5000)
    assert len(spans) == 3
    spec = SourceSpec(path=path.name, keys={"energy": "e_dft"})
    assert [frame.energy for span in spans for frame in read_all(replace(file, span=span), spec, use=use)] == [None, None, -7.5]


def test_labels_in_pairs_and_in_info_are_known_by_their_usual_names(tmp_path):
    found = read(bare(tmp_path, "a.traj", REF_energy=-4.5, virial=np.eye(3).tolist()), "ase/traj")
    assert [f.energy for f in found] == [-4.5, -4.5] and found[0].virial.tolist() == np.eye(3).tolist()


def test_two_energies_of_a_row_that_differ_are_a_question_to_the_card(tmp_path):
    path = database(tmp_path, ({"total_energy": 3.25}, {}))
    with pytest.raises(SourceError, match="both 'energy' and 'total_energy' could be energy"):
        read(path, "ase/db")
    assert read(path, "ase/db", keys={"energy": "total_energy"})[0].energy == 3.25


def test_labels_in_data_are_read_only_where_the_card_names_them(tmp_path):
    forces = np.arange(12.0).reshape(4, 3)
    path = database(tmp_path, ({}, {"DFT_forces": forces, "stress": np.full(6, 17.0), "note": "x", "dipole": [1.0, 2, 3]}))
    frame = read(path, "ase/db")[0]
    assert set(frame.left_out) == {
        "forces: 'DFT_forces' is not read, 'forces' is",
        "virial: 'stress' of `data` is not read",
        "dipole: 'dipole' is not a label that is stored",
    }
    np.testing.assert_array_equal(read(path, "ase/db", keys={"forces": "DFT_forces"})[0].forces, forces)


def test_a_virial_beside_a_stress_must_agree(tmp_path):
    frame = emt_frames(1)[0]
    found = [read(bare_with_stress(tmp_path, frame, sign), "ase/traj")[0] for sign in (1, -1)]
    np.testing.assert_allclose(found[0].virial, frame.virial)
    assert "opposite signs" in found[1].reason


def bare_with_stress(tmp_path, frame, sign):
    from ase.io.trajectory import Trajectory

    atoms = frame.to_ase()
    atoms.info["virial"] = (sign * frame.virial).tolist()
    with Trajectory(str(tmp_path / f"{sign}.traj"), "w") as out:
        out.write(atoms)
    return tmp_path / f"{sign}.traj"


@pytest.mark.parametrize("name", ["ase/db", "ase/traj"])
def test_forces_of_fixed_atoms_that_were_set_to_zero_are_no_forces(tmp_path, name):
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.constraints import FixAtoms
    from ase.db import connect
    from ase.io.trajectory import Trajectory

    frame = emt_frames(1)[0]
    forces = frame.forces.copy()
    forces[:2] = 0.0
    atoms = frame.to_ase()
    atoms.set_constraint(FixAtoms([0, 1]))
    atoms.calc = SinglePointCalculator(atoms, energy=frame.energy, forces=forces)
    if name == "ase/db":
        path = tmp_path / "a.db"
        with connect(path) as out:
            out.write(atoms)
    else:
        path = tmp_path / "a.traj"
        with Trajectory(str(path), "w") as out:
            out.write(atoms)
    found = read(path, name)[0]
    assert found.forces is None and found.energy == frame.energy
    assert found.left_out == ("forces: those of fixed atoms were set to zero",)


def test_other_results_and_a_free_energy_that_differs_are_named(tmp_path):
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io.trajectory import Trajectory

    atoms = emt_frames(1)[0].to_ase()
    for free, said in ((-1.5, []), (-1.75, ["energy: 'free_energy' is not read, 'energy' is"])):
        atoms.calc = SinglePointCalculator(atoms, energy=-1.5, free_energy=free, dipole=np.ones(3))
        with Trajectory(str(tmp_path / "a.traj"), "w") as out:
            out.write(atoms)
        frame = read(tmp_path / "a.traj", "ase/traj")[0]
        assert frame.energy == -1.5 and list(frame.left_out) == [*said, "dipole: 'dipole' is not a label that is stored"]


@pytest.mark.parametrize("text", ['{"7": {"numbers": [1]', '{\n "ids": [1], "nextid": 2', ' { "1" : { "cell": 0, "numbers": []'])
def test_a_json_database_is_known_by_its_content(text):
    assert reader("ase/json").guess(SourceFile(name="x", path="-"), text.encode())


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
