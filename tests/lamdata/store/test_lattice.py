"""Decimals are found where they are, and every bit comes back."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamdata import units
from lamdata.store import lattice
from lamdata.store.codec import decode_block, encode_block
from lamdata.store.lattice import FACTORS, LARGEST, best_lattice, find_lattices, merge_lattices
from lamdata.store.layout import COLUMNS, ArrayPlan


def back_from(on, values):
    """What a reader gets of values that were stored."""
    return on.from_stored(on.to_stored(values))


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
    assert back_from(best, values).tobytes() == values.tobytes()


@pytest.mark.skipif(lattice.compiled is None, reason="_lattice.c could not be compiled at installation")
@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(
        st.floats() | st.integers(-(2**46), 2**46).map(lambda n: n / 1000) | st.integers(-999, 999).map(lambda n: n / 8), max_size=1300
    ),
    decimals=st.integers(0, 14),
    unit=st.sampled_from(sorted(units.FORCE)),
    bounds=st.sampled_from([(-LARGEST, LARGEST), (-9, 2**20), (0, 2**33)]),
    size=st.sampled_from([None, "<i4", "<i8"]),
)
def test_the_compiled_file_finds_what_numpy_does(values, decimals, unit, bounds, size):
    numbers, reach = np.array(values, np.float64), min(bounds[1], 2**30 if size == "<i4" else LARGEST)
    how = {"factor": units.FORCE[unit], "scale": 10.0**decimals, "low": bounds[0], "high": reach, "shift": 7}
    found, modules = [], (lattice.compiled, None)
    for module in modules:
        out = None if size is None else np.zeros(numbers.shape, size)
        with patch.object(lattice, "compiled", module), np.errstate(all="ignore"):
            reach = lattice._onto(numbers, out=out, **how)
        found.append((reach, None if out is None or reach is None else out.tolist()))
    assert found[0] == found[1]


def test_what_is_not_one_integer_a_number_is_refused():
    if lattice.compiled is not None:
        for out, size in ((np.zeros(3, "<i4"), 4), (np.zeros(4, "<i4"), 8), (np.zeros(4, "<i2"), 2)):
            with pytest.raises(ValueError, match="for each number"):
                lattice.compiled.onto(np.zeros(4), out, size, 0, 1.0, 1.0, -9.0, 9.0)


def test_a_number_beyond_the_bounds_of_a_plan_is_not_stored():
    on = best_lattice(find_lattices(np.array([0.0, 1.25]), FACTORS["energy"]))
    assert on.to_stored(np.array([1.25])) is not None and on.to_stored(np.array([1.26])) is None and on.to_stored(np.array([1.255])) is None


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
        assert (back_from(merged, part) == part).all()


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
    on = best_lattice(find_lattices(values, {"angstrom": 1.0}))
    array = ArrayPlan(
        column=COLUMNS["positions"], dtype=np.dtype("<f8"), block_shape=values.shape, lattice=on, constant=None, plain=False, packing=2
    )
    data = encode_block(values, array)
    assert on.shift == shift and bool(data[SHUFFLE_FLAGS] & 1) == by_bytes
    back = np.empty(values.shape, array.stored)
    decode_block(memoryview(data), array, back)
    assert (back == integers.reshape(-1, 3) + shift).all() and (on.from_stored(back) == values).all()


PRINTED = {  # of two parts, what a code printed in each and in which unit a reader took it
    "the same": ((3, 1.0), (3, 1.0)),
    "more decimals later": ((2, 1.0), (6, 1.0)),
    "fewer decimals later": ((6, 1.0), (2, 1.0)),
    "two units": ((4, units.LENGTH["nm"]), (5, 1.0)),
    "bohr, then none": ((5, units.LENGTH["bohr"]), (None, 1.0)),
    "none, then some": ((None, 1.0), (4, 1.0)),
    "beyond what is stored": ((13, 1.0), (0, 1e9)),
}


@pytest.mark.parametrize("printed", PRINTED.values(), ids=PRINTED)
def test_lattices_that_are_looked_for_where_others_were_found_merge_to_the_same(printed):
    rng = np.random.default_rng(3)
    first, second = (
        rng.normal(size=300) if decimals is None else np.round(rng.uniform(0.5, 9, 300), decimals) * factor for decimals, factor in printed
    )
    known = find_lattices(first, FACTORS["positions"])
    alone = merge_lattices(known, find_lattices(second, FACTORS["positions"]))
    assert merge_lattices(known, find_lattices(second, FACTORS["positions"], known)) == alone
    assert merge_lattices(known, find_lattices(np.append(second, np.nan), FACTORS["positions"], known)) == {}
