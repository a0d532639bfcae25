"""Normalised errors: the guess is 1, what is missing never helps, and no domain is left out."""

from __future__ import annotations

import math
import random

import pytest

from lamdata.errors import ConfigError
from lamtrain.evaluation.normalised import LABELS, Task, rank, ratios_of, score, score_of

ENERGY, FORCE, VIRIAL = (name for name, _ in LABELS.values())
# LAMBench's own guesses (`direct_task_weights.yml`), in meV/atom and meV/Å
TASKS = [
    Task(name="HEA25_bulk", domain="inorganic", guess={ENERGY: 510.8, FORCE: 2262.6}),
    Task(name="MoS2", domain="inorganic", guess={ENERGY: 81.7, FORCE: 956.8, VIRIAL: 40.0}),
    Task(name="AQM-PBE", domain="molecules", guess={ENERGY: 27.42, FORCE: 368.05}),
]


def scaled(*factors: float) -> dict[str, dict[str, float]]:
    """Errors that are so many times the guess."""
    return {task.name: {name: factor * guess for name, guess in task.guess.items()} for task, factor in zip(TASKS, factors)}


def test_the_guess_scores_exactly_one_and_so_does_what_is_worse_or_absent() -> None:
    for errors in (scaled(1, 1, 1), scaled(3, 1, 7), {}, scaled(math.nan, math.inf, 1)):
        assert set(score(TASKS, errors).values()) == {1.0}


def test_no_error_scores_nothing() -> None:
    assert score(TASKS, scaled(0, 0, 0)) == {"inorganic": 0.0, "molecules": 0.0, "all": 0.0}


def test_ratios_are_averaged_in_the_logarithm_and_domains_in_a_line() -> None:
    found = score(TASKS[::2], {"HEA25_bulk": {ENERGY: 51.08, FORCE: 2262.6}, "AQM-PBE": {ENERGY: 27.42 / 2, FORCE: 368.05 / 2}})
    assert found == pytest.approx({"inorganic": 0.55, "molecules": 0.5, "all": 0.525})
    assert score_of([{"energy": 0.1, "force": 1.0}, {"energy": 0.4, "force": 1.0}]) == pytest.approx((math.sqrt(0.04) + 1) / 2)


def test_virials_weigh_a_tenth_where_a_task_has_them() -> None:
    assert score_of([{"energy": 0.2, "force": 0.4, "virial": 0.6}]) == pytest.approx(0.45 * 0.2 + 0.45 * 0.4 + 0.1 * 0.6)
    assert score_of([{"energy": 0.2, "force": 0.4}]) == pytest.approx(0.3)
    assert ratios_of({ENERGY: 1.0, VIRIAL: 1.0}, {ENERGY: 2.0, FORCE: 0.0}) == {"energy": 0.5}, "only what the guess errs by"


def test_leaving_something_out_never_helps() -> None:
    draws = random.Random(3)
    for _ in range(200):
        errors = {
            task.name: {name: guess * draws.choice((0.0, draws.random(), 3.0)) for name, guess in task.guess.items()} for task in TASKS
        }
        whole = score(TASKS, errors)
        for name in errors:
            without = score(TASKS, {other: row for other, row in errors.items() if other != name})
            assert all(without[domain] >= value for domain, value in whole.items())
            for label in errors[name]:
                part = score(TASKS, errors | {name: {key: x for key, x in errors[name].items() if key != label}})
                assert all(part[domain] >= value for domain, value in whole.items())


def test_a_model_that_lacks_a_domain_ranks_behind_one_that_has_it() -> None:
    good, lacking = scaled(0.5, 0.5, 0.9), scaled(0.5, 0.5)
    assert rank(TASKS, {"lacking": lacking, "good": good, "b": {}, "a": {}}) == [
        ("good", pytest.approx(0.7)),
        ("lacking", pytest.approx(0.75)),
        ("a", 1.0),
        ("b", 1.0),
    ]
    assert set(score(TASKS, lacking)) == {"inorganic", "molecules", "all"}


def test_a_task_that_there_is_not_is_named() -> None:
    with pytest.raises(ConfigError, match="no task 'MoS'; did you mean 'MoS2'"):
        score(TASKS, {"MoS": {}})
    with pytest.raises(ConfigError, match="no task has a label"):
        score_of([{}])
