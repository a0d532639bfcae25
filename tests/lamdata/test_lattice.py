"""Decimals are found where they are, and every bit comes back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamdata import units
from lamdata.store.lattice import FACTORS, best_lattice, find_lattices, merge_lattices


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
