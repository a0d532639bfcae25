"""Cores that a process may use: its affinity, or what its cgroups leave of it."""

from __future__ import annotations

import os

import pytest

from lamtrain.cores import usable_threads


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
