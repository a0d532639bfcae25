"""DeePMD systems: what is missing, padded, not periodic, or does not fit together."""

from __future__ import annotations

import numpy as np
import pytest
from writers import deepmd_hdf5, deepmd_lmdb, deepmd_mixed, deepmd_npy, deepmd_raw, emt_frames

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import Rejection
from lamdata.sources import expand, read_all, reader


def read(path, name, **options):
    spec = SourceSpec(path=path.name, options=options)
    use = reader(name)
    return [item for f in expand(spec, base=path.parent) if use.guess(f, f.head()) for item in read_all(f, spec, use=use)]


def test_a_missing_label_is_none(tmp_path):
    path = deepmd_npy(emt_frames(), tmp_path)
    for name in ("energy", "virial"):
        (path / f"set.000/{name}.npy").unlink()
    assert all(f.energy is None and f.virial is None and f.forces is not None for f in read(path, "deepmd/npy"))


def test_nopbc_has_no_cell_and_no_virial(tmp_path):
    path = deepmd_npy(emt_frames(), tmp_path)
    (path / "nopbc").touch()
    assert all(f.cell is None and f.virial is None and f.pbc == (False,) * 3 for f in read(path, "deepmd/npy"))


def test_padding_atoms_of_mixed_type_are_dropped(tmp_path):
    frames = emt_frames()
    path = deepmd_mixed(frames, tmp_path)
    types = np.load(path / "set.000/real_atom_types.npy")
    types[1, -1] = -1
    np.save(path / "set.000/real_atom_types.npy", types)
    back = read(path, "deepmd/npy")
    assert [len(f.numbers) for f in back] == [4, 3, 4]
    np.testing.assert_allclose(back[1].forces, frames[1].forces[:3])


@pytest.mark.parametrize("write", [deepmd_npy, deepmd_mixed, deepmd_raw])
def test_a_bad_row_is_refused_alone_and_the_others_keep_their_places(tmp_path, write):
    frames = emt_frames(6)
    path = write(frames, tmp_path)
    label = path / ("force.raw" if write is deepmd_raw else "set.000/force.npy")
    forces = np.loadtxt(label) if write is deepmd_raw else np.load(label)
    forces[[0, 3]] = np.nan
    np.savetxt(label, forces) if write is deepmd_raw else np.save(label, forces)
    back = read(path, "deepmd/raw" if write is deepmd_raw else "deepmd/npy")
    assert [item.origin.rpartition("#")[2] for item in back] == list("012345")
    assert [isinstance(item, Rejection) for item in back] == [True, False, False, True, False, False]
    for k in (1, 2, 4, 5):
        np.testing.assert_allclose(back[k].forces, frames[k].forces, rtol=1e-9, atol=1e-9)


def test_types_without_names_are_refused_until_the_card_names_them(tmp_path):
    path = deepmd_raw(emt_frames(), tmp_path)
    (path / "type_map.raw").unlink()
    with pytest.raises(SourceError, match="type_map"):
        read(path, "deepmd/raw")
    assert read(path, "deepmd/raw", type_map="Au Cu")[0].numbers.tolist() == [79, 29, 29, 29]


def test_a_name_that_is_no_element_matters_only_where_it_is_used(tmp_path):
    path = deepmd_npy(emt_frames(1), tmp_path)
    (path / "type_map.raw").write_text("Au\nCu\nTYPE_2\n")
    assert len(read(path, "deepmd/npy")) == 1
    (path / "type_map.raw").write_text("TYPE_0\nCu\n")
    assert isinstance(read(path, "deepmd/npy")[0], Rejection)


@pytest.mark.parametrize("change", [lambda a: a[:-1], lambda a: np.concatenate([a, a])])
def test_labels_of_another_length_are_refused(tmp_path, change):
    path = deepmd_npy(emt_frames(), tmp_path)
    np.save(path / "set.000/energy.npy", change(np.load(path / "set.000/energy.npy")))
    with pytest.raises(SourceError, match="frames differ in number"):
        read(path, "deepmd/npy")


