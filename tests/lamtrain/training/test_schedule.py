"""Schedules against numbers worked by hand from DeePMD-kit's formulas."""

from __future__ import annotations

import pytest

from lamtrain.config import LearningRateSpec, TrainConfig
from lamtrain.training.schedule import Schedule


def test_the_learning_rate_falls_in_stairs_to_its_end() -> None:
    schedule = Schedule(LearningRateSpec(start=1e-3, stop=1e-5, decay_steps=100), 1000)
    assert schedule.rate(0) == schedule.rate(99) == 1e-3
    assert schedule.rate(100) == pytest.approx(1e-3 * 0.01 ** (1 / 10))
    assert schedule.rate(1000) == pytest.approx(1e-5)


@pytest.mark.parametrize(("steps", "stair"), [(1200, 100), (1000, 11), (200, 3), (50, 1)])
def test_stairs_longer_than_the_run_are_shortened(steps: int, stair: int) -> None:
    assert Schedule(LearningRateSpec(decay_steps=5000), steps).stair == stair


def test_prefactors_follow_the_learning_rate() -> None:
    schedule = Schedule(LearningRateSpec(start=1e-3, stop=1e-5, decay_steps=100), 1000)
    assert schedule.prefactor((1000.0, 1.0), 0) == 1000.0
    assert schedule.prefactor((1000.0, 1.0), 1000) == pytest.approx(1.0 + 999.0 * 0.01)
    assert schedule.prefactor((0.02, 1.0), 1000) == pytest.approx(1.0 - 0.98 * 0.01)


def test_warm_up_grows_in_a_line_as_deepmds() -> None:
    schedule = Schedule(LearningRateSpec(start=1e-3, warmup_steps=10), 1000)
    assert [schedule.rate(i) for i in (0, 5, 9)] == pytest.approx([0.0, 5e-4, 9e-4])
    assert schedule.rate(10) == 1e-3
    half = Schedule(LearningRateSpec(start=1e-3, warmup_steps=10, warmup_start_factor=0.5), 1000)
    assert [half.rate(i) for i in (0, 5)] == pytest.approx([5e-4, 7.5e-4])


def test_the_rate_falls_after_a_warm_up_longer_than_what_is_left() -> None:
    """Stairs are those of the decay: 4,000 steps after 6,000 of warm-up."""
    schedule = Schedule(LearningRateSpec(start=1e-3, stop=1e-8, warmup_steps=6000), 10_000)
    assert schedule.stair == 100
    assert schedule.rate(9999) == pytest.approx(1e-3 * 1e-5 ** (39 / 40))
    assert schedule.rate(10_000) == pytest.approx(1e-8)


def test_a_warm_up_as_long_as_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match="must be below steps"):
        TrainConfig(train="x", mixture="m", store="s", steps=10, learning_rate=LearningRateSpec(warmup_steps=10))
