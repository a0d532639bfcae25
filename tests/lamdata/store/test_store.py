"""What is written is read back bit for bit, by our reader, by zarr-python and by xarray."""

import warnings

import numpy as np
import pytest
import zarr

from lamdata.errors import StoreError
from lamdata.frames import Frames
from lamdata.store import Survey, commit, open_dataset, open_store, plan_segment
from tests.lamdata.stores import make_frames, make_split, make_texts, write_store

ARRAYS = (
    "numbers",
    "positions",
    "forces",
    "natoms",
    "cell",
    "pbc",
    "energy",
    "virial",
    "has_energy",
    "has_forces",
    "has_virial",
    "shortest",
)


def assert_equal(a: Frames, b: Frames) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@pytest.mark.parametrize("decimals", [None, 6])
def test_a_lossless_store_gives_every_bit_back(tmp_path, decimals):
    frames = make_frames(150, decimals=decimals)
    write_store(tmp_path, frames)
    back = open_dataset(tmp_path).frames()
    assert_equal(back, frames)
    assert back.positions.dtype == np.float64
    assert (back.index == np.arange(150)).all()


def test_a_fast_store_rounds_to_float32_and_no_further(tmp_path):
    frames = make_frames(150, decimals=None)
    write_store(tmp_path, frames, profile="fast")
    back = open_dataset(tmp_path).frames()
    assert back.positions.dtype == back.forces.dtype == np.float32
    np.testing.assert_array_equal(back.positions, frames.positions.astype(np.float32))
    np.testing.assert_array_equal(back.energy, frames.energy)


@pytest.mark.parametrize("profile", ["lossless", "fast"])
def test_zarr_python_and_xarray_read_the_same_values(tmp_path, profile):
    frames = make_frames(150)
    import xarray

    write_store(tmp_path, frames, profile=profile)
    back = open_dataset(tmp_path).frames()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        group = zarr.open_group(str(tmp_path / "demo/segment-0"), mode="r")
        opened = xarray.open_zarr(str(tmp_path / "demo/segment-0"), chunks=None)
        start, natoms = group["atom_start"][:], group["natoms"][:]
        rows = np.concatenate([np.arange(s, s + n) for s, n in zip(start, natoms)])
        for name in ("positions", "forces", "numbers"):
            np.testing.assert_array_equal(group[name][:][rows], getattr(back, name))
            np.testing.assert_array_equal(opened[name].values[rows], getattr(back, name))
        for name in ("energy", "cell", "virial", "pbc", "has_virial", "has_energy", "shortest"):
            np.testing.assert_array_equal(group[name][:], getattr(back, name))
    assert opened.positions.dims == ("atom", "xyz") and opened.positions.attrs["units"] == "Angstrom"
    assert opened.natoms.attrs["sample_dimension"] == "atom" and opened.energy.attrs["long_name"]


def test_a_frame_comes_with_its_group_and_origin(tmp_path):
    write_store(tmp_path, make_frames(150))
    groups, origins = make_texts(150)
    dataset = open_dataset(tmp_path)
    for i in (0, 15, 16, 149, -1):
        assert (dataset[i].group, dataset[i].origin) == (groups[i], origins[i])
    assert dataset.to_ase(3).get_forces().shape == dataset[3].forces.shape
    with pytest.raises(IndexError):
        dataset[150]


def test_filters_keep_the_frames_that_a_plain_loop_keeps(tmp_path):
    frames, split = make_frames(300), make_split(300)
    write_store(tmp_path, frames)
    light = set(range(1, 60))
    numbers = np.split(frames.numbers, frames.starts[1:-1])
    views = {
        "split": (open_dataset(tmp_path, split="validation"), split == 1),
        "natoms": (open_dataset(tmp_path, natoms=(5, 9)), (frames.natoms >= 5) & (frames.natoms <= 9)),
        "elements": (open_dataset(tmp_path, elements=sorted(light)), np.array([set(x) <= light for x in numbers])),
    }
    for view, keep in views.values():
        assert (view.frames().index == np.flatnonzero(keep)).all() and len(view) == keep.sum()
        assert (view.natoms == frames.natoms[keep]).all()


