"""Decimals are found where they are, and every bit comes back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamdata import units
from lamdata.store.codec import decode_block, encode_block
from lamdata.store.lattice import FACTORS, best_lattice, find_lattices, merge_lattices
from lamdata.store.layout import COLUMNS, ArrayPlan


@settings(max_examples=60, deadline=None)
@given(
    decimals=st.integers(0, 9),
    unit=st.sampled_from(sorted(units.FORCE)),
    integers=st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=50),
)
def test_printed_numbers_in_any_unit_come_back_bit_for_bit(decimals, unit, integers):
    printed = np.array([float(f"{n / 10**decimals:.{decimals}f}") for n in integers])
    values = printed * units.FORCE[unit] + 0.0
    best = best_lattice(find_lattices(values, FACTORS["forces"]))
    assert best is not None and best.decimals <= decimals or best.unit != unit
    back = best.to_values(best.to_integers(values))
    assert back.tobytes() == values.tobytes()


def test_full_mantissas_have_no_lattice():
    assert find_lattices(np.random.default_rng(0).normal(size=1000), FACTORS["forces"]) == {}


def test_one_value_off_the_lattice_is_enough():
    values = np.round(np.random.default_rng(0).normal(size=5000), 6)
    values[4321] = np.nextafter(values[4321], 10)
    assert find_lattices(values, FACTORS["positions"]) == {}


@pytest.mark.parametrize("pieces", [(3, 6), (8, 2)])
def test_pieces_merge_to_the_finer_lattice(pieces):
    parts = [np.round(np.random.default_rng(d).normal(size=500), d) for d in pieces]
    merged = best_lattice(merge_lattices(*(find_lattices(part, FACTORS["positions"]) for part in parts)))
    whole = best_lattice(find_lattices(np.concatenate(parts), FACTORS["positions"]))
    assert merged.decimals == whole.decimals == max(pieces)
    for part in parts:
        assert (merged.to_values(merged.to_integers(part)) == part).all()


def test_not_a_number_is_left_as_it_is():
    assert find_lattices(np.array([1.0, np.nan]), FACTORS["energy"]) == {}


SHUFFLE_FLAGS = 2  # byte of a blosc header: bit 0 says shuffled by bytes, bit 2 by bits


@pytest.mark.parametrize(
    ("low", "high", "shift", "by_bytes"),
    [
        (0, 12_000_000, 0, True),  # coordinates inside a cell fill three bytes
        (-500_000, 12_000_000, 500_000, True),
        (-8_000_000, 8_000_000, 2**23, True),
        (-5, 10, 128, False),  # a few bits of a byte: by bits it packs better
        (-(10**9), 10**9, 0, False),
        (-(2**36), 2**36, 2**39, False),
    ],
)
def test_stored_integers_are_shifted_to_whole_bytes_and_come_back(low, high, shift, by_bytes):
    integers = np.random.default_rng(0).integers(low, high, 3 * 4096, endpoint=True)
    integers[:3] = low, high, 0
    values = (integers / 1e6).reshape(-1, 3)
    lattice = best_lattice(find_lattices(values, {"angstrom": 1.0}))
    array = ArrayPlan(
        column=COLUMNS["positions"], dtype=np.dtype("<f8"), block_shape=values.shape, lattice=lattice, constant=None, plain=False
    )
    data = encode_block(values, array)
    assert lattice.shift == shift and bool(data[SHUFFLE_FLAGS] & 1) == by_bytes
    back = np.empty(values.shape, array.stored)
    decode_block(memoryview(data), array, back)
    assert (back == integers.reshape(-1, 3)).all() and (lattice.to_values(back) == values).all()
