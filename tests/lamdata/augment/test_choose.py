"""Atoms are chosen without replacement, every subset alike, whatever else is chosen at the same time."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lamdata.augment.choose import choose, wanted
from lamdata.augment.ragged import ranks
from lamdata.counter import Purpose, frame_keys


def _keys(frames: int, *, first: int = 0) -> np.ndarray:
    index = np.arange(first, first + frames)
    return frame_keys(0, dataset=np.zeros(frames, np.uint64), index=index, epoch=np.zeros(frames, np.int64))


@given(natoms=st.lists(st.integers(1, 80), min_size=1, max_size=60), probability=st.floats(0.01, 1.0))
@settings(max_examples=60, deadline=None)
def test_each_frame_gets_its_number_and_the_same_atoms_alone_as_together(natoms, probability):
    natoms = np.array(natoms, np.int32)
    count = wanted(natoms, probability=probability, number=None)
    assert count.tolist() == [max(1, int(probability * n)) for n in natoms]
    keys = _keys(len(natoms))
    together = np.split(choose(natoms, count, keys=keys, purpose=Purpose.MOVED_ATOMS), np.cumsum(natoms)[:-1])
    assert [int(flags.sum()) for flags in together] == count.tolist()
    f = len(natoms) // 2
    alone = choose(natoms[f : f + 1], count[f : f + 1], keys=keys[:, f : f + 1], purpose=Purpose.MOVED_ATOMS)
    assert np.array_equal(alone, together[f])


@pytest.mark.parametrize(("atoms", "number"), [(6, 1), (6, 2), (6, 3), (6, 4), (5, 5), (1, 1)])
def test_every_subset_is_equally_likely(atoms, number):
    frames = 30_000
    flags = choose(np.full(frames, atoms), np.full(frames, number), keys=_keys(frames), purpose=Purpose.MASKED_ATOMS)
    subsets = {subset: i for i, subset in enumerate(combinations(range(atoms), number))}
    seen = np.bincount([subsets[tuple(np.flatnonzero(row))] for row in flags.reshape(frames, atoms)], minlength=len(subsets))
    assert len(subsets) == 1 or stats.chisquare(seen).pvalue > 1e-3


def test_one_frame_of_many_atoms_chooses_evenly():
    flags = choose(np.array([100_000]), np.array([15_000]), keys=_keys(1), purpose=Purpose.MASKED_ATOMS)
    assert flags.sum() == 15_000
    assert stats.chisquare(flags.reshape(100, -1).sum(axis=1)).pvalue > 1e-3


def test_a_number_is_at_most_all_atoms():
    assert wanted(np.array([1, 5, 50]), probability=None, number=8).tolist() == [1, 5, 8]


def test_ranks_count_within_each_group():
    assert ranks(np.array([2, 0, 3])).tolist() == [0, 1, 0, 1, 2]
