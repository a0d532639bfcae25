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
