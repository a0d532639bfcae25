"""Ragged copies agree with plain indexing; arrays are used again only when nobody looks at them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamdata.frames import FRAME_FIELDS
from lamdata.places.pool import SMALLEST, Pool
from lamdata.store import gather
from lamdata.store.gather import Ranges, reorder
from stores import make_frames


@pytest.mark.parametrize("plain", [False, True])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_reorder_agrees_with_take(plain, seed):
    frames = make_frames(20, seed=seed)
    frames = frames.with_(noise=frames.positions.astype(np.float32), noised=frames.numbers > 40, clean_numbers=frames.numbers[::-1].copy())
    order = np.random.default_rng(seed).integers(0, 20, 31)
    compiled, gather.csr_row_index = gather.csr_row_index, None if plain else gather.csr_row_index
    try:
        ours = reorder(frames, order)
    finally:
        gather.csr_row_index = compiled
    reference = frames.take(order)
    for name in ("positions", "forces", "numbers", "noise", "noised", "clean_numbers", "energy", "cell", "natoms", "index"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(reference, name))


def test_equal_parts_are_those_that_are_cut():
    frames = make_frames(24)
    for k, part in enumerate(frames.in_equal_parts(6)):
        for name in (*FRAME_FIELDS, "numbers", "positions", "forces"):
            np.testing.assert_array_equal(getattr(part, name), getattr(frames.part(6 * k, 6 * k + 6), name))
        assert part.noise is None and np.shares_memory(part.forces, frames.forces)
    assert k == 3


@pytest.mark.parametrize("dtype", ["u1", "i4", "f4", "f8", "f2"])
def test_any_type_of_number_is_copied(dtype):
    source = np.arange(300).reshape(100, 3).astype(dtype)
    out = np.empty((7, 3), dtype)
    Ranges(np.array([90, 4]), np.array([2, 5])).copy([source], [out])
    np.testing.assert_array_equal(out, np.concatenate([source[90:92], source[4:9]]))


def test_an_array_in_use_is_never_handed_out_again():
    pool = Pool()
    first = pool.take((SMALLEST,), "u1")
    view = first[10:20].view("u1")
    del first
    second = pool.take((SMALLEST,), "u1")
    assert not np.shares_memory(view, second)
    looked_at = memoryview(second)[5:]
    del view, second
    third, fourth = pool.take((SMALLEST,), "u1"), pool.take((SMALLEST,), "u1")
    assert not np.shares_memory(third, fourth) and not np.shares_memory(np.frombuffer(looked_at, "u1"), third)


def test_a_free_array_is_used_again():
    pool = Pool()
    address = pool.take((SMALLEST,), "u1").ctypes.data
    assert pool.take((SMALLEST - 8,), "f4").ctypes.data == address or pool.take((SMALLEST // 4,), "f4").ctypes.data == address
