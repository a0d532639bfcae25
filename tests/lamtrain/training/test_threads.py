"""Threads: what the process may use, and which count a trial prefers."""

from __future__ import annotations

import pytest
import torch

from lamtrain.cores import usable_threads
from lamtrain.training.threads import choose_threads, feeding_threads, fewest_fast


def test_more_threads_must_be_worth_their_cores():
    assert fewest_fast({1: 1.0, 2: 0.98, 4: 0.975}) == 1
    assert fewest_fast({1: 1.0, 2: 0.6, 4: 0.59}) == 2
    assert fewest_fast({1: 1.0, 2: 1.4, 4: 0.5}) == 4
    assert fewest_fast({3: 2.0}) == 3


def test_a_trial_runs_every_count_and_leaves_the_best_one_set():
    before, asked = torch.get_num_threads(), []
    try:
        chosen = choose_threads(lambda: asked.append(torch.get_num_threads()), counts=[1, 2], seconds=0.0)
        assert set(asked) >= {1, 2} and set(chosen.seconds) == {1, 2} and torch.get_num_threads() == chosen.count
        assert str(chosen).startswith(f"{chosen.count} of {usable_threads()} usable (1: ")
        one = choose_threads(lambda: asked.append(-1), counts=[1])
        assert one.count == 1 and -1 not in asked
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("cores", "sharing", "threads"), [(1, 1, 1), (2, 1, 1), (4, 1, 3), (16, 1, 4), (16, 8, 1), (64, 8, 4)])
def test_an_accelerator_is_fed_by_the_cores_that_its_steps_leave(monkeypatch, cores, sharing, threads):
    monkeypatch.setattr("lamtrain.training.threads.usable_threads", lambda: cores)
    assert feeding_threads(torch.device("cuda"), sharing=sharing) == threads
    assert feeding_threads(torch.device("cpu"), sharing=sharing) == 1, "the cores of a CPU are for the steps"
