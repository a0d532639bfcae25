"""A dataset is indexed as a list is: rows, slices, lists of rows, flags."""

import numpy as np
import pytest

from lamdata.store import open_dataset
from tests.lamdata.stores import make_frames, make_texts, write_store


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    url = tmp_path_factory.mktemp("store")
    write_store(url, make_frames(90))
    write_store(url, make_frames(40, seed=1), segment="segment-1", append=True)
    return open_dataset(url)


def origins(frames):
    return [(frame.origin, len(frame.numbers), frame.energy) for frame in frames]


@pytest.fixture(scope="module")
def every(dataset):
    return origins(dataset)


def test_iteration_gives_every_frame_in_store_order(dataset, every):
    assert [origin for origin, _, _ in every] == [*make_texts(90)[1], *make_texts(40)[1]]
    assert every == origins(dataset[i] for i in range(len(dataset)))


@pytest.mark.parametrize(
    "wanted", [slice(0, 3), slice(None), slice(85, 95), slice(-4, None), slice(100, 10, -17), slice(9, 9), slice(120, 900)]
)
def test_a_slice_is_a_list_of_frames(dataset, every, wanted):
    found = dataset[wanted]
    assert isinstance(found, list) and origins(found) == every[wanted]


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8, np.int32])
def test_any_kind_of_integer_is_a_row(dataset, every, kind):
    assert origins([dataset[kind(17)]]) == every[17:18]
    assert kind is np.uint8 or origins([dataset[kind(-1)]]) == every[-1:]


def test_lists_arrays_and_flags_are_rows(dataset, every):
    for rows in ([5, 2, 2, -1], (3, 129), np.array([88, 91, 0], np.uint8), []):
        assert origins(dataset[rows]) == [every[int(i)] for i in rows]
    small = dataset.natoms < 6
    assert origins(dataset[small]) == [every[i] for i in np.flatnonzero(small)]


def test_a_view_is_indexed_by_its_own_rows(dataset, every):
    view = dataset.select(natoms=(2, 9))
    kept = [frame for frame in every if frame[1] <= 9]
    assert origins(view[2:7]) == kept[2:7] and origins(view[[-1]]) == kept[-1:] and origins(view) == kept


@pytest.mark.parametrize("wanted", [130, -131, [0, 130], np.array([-131])])
def test_a_row_that_is_not_there_is_named(dataset, wanted):
    with pytest.raises(IndexError, match=r"there is no frame -?13\d: demo holds 130"):
        dataset[wanted]


@pytest.mark.parametrize("wanted", ["energy", 1.0, [0.5], None, [[1, 2]], {"a": 1}])
def test_what_is_no_row_is_said(dataset, wanted):
    with pytest.raises(TypeError, match="a frame is asked for by its row"):
        dataset[wanted]


def test_flags_must_be_as_many_as_frames(dataset):
    with pytest.raises(IndexError, match="3 flags for the 130 frames of demo"):
        dataset[np.array([True, False, True])]


@pytest.mark.parametrize("bounds", [(-1, 3), (5, 2), (131, None)])
def test_bulk_ranges_that_are_not_there_are_said(dataset, bounds):
    with pytest.raises(IndexError, match="there are no frames .*demo holds 130"):
        dataset.frames(*bounds)
    assert len(dataset.frames(7, 7)) == 0
