"""Predictions beside labels: errors by frame, element and group, the worst of them, and points to draw in bounded memory."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamdata.frame import Frame
from lamtrain.prediction import scores as module
from lamtrain.prediction.scores import COLUMNS, NAMES, Points, Scores


def pair(numbers=(1, 8), *, energy=None, forces=None, virial=None, apart=0.0, group="g", origin="f#0") -> tuple[Frame, Frame]:
    """A frame with labels, and a prediction that is off by `apart` in every number."""
    numbers = np.array(numbers, np.uint8)
    same = {"numbers": numbers, "positions": np.zeros((len(numbers), 3))}
    labels = {"energy": energy, "forces": forces, "virial": virial}
    moved = {name: None if value is None else value + apart for name, value in labels.items()}
    everything = {"energy": 0.0, "forces": np.zeros((len(numbers), 3)), "virial": np.zeros((3, 3))}
    predicted = {name: everything[name] if value is None else value for name, value in moved.items()}
    return Frame(**same, **labels, group=group, origin=origin), Frame(**same, **predicted)


ALL = {"energy": -3.0, "forces": np.ones((2, 3)), "virial": np.eye(3)}


def test_errors_of_a_frame_have_their_units_and_the_energy_its_sign() -> None:
    scored = Scores({}, worst=3).add(*pair(**ALL, apart=-0.02))
    assert scored is not None and scored.errors == pytest.approx(
        {COLUMNS[0]: -10.0, COLUMNS[1]: 20.0, COLUMNS[2]: 20.0 * math.sqrt(3), COLUMNS[3]: 10.0}
    )
    assert scored.row()["atoms"] == 2 and scored.row()["origin"] == "f#0"


@pytest.mark.parametrize("missing", ["energy", "forces", "virial"])
def test_a_label_that_is_missing_is_in_no_number(missing: str) -> None:
    scores = Scores({}, worst=3)
    scores.add(*pair(**ALL | {missing: None}, apart=0.5))
    name = NAMES["force" if missing == "forces" else missing]
    assert name not in scores.total.table() and len(scores.total.table()) == 2
    assert ("force" if missing == "forces" else "x") not in {q for sums in scores.elements.values() for q in sums.counts}


def test_a_frame_without_labels_is_not_scored_and_makes_no_group() -> None:
    scores = Scores({}, worst=3)
    assert scores.add(*pair(group="bare")) is None
    assert scores.groups == {} and scores.total.frames == 0 and scores.total.table() == {} and scores.panels() == []
    scores.add(*pair(**ALL, group="bare"))
    assert scores.add(*pair(group="bare")) is None and scores.groups["bare"].frames == 1


def test_errors_are_root_mean_squares_over_components_whatever_the_frame() -> None:
    scores = Scores({}, worst=0)
    for natoms, apart in ((1, 0.3), (3, 0.1)):
        scores.add(*pair([6] * natoms, energy=0.0, forces=np.zeros((natoms, 3)), apart=apart, group=str(natoms)))
    table = scores.total.table()
    assert table[NAMES["force"]] == pytest.approx(1000 * math.sqrt((3 * 0.09 + 9 * 0.01) / 12))
    assert table[NAMES["energy"]] == pytest.approx(1000 * math.sqrt((0.3**2 + (0.1 / 3) ** 2) / 2))
    assert scores.groups["3"].table()[NAMES["force"]] == pytest.approx(100.0) and scores.elements["C"].counts == {"force": 12}


def test_forces_are_summed_by_element() -> None:
    label, predicted = pair([1, 8, 1], forces=np.zeros((3, 3)))
    predicted.forces[:] = [[0.1] * 3, [0.2] * 3, [0.3] * 3]
    scores = Scores({}, worst=1)
    scores.add(label, predicted)
    assert scores.elements["O"].table()[NAMES["force"]] == pytest.approx(200.0)
    assert scores.elements["H"].table()[NAMES["force"]] == pytest.approx(1000 * math.sqrt((0.01 + 0.09) / 2))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=12), st.integers(0, 4))
def test_the_worst_frames_are_the_largest_errors_and_of_equal_ones_the_first(errors: list[int], worst: int) -> None:
    scores = Scores({}, worst=worst)
    for i, error in enumerate(errors):
        scores.add(*pair([6], energy=0.0, apart=float(error), origin=f"f#{i}"))
    want = sorted(range(len(errors)), key=lambda i: (-abs(errors[i]), i))[:worst]
    assert [one.label.origin for one in scores.worst("energy")] == [f"f#{i}" for i in want]
    assert scores.worst("force") == []


def test_references_are_taken_off_where_energies_are_drawn_and_nowhere_else() -> None:
    scores = Scores({"H": -13.0, "O": -400.0}, worst=1)
    scores.add(*pair([1, 8], energy=-413.5, apart=0.1))
    ((label, points, marked),) = [panel for panel in scores.panels() if panel[0].startswith("energy")]
    np.testing.assert_allclose(points, [[-0.25, -0.2]])
    np.testing.assert_allclose(marked, points)
    assert scores.total.table()[NAMES["energy"]] == pytest.approx(50.0) and label == "energy (eV/atom)"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=15))
def test_points_stay_few_and_are_every_so_manieth(sizes: list[int]) -> None:
    before = module.POINTS
    module.POINTS = 10
    try:
        points, seen = Points(), 0
        for size in sizes:
            values = np.arange(seen, seen + size, dtype=float)
            points.add(values, -values)
            seen += size
        kept = points.array()
    finally:
        module.POINTS = before
    assert len(kept) >= min(seen, 10) or seen < 10
    steps = np.diff(kept[:, 0])
    assert (kept[:, 0] == -kept[:, 1]).all() and len(set(steps.tolist())) <= 1 and (len(kept) == 0 or kept[0, 0] == 0)


def test_no_points_are_none() -> None:
    assert Points().array().shape == (0, 2)
