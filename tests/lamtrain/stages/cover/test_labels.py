"""Errors beside labels: what fits by element take away, what compositions alone give, units by the forces, the area under a curve."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from lamdata.frame import Frame
from lamdata.units import BOHR, HARTREE, KCAL_PER_MOL
from lamtrain.prediction.answers import Answer
from lamtrain.stages.cover.labels import Labels
from lamtrain.stages.cover.scores import Scored, area_under_curve, usually

RNG = np.random.default_rng(0)


def scored(counts: dict[int, int], energy: float, predicted: float, *, factor: float = 1.0, noise: float = 0.1, number: int = 0) -> Scored:
    """A frame of some atoms; its forces are `factor` times the predicted ones, and off by `noise`."""
    numbers = np.repeat(list(counts), list(counts.values())).astype(np.uint8)
    positions, forces = RNG.normal(size=(len(numbers), 3)), RNG.normal(size=(len(numbers), 3))
    label = Frame(numbers=numbers, positions=positions, energy=energy, forces=factor * (forces + noise * RNG.normal(size=forces.shape)))
    answer = Answer(label, Frame(numbers=numbers, positions=positions, energy=predicted, forces=forces), np.zeros(len(numbers)))
    return Scored(
        answer=answer, content=bytes([number % 2]), atoms=np.ones(len(numbers)), score=1.0, unseen=(), features=np.zeros(2, np.float32)
    )


def taken(frames: list[Scored]) -> Labels:
    labels = Labels()
    for one in frames:
        labels.add(one)
    return labels


COUNTS = [{1: a, 8: b} for a, b in product((1, 2, 3, 4), (1, 2, 3))]


def test_a_model_that_is_off_by_element_has_no_error_after_a_fit() -> None:
    frames = [scored(c, 3.0 * c[1] - 5.0 * c[8] + e, e, number=n // 2) for n, (c, e) in enumerate(zip(COUNTS * 4, RNG.normal(size=48)))]
    table = taken(frames).energy_table()
    assert table["scored_after_a_fit"] == 48
    assert table["rmse_after_a_fit_mev_per_atom"] < 1e-6 < 100 < table["rmse_as_they_are_mev_per_atom"]
    assert table["over_guess"] < 1e-6


def test_a_composition_only_model_scores_exactly_one() -> None:
    frames = [scored(c, e, 7.0 * c[1] - 2.0 * c[8], number=n // 2) for n, (c, e) in enumerate(zip(COUNTS * 4, RNG.normal(size=48)))]
    assert taken(frames).energy_table()["over_guess"] == pytest.approx(1.0, abs=1e-9)


def test_what_one_half_does_not_determine_is_not_scored() -> None:
    frames = [scored({1: 2}, 1.0, 1.0, number=0), scored({8: 2}, 1.0, 1.0, number=1)]
    assert taken(frames).energy_table()["scored_after_a_fit"] == 0
    assert taken(frames[:1]).energy_table() == {"frames": 1, "rmse_as_they_are_mev_per_atom": 0.0, "scored_after_a_fit": 0}
    assert Labels().energy_table() == Labels().force_table() == {}


def test_forces_are_compared_with_none() -> None:
    table = taken([scored({1: 50}, 0.0, 0.0, noise=0.0), scored({8: 50}, 0.0, 0.0, factor=-1.0, noise=0.0)]).force_table()
    assert table["by_element"]["H"] == 0.0 and table["over_guess"] == pytest.approx(np.sqrt(2.0), rel=0.2)


@pytest.mark.parametrize(
    "factor, unit",
    [(1.0, None), (1.05, None), (1.3, None), (-1.0, "minus eV/Angstrom"), (1 / KCAL_PER_MOL, "kcal/mol/Angstrom"),
     (BOHR / HARTREE, "Hartree/bohr"), (1000.0, "meV/Angstrom"), (-1 / KCAL_PER_MOL, "minus kcal/mol/Angstrom")],
)  # fmt: skip
def test_a_unit_that_is_taken_for_another_is_named(factor: float, unit: str | None) -> None:
    found = taken([scored({1: 30, 8: 30}, 0.0, 0.0, factor=factor)]).unit_of_forces()
    assert found["looks_like"] == unit and found["factor"] == pytest.approx(factor, rel=0.1)
    usual = taken([scored({1: 30, 8: 30}, 0.0, 0.0, factor=abs(factor))]).unit_of_forces(usual=abs(factor))["looks_like"]
    assert usual is None, "what is so on held-out frames of the training is no unit"


def test_forces_that_are_not_correlated_name_no_unit() -> None:
    assert taken([scored({1: 60}, 0.0, 0.0, factor=1000.0, noise=3.0)]).unit_of_forces()["looks_like"] is None


def test_the_area_is_the_share_of_pairs_that_are_in_order() -> None:
    scores, bad = RNG.integers(5, size=40).astype(float), RNG.random(40) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[bad] for b in scores[~bad]]
    assert area_under_curve(scores, bad) == pytest.approx(np.mean(pairs))
    assert area_under_curve(scores, np.arange(40) < 4) is None


def test_what_is_usual_is_twice_the_models_own_share_and_chance() -> None:
    assert usually(0.0, 10**8) == pytest.approx(0.05, abs=1e-4)
    assert usually(0.1, 10**8) == pytest.approx(0.2, abs=1e-3)
    assert usually(0.0, 100) == pytest.approx(0.05 + 2 * np.sqrt(0.05 * 0.95 / 100))