def test_a_pickled_array_is_refused(tmp_path):
    path = deepmd_npy(emt_frames(), tmp_path)
    np.save(path / "set.000/energy.npy", np.array([object()], dtype=object), allow_pickle=True)
    with pytest.raises(SourceError, match="array of object"):
        read(path, "deepmd/npy")


def test_a_header_that_announces_more_than_there_is_costs_no_memory(tmp_path):
    path = deepmd_npy(emt_frames(), tmp_path)
    array = path / "set.000/coord.npy"
    array.write_bytes(array.read_bytes().replace(b"(3, 12)", b"(9999999999, 12)")[: 10 + 118])
    with pytest.raises(SourceError):
        read(path, "deepmd/npy")


def test_fortran_order_is_read_the_same(tmp_path):
    frames = emt_frames()
    path = deepmd_npy(frames, tmp_path)
    np.save(path / "set.000/coord.npy", np.asfortranarray(np.load(path / "set.000/coord.npy")))
    np.testing.assert_allclose(read(path, "deepmd/npy")[2].positions, frames[2].positions)


def test_other_labels_are_named(tmp_path):
    path = deepmd_npy(emt_frames(), tmp_path)
    np.save(path / "set.000/spin.npy", np.zeros((3, 12)))
    file = next(f for f in expand(SourceSpec(path=path.name), base=tmp_path) if f.basename == "coord.npy")
    assert reader("deepmd/npy").ignored(file) == ["spin.npy"]


def test_each_frame_says_which_files_of_its_set_are_not_read(tmp_path):
    path = deepmd_npy(emt_frames(), tmp_path)
    for name in ("atom_ener", "fparam", "dipole"):
        np.save(path / f"set.000/{name}.npy", np.zeros((3, 1)))
    said = {f"{name}: {name}.npy is not read" for name in ("atom_ener", "fparam", "dipole")}
    assert [set(f.left_out) for f in read(path, "deepmd/npy")] == [said] * 3
    (path / "nopbc").touch()
    assert all(set(f.left_out) == said | {"virial: the system is not periodic"} for f in read(path, "deepmd/npy"))


def test_other_files_of_a_raw_system_are_named(tmp_path):
    path = deepmd_raw(emt_frames(), tmp_path)
    (path / "aparam.raw").write_text("1\n2\n3\n")
    assert {f.left_out for f in read(path, "deepmd/raw")} == {("aparam: aparam.raw is not read",)}


def test_sets_of_an_hdf5_come_by_their_number_and_say_what_is_not_read(tmp_path):
    import h5py

    path = deepmd_hdf5(emt_frames(), tmp_path)
    with h5py.File(path, "a") as root:
        system = root["/"] if "type.raw" in root else next(iter(root.values()))
        name = next(key for key in system if key.startswith("set."))
        system.move(name, "set.10")
        system.copy("set.10", "set.2")
        system["set.2/energy.npy"][...] -= 1.0
        system["set.2/spin.npy"] = np.zeros((3, 12))
    frames = list(read_all(*_one(path), use=reader("deepmd/hdf5")))
    assert [f.left_out for f in frames] == [("spin: spin.npy is not read",)] * 3 + [()] * 3
    assert frames[0].energy == pytest.approx(frames[3].energy - 1.0)


def test_a_flag_of_an_hdf5_that_is_false_is_not_set(tmp_path):
    import h5py

    for value, periodic in ((False, True), (True, False)):
        path = deepmd_hdf5(emt_frames(), tmp_path)
        with h5py.File(path, "a") as root:
            system = root["/"] if "type.raw" in root else next(iter(root.values()))
            system["nopbc"] = value
        assert {f.cell is not None for f in read_all(*_one(path), use=reader("deepmd/hdf5"))} == {periodic}
        path.unlink()


@pytest.mark.parametrize("bad", [-2, 7])
def test_a_type_that_is_neither_padding_nor_named_is_refused(tmp_path, bad):
    path = deepmd_mixed(emt_frames(), tmp_path)
    types = np.load(path / "set.000/real_atom_types.npy")
    types[1, -1] = bad
    np.save(path / "set.000/real_atom_types.npy", types)
    assert [isinstance(item, Rejection) for item in read(path, "deepmd/npy")] == [False, True, False]


