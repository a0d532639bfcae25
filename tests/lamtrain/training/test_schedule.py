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


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"kind": "cosine"}, {0: 1e-3, 50: 5.05e-4, 75: 1e-5 + 9.9e-4 * 0.1464466094, 100: 1e-5, 120: 1e-5}),
        ({"kind": "cosine", "warmup_steps": 20}, {10: 5e-4, 20: 1e-3, 60: 5.05e-4, 100: 1e-5}),
        ({"kind": "wsd"}, {0: 1e-3, 80: 1e-3, 85: 5.05e-4, 100: 1e-5}),  # the last fifth; half of the way down after a quarter of it
        ({"kind": "wsd", "fall": 1.0, "warmup_steps": 50}, {25: 5e-4, 50: 1e-3, 62.5: 5.05e-4, 100: 1e-5}),
    ],
)
def test_cosine_and_wsd_by_hand(spec: dict, expected: dict[float, float]) -> None:
    schedule = Schedule(LearningRateSpec(start=1e-3, stop=1e-5, **spec), 100)
    assert {step: schedule.rate(step) for step in expected} == pytest.approx(expected, rel=1e-9)
