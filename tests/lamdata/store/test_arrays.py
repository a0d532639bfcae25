"""What a view shows by name is its own frames, and what they lack is NaN."""

import numpy as np
import pytest

from lamdata.frame import Frame
from lamdata.frames import Frames
from lamdata.store import open_dataset
from tests.lamdata.stores import make_frames, make_split, make_texts, write_store


def unlabelled(count, *, seed=3):
    """Ragged frames of which some lack each of the labels, whatever stands in their place; every fifth is a molecule."""
    frames, rng = make_frames(count, seed=seed), np.random.default_rng(seed)
    cell = frames.cell.copy()
    cell[::5] = 0
    flags = {f"has_{name}": rng.random(count) < 0.6 for name in ("energy", "forces", "virial")}
    return frames.with_(cell=cell, pbc=frames.pbc & cell.any(axis=(1, 2))[:, None], multiplicity=rng.integers(0, 3, count, "i2"), **flags)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Two segments, the second with labels that differ in width, and all their frames."""
    url = tmp_path_factory.mktemp("store")
    parts = [unlabelled(150), unlabelled(70, seed=4)]
    write_store(url, parts[0])
    write_store(url, parts[1], segment="segment-1", append=True)
    return url, Frames.concatenate(parts), np.concatenate([make_split(150), make_split(70)])


VIEWS = {"all": {}, "split": {"split": "validation"}, "sizes": {"natoms": (4, 11)}, "elements": {"elements": range(1, 70)}}


def kept_by(view, frames, split):
    if view == "split":
        return split == 1
    if view == "sizes":
        return (frames.natoms >= 4) & (frames.natoms <= 11)
    if view == "elements":
        return np.array([frame.numbers.max() < 70 for frame in frames])
    return np.ones(len(frames), bool)


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_shows_its_own_frames_and_no_other(stored, view):
    url, frames, split = stored
    keep = np.flatnonzero(kept_by(view, frames, split))
    shown, expected = open_dataset(url, **VIEWS[view]).to_xarray(), frames.take(keep)
    assert dict(shown.sizes)["frame"] == len(keep) and shown.sizes["atom"] == expected.natoms.sum()
    np.testing.assert_array_equal(shown.frame, keep)
    for name in ("natoms", "pbc", "charge", "shortest", "numbers", "positions", "has_energy", "has_forces", "has_virial"):
        np.testing.assert_array_equal(shown[name].values, getattr(expected, name), err_msg=name)
    np.testing.assert_array_equal(shown.split.values, split[keep])
    groups, origins = (np.array(a + b)[keep] for a, b in zip(make_texts(150), make_texts(70)))
    assert shown.group.values.tolist() == groups.tolist() and shown.origin.values.tolist() == origins.tolist()


@pytest.mark.parametrize("view", VIEWS)
def test_what_a_frame_lacks_is_not_a_number(stored, view):
    url, frames, split = stored
    expected = frames.take(np.flatnonzero(kept_by(view, frames, split)))
    shown = open_dataset(url, **VIEWS[view]).to_xarray()
    for name, has in (("energy", expected.has_energy), ("virial", expected.has_virial)):
        assert np.isnan(shown[name].values[~has]).all() and (~has).any()
        np.testing.assert_array_equal(shown[name].values[has], getattr(expected, name)[has])
    has = np.repeat(expected.has_forces, expected.natoms)
    assert np.isnan(shown.forces.values[~has]).all()
    np.testing.assert_array_equal(shown.forces.values[has], expected.forces[has])
    crystal = expected.cell.any(axis=(1, 2))
    assert np.isnan(shown.cell.values[~crystal]).all()
    np.testing.assert_array_equal(shown.cell.values[crystal], expected.cell[crystal])
    known = expected.multiplicity > 0
    assert np.isnan(shown.multiplicity.values[~known]).all() and (shown.multiplicity.values[known] == expected.multiplicity[known]).all()


def test_flags_and_fill_values_say_what_is_absent(stored):
    shown = open_dataset(stored[0]).to_xarray()
    for name in ("energy", "forces", "virial"):
        assert np.isnan(shown[name].encoding["_FillValue"]) and shown[name].attrs["ancillary_variables"] == f"has_{name}"
        assert shown[f"has_{name}"].attrs["flag_meanings"] == "absent present"
    assert shown.virial.attrs["units"] == "eV" and shown.positions.attrs["units"] == "Angstrom"
    assert shown.natoms.attrs["sample_dimension"] == "atom" and shown.split.attrs["flag_meanings"] == "train validation test"


def test_any_range_is_what_the_whole_holds_there(stored):
    shown = open_dataset(stored[0], split="train").to_xarray()
    whole, rng = {name: shown[name].values for name in shown.variables}, np.random.default_rng(0)
    for name in ("forces", "numbers", "virial", "energy", "origin"):
        size = len(whole[name])
        for _ in range(8):
            a, b = sorted(rng.integers(0, size + 1, 2).tolist())
            step = int(rng.choice([1, 3, -1, -4]))
            picked = slice(a, b, step) if step > 0 else slice(b - 1 if b else 0, a, step)
            np.testing.assert_array_equal(shown[name][picked].values, whole[name][picked], err_msg=f"{name} {picked}")
        np.testing.assert_array_equal(shown[name][[5, 3, size - 1]].values, whole[name][[5, 3, size - 1]])
        np.testing.assert_array_equal(shown[name][size // 2].values, whole[name][size // 2])
    np.testing.assert_array_equal(shown.virial[3, 1].values, whole["virial"][3, 1])


def test_one_array_is_read_and_no_other(stored, monkeypatch):
    from lamdata.store.segment import Segment

    read, original = set(), Segment.read
    shown = open_dataset(stored[0]).to_xarray()
    monkeypatch.setattr(Segment, "read", lambda self, names, blocks: read.update(names) or original(self, names, blocks))
    assert np.isfinite(shown.shortest.values).all() and read <= {"shortest"}


def test_a_view_of_nothing_has_the_same_arrays(tmp_path):
    write_store(tmp_path, make_frames(20, smallest=3, largest=9), profile="fast")
    empty = open_dataset(tmp_path, natoms=(50, 60))
    shown = empty.to_xarray()
    assert shown.sizes["frame"] == shown.sizes["atom"] == 0 and shown.forces.dtype == shown.forces.values.dtype == np.float32
    assert len(empty.natoms) == 0 and len(empty.frames()) == 0 and empty.frames().positions.dtype == np.float32
    assert list(empty.batches(batch_frames=4)) == [] and empty[:] == [] and empty.labels(0, 0)[:2] == ([], [])


def test_labels_that_no_frame_has_are_absent_however_they_are_stored(tmp_path):
    bare = Frame(numbers=np.array([14, 8]), positions=np.array([[0, 0, 0], [0, 0, 1.7]]), group="g", origin="a#0")
    write_store(tmp_path, Frames.from_list([bare] * 7, shortest=[1.7] * 7))
    shown = open_dataset(tmp_path).to_xarray()
    assert np.isnan(shown.energy).all() and np.isnan(shown.forces).all() and np.isnan(shown.virial).all() and np.isnan(shown.cell).all()
    assert shown.sizes["atom"] == 14 and (shown.numbers.values == [14, 8] * 7).all()
    frame = open_dataset(tmp_path)[0]
    assert frame.energy is None and frame.forces is None and frame.virial is None and frame.cell is None
    assert frame.to_ase().calc is None


def test_statistics_are_those_of_the_view(stored):
    url, frames, split = stored
    view = open_dataset(url, natoms=(4, 11))
    keep = frames.take(np.flatnonzero(kept_by("sizes", frames, split)))
    found = view.statistics
    assert (found.frames, found.atoms, found.largest) == (len(keep), keep.natoms.sum(), keep.natoms.max())
    assert found.labels == {name: int(getattr(keep, f"has_{name}").sum()) for name in ("energy", "forces", "virial")}
    assert found.force.count == 3 * keep.natoms[keep.has_forces].sum()
    light = open_dataset(url, elements=[6, 8, "Fe"])
    assert light.elements == ["C", "O", "Fe"]
