"""Labels of another reference: a shift by element as far as the frames determine it, and no farther."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lamtrain.prediction.shift import Differences, fit_shift

H, C, O = 1, 6, 8  # noqa: E741


def atoms(**counts: int) -> np.ndarray:
    """Atomic numbers of so many atoms each, mixed."""
    numbers = [{"H": H, "C": C, "O": O}[symbol] for symbol, count in counts.items() for _ in range(count)]
    return np.random.default_rng(len(numbers)).permutation(np.array(numbers, np.uint8))


def fitted(*rows: tuple[np.ndarray, float]):
    differences = Differences()
    for numbers, difference in rows:
        differences.add(numbers, difference)
    return fit_shift(differences.factored())


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=8),
    st.tuples(*[st.floats(-50, 50)] * 3),
)
def test_a_shift_that_is_exact_is_found_for_every_composition_that_it_spans(counts: list[tuple[int, int, int]], true: tuple) -> None:
    counts = [row for row in counts if sum(row)]
    assume(len(counts) > 1)
    shift = fitted(*[(atoms(H=h, C=c, O=o), float(np.dot((h, c, o), true))) for h, c, o in counts])
    for h, c, o in counts:
        assert shift.of(atoms(H=h, C=c, O=o)) == pytest.approx(float(np.dot((h, c, o), true)), abs=1e-6)
    both = tuple(a + b for a, b in zip(counts[0], counts[1]))
    assert shift.of(atoms(H=both[0], C=both[1], O=both[2])) == pytest.approx(float(np.dot(both, true)), abs=1e-6)
    assert shift.residual == pytest.approx(0.0, abs=1e-5) and shift.frames == len(counts)


def test_elements_only_in_fixed_proportion_have_no_shift_of_their_own() -> None:
    shift = fitted((atoms(H=2, O=1), 3.0), (atoms(H=4, O=2), 6.0))
    assert shift.of(atoms(H=6, O=3)) == pytest.approx(9.0)
    assert shift.of(atoms(H=1, O=1)) is None and shift.of(atoms(H=2)) is None and shift.alone == {}
    assert shift.of_atoms(atoms(H=2, O=1)) is None
    found = shift.to_json(known=["H", "C", "O"])
    assert found["collinear"] == ["H", "O"] and found["absent"] == ["C"] and found["shift_ev"] == {} and found["rank"] == 1


def test_an_element_that_the_fit_has_not_seen_has_none() -> None:
    shift = fitted((atoms(H=2), 1.0))
    assert shift.of(atoms(H=4)) == pytest.approx(2.0) and shift.of(atoms(H=4, C=1)) is None
    assert shift.of_atoms(atoms(H=2)).tolist() == pytest.approx([0.5, 0.5]) and shift.of_atoms(atoms(C=1)) is None


def test_some_elements_may_be_determined_and_others_not() -> None:
    shift = fitted((atoms(C=2), -4.0), (atoms(H=2, O=1, C=1), 1.0))
    assert shift.alone == {C: pytest.approx(-2.0)}
    assert shift.of(atoms(H=2, O=1, C=5)) == pytest.approx(1.0 - 8.0) and shift.of(atoms(H=1, C=1)) is None


def test_frames_weigh_by_their_number_and_what_is_left_is_said_by_atom() -> None:
    shift = fitted(*[(atoms(H=2), 1.0)] * 3, (atoms(H=2), 5.0))
    assert shift.of(atoms(H=2)) == pytest.approx(2.0)
    assert shift.residual == pytest.approx(np.sqrt((3 * 1.0 + 9.0) / 4) / 2) and shift.frames == 4
    assert shift.to_json(known=["H"])["residual_rmse_mev_per_atom"] == pytest.approx(1000 * shift.residual)


def test_a_composition_is_the_same_in_any_order() -> None:
    differences = Differences()
    for seed in range(5):
        differences.add(np.random.default_rng(seed).permutation(np.array([1, 8, 1], np.uint8)), 2.0)
    assert len(differences.energies) == 1 and next(iter(differences.energies.values())).count == 5
