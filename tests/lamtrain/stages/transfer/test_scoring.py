"""Errors of a model that is taken elsewhere: which frames its references come from, and what it is measured against."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lamtrain import load_model
from lamtrain.checkpoint import load, save
from lamtrain.stages.transfer.scoring import Said, ask, errors_of, fit, shifts_of
from lamtrain.stages.transfer.target import Target, open_target
from lamtrain.stages.transfer.zero_shot import zero_shot

ENERGY, FORCE = "energy_rmse_mev_per_atom", "force_rmse_mev_per_angstrom"


@pytest.fixture(scope="module")
def target(away: Path) -> Target:
    return open_target(str(away / "metals.zarr"), "mine")


@pytest.fixture(scope="module")
def mixed(small: Path) -> Target:
    return open_target(str(small / "small.zarr"), "bulk")


def test_what_a_model_says_is_what_predict_says(away: Path, target: Target) -> None:
    model = load_model(away / "model.pt", device="cpu")
    said, found = ask(model, "bulk", target.shown), model.predict(target.shown)
    assert said.answered.all() and len(target.shown) == len(target.test) >= 6
    assert np.array_equal(said.energy, found.energies) and np.array_equal(said.forces, found.forces)


def test_a_shift_by_element_of_all_labels_changes_nothing_and_of_the_measured_ones_only_what_is_held_out(away: Path, mixed: Target) -> None:
    model = load_model(away / "model.pt", device="cpu")
    planted = np.zeros(256)
    planted[[13, 29]] = 3.0, -7.0  # Al, Cu, eV

    def moved(frames):
        return frames.with_(energy=frames.energy + np.add.reduceat(planted[frames.numbers], frames.starts[:-1]))

    def of(held_in, shown):
        return zero_shot(replace(mixed, held_in=held_in, shown=shown, guess=fit(held_in)), model, "bulk")

    before = of(mixed.held_in, mixed.shown)
    both, measured = of(moved(mixed.held_in), moved(mixed.shown)), of(mixed.held_in, moved(mixed.shown))
    for which in ("held_in", "as_lambench"):
        assert both[which]["errors"] == pytest.approx(before[which]["errors"], abs=1e-6)
        assert both[which]["normalised"] == pytest.approx(before[which]["normalised"], abs=1e-9)
    assert measured["as_lambench"]["errors"] == pytest.approx(before["as_lambench"]["errors"], abs=1e-6)
    assert measured["held_in"]["references"] == before["held_in"]["references"], "test labels were seen by the fit"
    assert measured["held_in"]["errors"][ENERGY] > 1000
    shift = both["held_in"]["references"]["shift_ev"]
    for symbol, value in before["held_in"]["references"]["shift_ev"].items():
        assert shift[symbol] - value == pytest.approx({"Al": 3.0, "Cu": -7.0}[symbol], abs=1e-9)
    assert "none of which is measured" in before["held_in"]["says"] and "as LAMBench does" in before["as_lambench"]["says"]


def test_a_model_that_knows_the_composition_alone_scores_one(away: Path, mixed: Target) -> None:
    """Its nets say nothing; its references are not those of the fit."""
    checkpoint = load(away / "model.pt")
    silent = {name: value * 0 if name.startswith("heads.") and "last" in name else value for name, value in checkpoint.model.items()}
    save(replace(checkpoint, model=silent), away / "silent.pt")
    found = zero_shot(mixed, load_model(away / "silent.pt", device="cpu"), "bulk")
    for which in ("held_in", "as_lambench"):
        assert found[which]["errors"][FORCE] == found[which]["guess"][FORCE] > 0
        assert found[which]["normalised"] == pytest.approx(1.0, abs=1e-9) and found[which]["normalised"] <= 1.0
    assert zero_shot(mixed, None, "new")["held_in"]["normalised"] == 1.0, "the guess itself, to the bit"


def test_the_guess_errs_by_what_is_left_of_the_labels(target: Target) -> None:
    found = errors_of(target.shown, None, guess=target.guess)
    each = np.mean(target.held_in.energy / target.held_in.natoms)  # copper alone, cells of equal size
    left = target.shown.energy / target.shown.natoms - each
    assert found[ENERGY] == pytest.approx(1000 * np.sqrt(np.mean(left**2)))
    assert found[FORCE] == pytest.approx(1000 * np.sqrt(np.mean(target.shown.forces**2)))
    assert "virial_rmse_mev_per_atom" not in found and "frames_not_answered" not in found


def test_frames_of_unknown_elements_count_as_the_guess_and_are_counted(away: Path) -> None:
    gold = open_target(str(away / "metals.zarr"), "gold")
    model = load_model(away / "model.pt", device="cpu")
    found = zero_shot(gold, model, "bulk")["held_in"]
    assert found["normalised"] == 1.0 and found["errors"]["frames_not_answered"] == len(gold.shown)
    assert found["errors"][FORCE] == found["guess"][FORCE] and found["references"] is None


def test_energies_that_no_training_frame_determines_are_counted_and_not_scored(target: Target, away: Path) -> None:
    gold = open_target(str(away / "metals.zarr"), "gold")
    assert np.isnan(shifts_of(gold.shown, target.guess)).all() and np.isfinite(shifts_of(target.shown, target.guess)).all()
    found = errors_of(gold.shown, None, guess=target.guess)
    assert found["energies_not_scored"] == len(gold.shown) and ENERGY not in found and found[FORCE] > 0


def test_an_answer_that_is_no_number_counts_as_the_guess(target: Target) -> None:
    frames, count = target.shown, len(target.shown)
    answered = np.arange(count) > 0
    exact = Said(energy=frames.energy.copy(), forces=frames.forces.astype(float), virial=np.zeros((count, 3, 3)), answered=answered)
    found, base = errors_of(frames, exact, guess=target.guess, shifted=False), errors_of(frames.part(0, 1), None, guess=target.guess)
    assert found["frames_not_answered"] == 1
    assert found[ENERGY] == pytest.approx(base[ENERGY] / np.sqrt(count)) and found[FORCE] == pytest.approx(base[FORCE] / np.sqrt(count))