def test_batches_hold_every_frame_once_whatever_the_ranks(tmp_path):
    write_store(tmp_path, make_frames(300))
    dataset = open_dataset(tmp_path)
    for world in (1, 3):
        seen = [i for rank in range(world) for batch in dataset.batches(batch_atoms=100, rank=rank, world=world) for i in batch.index]
        assert sorted(seen) == list(range(300))


def test_an_appended_segment_follows_the_first(tmp_path):
    first, second = make_frames(40), make_frames(50, seed=1, decimals=None)
    write_store(tmp_path, first)
    write_store(tmp_path, second, segment="segment-1", append=True)
    assert_equal(open_dataset(tmp_path).frames(), Frames.concatenate([first, second]))


def test_two_datasets_live_side_by_side_and_a_wrong_name_is_helped(tmp_path):
    write_store(tmp_path, make_frames(20), name="water")
    write_store(tmp_path, make_frames(30), name="silicon")
    store = open_store(tmp_path)
    assert list(store) == ["silicon", "water"] and len(store["water"]) == 20
    with pytest.raises(StoreError, match="did you mean `water`"):
        store["watr"]


def test_the_same_frames_give_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        write_store(tmp_path / folder, make_frames(100))
    a, b = (sorted(path for path in (tmp_path / f).rglob("*") if path.is_file()) for f in ("a", "b"))
    assert [x.relative_to(tmp_path / "a") for x in a] == [x.relative_to(tmp_path / "b") for x in b]
    assert all(x.read_bytes() == y.read_bytes() for x, y in zip(a, b))


def test_a_newer_store_is_refused(tmp_path):
    (tmp_path / "commits").mkdir()
    (tmp_path / "commits/00000001.json").write_text('{"format": "lamdata", "version": 99, "commit": 1, "datasets": {}}')
    with pytest.raises(StoreError, match="version 99.*upgrade"):
        open_store(tmp_path)
    with pytest.raises(StoreError, match="upgrade"):
        commit(str(tmp_path), "x", [], {})


def test_a_store_in_an_older_format_is_refused(tmp_path):
    (tmp_path / "commits").mkdir()
    (tmp_path / "commits/00000001.json").write_text('{"format": "lamdata", "version": 1, "commit": 1, "datasets": {}}')
    with pytest.raises(StoreError, match="version 1, this program reads version 2 and later.*ingest into a new store"):
        open_store(tmp_path)


def test_a_survey_in_pieces_plans_as_one_of_the_whole(tmp_path):
    frames, (groups, origins) = make_frames(100), make_texts(100)
    whole = Survey.of(frames, groups, origins)
    parts = [Survey.of(frames.part(a, b), groups[a:b], origins[a:b]) for a, b in ((0, 30), (30, 100))]
    merged = Survey.from_json(parts[1].merge(parts[0]).to_json())
    assert plan_segment(frames.natoms, merged) == plan_segment(frames.natoms, whole)


def test_weights_of_frames_are_kept_and_cost_nothing_where_there_are_none(tmp_path):
    frames = make_frames(60)
    write_store(tmp_path / "without.zarr", frames)
    weights = np.random.default_rng(0).uniform(0, 3, 60)
    write_store(tmp_path / "with.zarr", frames.with_(weight=weights))
    write_store(tmp_path / "halves.zarr", frames.with_(weight=np.full(60, 0.5)))
    assert (open_dataset(tmp_path / "without.zarr").frames(0, 60).weight == 1.0).all()
    assert not list((tmp_path / "without.zarr").rglob("weight")) and list((tmp_path / "with.zarr").rglob("weight"))
    np.testing.assert_array_equal(open_dataset(tmp_path / "with.zarr").frames(0, 60).weight, weights)
    assert (open_dataset(tmp_path / "halves.zarr").frames(0, 60).weight == 0.5).all()
    assert len(open_dataset(tmp_path / "with.zarr", where="weight >= 2")) == (weights >= 2).sum() > 5
    assert (
        len(open_dataset(tmp_path / "halves.zarr", where="weight < 1"))
        == 60
        > len(open_dataset(tmp_path / "without.zarr", where="weight < 1"))
    )
