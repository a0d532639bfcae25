"""Ragged copies agree with plain indexing; arrays are used again only when nobody looks at them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamdata.frames import FRAME_FIELDS, Frames
from lamdata.places.pool import SMALLEST, Pool
from lamdata.store import rows
from lamdata.store.gather import gather, reorder
from lamdata.store.lattice import Lattice
from lamdata.store.rows import copy_rows
from tests.lamdata.stores import make_frames

ATOMS = ("positions", "forces", "numbers", "noise", "noised", "clean_numbers")


@pytest.fixture(params=["compiled", "numpy"])
def way(request, monkeypatch):
    """Each of the two ways to copy rows."""
    if request.param == "numpy":
        monkeypatch.setattr(rows, "compiled", None)
    elif rows.compiled is None:
        pytest.skip("_rows.c could not be compiled at installation")


def noised(count, seed):
    frames = make_frames(count, seed=seed)
    return frames.with_(noise=frames.positions.astype(np.float32), noised=frames.numbers > 40, clean_numbers=frames.numbers[::-1].copy())


@pytest.mark.parametrize("seed", range(8))
def test_reorder_agrees_with_take(way, seed):
    frames, order = noised(20, seed), np.random.default_rng(seed).integers(0, 20, 31)
    ours, reference = reorder(frames, order), frames.take(order)
    for name in (*FRAME_FIELDS, *ATOMS):
        np.testing.assert_array_equal(getattr(ours, name), getattr(reference, name))


@pytest.mark.parametrize("seed", range(8))
def test_gather_agrees_with_concatenate_and_take(way, seed):
    narrow = make_frames(9, seed=seed + 50)
    narrow = narrow.with_(positions=narrow.positions.astype(np.float32), forces=np.asfortranarray(narrow.forces, np.float32))
    parts, rng = [make_frames(5, seed=seed + 70), noised(12, seed), narrow], np.random.default_rng(seed)
    order = rng.permutation(26)[: rng.integers(1, 27)]
    ours, reference = gather(parts, order), Frames.concatenate(parts).take(order)
    for name in (*FRAME_FIELDS, *ATOMS):
        assert getattr(ours, name).dtype == getattr(reference, name).dtype
        np.testing.assert_array_equal(getattr(ours, name), getattr(reference, name))


def test_equal_parts_are_those_that_are_cut():
    frames = make_frames(24)
    for k, part in enumerate(frames.in_equal_parts(6)):
        for name in (*FRAME_FIELDS, "numbers", "positions", "forces"):
            np.testing.assert_array_equal(getattr(part, name), getattr(frames.part(6 * k, 6 * k + 6), name))
        assert part.noise is None and np.shares_memory(part.forces, frames.forces)
    assert k == 3


@pytest.mark.parametrize("dtype", ["u1", "i4", "f4", "f8", "f2"])
def test_any_type_of_number_is_copied(way, dtype):
    source = np.arange(300).reshape(100, 3).astype(dtype)
    out = np.zeros((9, 3), dtype)
    copy_rows(source, np.array([90, 700, 4]), np.array([2, 0, 5]), out, np.array([7, 90, 1]))
    np.testing.assert_array_equal(out, np.concatenate([out[:1] * 0, source[4:9], out[:1] * 0, source[90:92]]))


@pytest.mark.parametrize("least, largest", [(1 - 2**31, 2**31 - 1), (-(2**23), 2**23 - 1), (-5, 2**24 - 9), (-(2**44), 2**44), (0, 2**40)])
@settings(max_examples=50, deadline=None)
@given(decimals=st.integers(0, 14), factor=st.sampled_from([1.0, 0.529177210903, 51.42208619083232]), seed=st.integers(0, 10**6))
def test_integers_come_off_their_lattice_to_the_bit(least, largest, decimals, factor, seed):
    integers = np.random.default_rng(seed).integers(least, largest, (40, 3), endpoint=True)
    lattice = Lattice(unit="", factor=factor, decimals=decimals, least=least, largest=largest)
    out, stored = np.empty((40, 3)), (integers + lattice.shift).astype(lattice.dtype)
    copy_rows(stored, np.array([0, 10]), np.array([10, 30]), out, np.array([30, 0]), lattice)
    np.testing.assert_array_equal(out, np.concatenate([integers[10:], integers[:10]]) / 10.0**decimals * factor)
    np.testing.assert_array_equal(out, lattice.from_stored(np.concatenate([stored[10:], stored[:10]])))


@pytest.mark.skipif(rows.compiled is None, reason="_rows.c could not be compiled at installation")
@pytest.mark.parametrize(
    "begin, length, target", [(98, 3, 0), (-1, 1, 0), (0, 3, 5), (0, 1, -1), (0, -1, 0), (0, 2**62, 0), (2**62, 2**62, 0)]
)
def test_a_range_outside_its_arrays_is_refused(begin, length, target):
    out = np.zeros((7, 3))
    for lattice in (None, Lattice(unit="", factor=1.0, decimals=2, least=0, largest=9)):
        source = np.zeros((100, 3), "f8" if lattice is None else "i8")
        with pytest.raises(ValueError, match="range 1 lies outside"):
            copy_rows(source, np.array([0, begin]), np.array([1, length]), out, np.array([0, target]), lattice)
    with pytest.raises(ValueError, match="equally many"):
        copy_rows(np.ones((9, 3)), np.array([0]), np.array([1, 2]), out, np.array([0]))
    assert not out.any()


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


@pytest.mark.parametrize("integer", [np.int32, np.int64])
@pytest.mark.parametrize("factor", [1.0, 0.529177210903])
def test_numbers_come_off_their_lattice_as_by_a_division(integer: type, factor: float) -> None:
    rng = np.random.default_rng(0)
    most = 2**31 - 1 if integer is np.int32 else 2**53
    numbers = rng.integers(-most, most, 60_000).astype(integer)
    numbers[:2000], numbers[2000:4000] = np.arange(-1000, 1000), most - np.arange(2000)
    for decimals in range(16):
        lattice = Lattice(unit="x", factor=factor, decimals=decimals, least=-most, largest=most)
        out = np.empty(len(numbers))
        copy_rows(numbers, np.zeros(1, np.int64), np.array([len(numbers)]), out, np.zeros(1, np.int64), lattice)
        np.testing.assert_array_equal(out, lattice.from_stored(numbers))
