"""What a deviation is, which frames are worth training on, and when a student has converged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from lamdata.frames import Frames
from lamtrain.prediction.model import load_model
from lamtrain.prediction.structures import as_frame
from lamtrain.stages.distil.config import AdaptiveSpec, KeepSpec
from lamtrain.stages.distil.deviation import choose, compare, judge
from tests.lamtrain.prediction_cases import write_model


def test_the_deviation_of_two_models_is_half_of_their_difference_where_it_is_the_population_std(tmp_path: Path) -> None:
    one = load_model(write_model(tmp_path / "one.pt"), device="cpu")
    other = load_model(write_model(tmp_path / "other.pt"), device="cpu")
    with np.errstate(all="raise"):
        for parameter in other.net.parameters():
            parameter.data.mul_(1.05)
    frames = []
    for seed in range(3):
        atoms = bulk("C", cubic=True) * (1, 1, 1 + seed % 2)
        atoms.rattle(0.1, seed=seed)
        frames.append(as_frame(atoms))
    stacked = Frames.from_list(frames)
    forces = np.stack([model.predict(stacked).forces for model in (one, other)])
    norms = np.sqrt(np.square(forces.std(axis=0, ddof=0)).sum(1))  # DP-GEN: over models, then the norm, then the largest atom
    wanted = np.maximum.reduceat(norms, stacked.starts[:-1])
    found = compare(one, other, one.heads[0], stacked)
    assert wanted.min() > 1e-4
    np.testing.assert_allclose(found.deviations("std"), wanted, rtol=1e-9)
    np.testing.assert_array_equal(found.deviations("difference"), 2 * found.deviations("std"))
    assert found.force_rmse == pytest.approx(np.sqrt(np.square(forces[0] - forces[1]).mean()))


KEEP = KeepSpec(low=0.1, high=1.0, accurate=0.7)


def test_frames_are_accurate_worth_it_or_failed_by_fixed_thresholds() -> None:
    found = judge(np.array([0.05, 0.1, 0.5, 1.0, np.inf, 0.01]), KEEP, lost=0)
    assert (found.accurate, found.candidates.tolist(), found.failed, found.share) == (2, [1, 2], 2, 2 / 6)
    assert not found.converged


def test_frames_that_a_trajectory_did_not_come_to_are_not_accurate() -> None:
    accurate = np.full(7, 0.05)
    assert judge(accurate, KEEP, lost=3).converged and judge(accurate, KEEP, lost=3).share == 0.7
    assert not judge(accurate, KEEP, lost=4).converged
    assert not judge(np.empty(0), KEEP, lost=4).converged


def test_an_adaptive_threshold_is_the_lowest_of_the_worst_and_converges_when_it_stands_still() -> None:
    keep = KeepSpec(high=1.0, adaptive=AdaptiveSpec(share=0.2, least=3, tolerance=0.05, checks=2))
    deviations = np.array([*np.linspace(0.01, 0.2, 20), 2.0])
    found = judge(deviations, keep, lost=0, lows=[0.4, 0.2])
    assert found.candidates.tolist() == [16, 17, 18, 19] and found.low == deviations[16] and found.failed == 1 and not found.converged
    assert judge(deviations, keep, lost=0, lows=[0.4, 0.2, 0.19]).converged
    assert not judge(deviations, keep, lost=0, lows=[0.19]).converged, "two moves of the threshold are wanted, and there is one"
    assert not judge(deviations, keep, lost=1, lows=[0.4, 0.2, 0.19]).converged, "a trajectory blew up"
    assert len(judge(deviations, keep.model_copy(update={"adaptive": AdaptiveSpec(share=0.01, least=3)}), lost=0).candidates) == 3


def test_what_is_chosen_is_a_part_without_repetition_and_the_same_for_a_seed() -> None:
    rows = np.arange(10, 40)
    one, again, other = (choose(rows, 8, seed=[seed]) for seed in (1, 1, 2))
    assert one.tolist() == again.tolist() == sorted(set(one.tolist())) and set(one) <= set(rows) and len(one) == 8
    assert one.tolist() != other.tolist()
    assert choose(rows, 100, seed=[1]).tolist() == rows.tolist()
