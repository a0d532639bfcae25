"""Threads: what the process may use, and which count a trial prefers."""

from __future__ import annotations

import os

import pytest
import torch

from lamtrain.training.threads import choose_threads, feeding_threads, fewest_fast, usable_threads


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    (tmp_path / "proc/self").mkdir(parents=True)
    return tmp_path


def write(root, where: str, text: str) -> None:
    (root / where).parent.mkdir(parents=True, exist_ok=True)
    (root / where).write_text(text)


def test_without_a_quota_the_affinity_counts(root):
    assert usable_threads(root) == 6
    write(root, "proc/self/cgroup", "0::/user.slice/run\n")
    write(root, "sys/fs/cgroup/user.slice/run/cpu.max", "max 100000\n")
    assert usable_threads(root) == 6


@pytest.mark.parametrize(("limit", "threads"), [("350000 100000", 4), ("20000 100000", 1), ("900000 100000", 6)])
def test_the_tightest_quota_above_the_process_holds(root, limit, threads):
    write(root, "proc/self/cgroup", "0::/job/step\n")
    write(root, "sys/fs/cgroup/job/cpu.max", limit)
    write(root, "sys/fs/cgroup/job/step/cpu.max", "max 100000")
    assert usable_threads(root) == threads


def test_a_container_sees_its_own_quota_at_the_root(root):
    write(root, "proc/self/cgroup", "0::/docker/0123abcd\n")  # not mounted inside
    write(root, "sys/fs/cgroup/cpu.max", "150000 50000")
    assert usable_threads(root) == 3


@pytest.mark.parametrize(("quota", "threads"), [("250000", 3), ("-1", 6)])
def test_the_first_version_of_cgroups_is_read_too(root, quota, threads):
    write(root, "proc/self/cgroup", "5:memory:/m\n4:cpu,cpuacct:/batch\n")
    write(root, "sys/fs/cgroup/cpu/batch/cpu.cfs_quota_us", quota)
    write(root, "sys/fs/cgroup/cpu/batch/cpu.cfs_period_us", "100000")
    assert usable_threads(root) == threads


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