def lmdb_of(tmp_path, change):
    """Write an LMDB of three frames after a change to its records, and read it."""
    import msgpack
    from writers import lmdb_file

    from lamdata.sources.bytes.lmdb_pages import LmdbFile

    path = deepmd_lmdb(emt_frames(), tmp_path)
    with LmdbFile(path, where="x") as data:
        records = {entry.key: msgpack.unpackb(data.value(entry), raw=False, strict_map_key=False) for entry in data.entries()}
    change(records)
    packed = {key: msgpack.packb(record, use_bin_type=True) for key, record in records.items()}
    return list(read_all(*_one(lmdb_file(tmp_path / "again" / "data.mdb", packed)), use=reader("deepmd/lmdb")))


def test_an_lmdb_names_its_systems_and_what_is_not_read(tmp_path):
    (tmp_path / "again").mkdir()

    def change(records):
        records[b"__metadata__"] |= {"nframes": 3, "frame_system_ids": [4, 4, 9]}
        for key, record in records.items():
            if key.isdigit():
                record["atom_pref"] = record["energies"]

    frames = lmdb_of(tmp_path, change)
    assert [f.group.rpartition("/")[2] for f in frames] == ["4", "4", "9"]
    assert {f.left_out for f in frames} == {("atom_pref: atom_pref is not read",)}


def test_an_lmdb_with_fewer_frames_than_it_announces_is_refused(tmp_path):
    (tmp_path / "again").mkdir()
    with pytest.raises(SourceError, match="announces 5 frames, found 3"):
        lmdb_of(tmp_path, lambda records: records[b"__metadata__"].update(nframes=5))


def test_the_system_is_the_group(tmp_path):
    assert {f.group for f in read(deepmd_npy(emt_frames(), tmp_path), "deepmd/npy")} == {"sys"}


def test_a_damaged_lmdb_is_one_error_and_no_crash(tmp_path):
    path = deepmd_lmdb(emt_frames(), tmp_path)
    raw = bytearray(path.read_bytes())
    raw[2 * 4096 + 16 : 2 * 4096 + 64] = b"\xff" * 48
    path.write_bytes(raw)
    with pytest.raises(SourceError, match="damaged LMDB"):
        list(read_all(*_one(path), use=reader("deepmd/lmdb")))


def test_an_hdf5_without_systems_is_refused(tmp_path):
    import h5py

    path = deepmd_hdf5(emt_frames(), tmp_path)
    with h5py.File(path, "w") as root:
        root["x"] = 1
    with pytest.raises(SourceError, match=r"type\.raw"):
        list(read_all(*_one(path), use=reader("deepmd/hdf5")))


def _one(path):
    spec = SourceSpec(path=path.name)
    return expand(spec, base=path.parent)[0], spec


def test_real_systems_agree_with_dpdata(samples):
    import dpdata

    for folder, count in (("deepmd_npy/data_1", 160), ("deepmd_nopbc/data/C3H3O4", 485), ("deepmd_spin/data_2", 31)):
        ours = read(samples / folder, "deepmd/npy")
        theirs = dpdata.LabeledSystem(str(samples / folder), fmt="deepmd/npy").data
        assert len(ours) == count
        np.testing.assert_allclose([f.energy for f in ours], theirs["energies"], rtol=1e-12)
        np.testing.assert_allclose(ours[-1].forces, theirs["forces"][-1], atol=1e-12)


def test_a_raw_file_whose_last_number_may_be_cut_is_refused(tmp_path):
    path = deepmd_raw(emt_frames(), tmp_path)
    whole, text = read(path, "deepmd/raw"), (path / "force.raw").read_text()
    (path / "force.raw").write_text(text.rstrip()[:-3])
    with pytest.raises(SourceError, match="ends without a line break: its last number, .*, may be cut"):
        read(path, "deepmd/raw")
    np.savetxt(path / "force.raw", np.round(np.loadtxt(path / "force.raw"), 4), fmt="%.4f")
    fixed = (path / "force.raw").read_text()
    (path / "force.raw").write_text(fixed.rstrip())
    assert len(read(path, "deepmd/raw")) == len(whole)  # as many decimals as above it
