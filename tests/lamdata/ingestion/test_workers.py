"""Workers: each task has one thread for its linear algebra, wherever it is done."""

from __future__ import annotations

import os

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from lamdata.ingestion.workers import run_tasks


def threads_of(task: int) -> tuple[int, set[int]]:
    """What a task sees: its process, and the threads of each library of linear algebra there."""
    np.linalg.svd(np.eye(8) + task)
    return os.getpid(), {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_has_one_thread_and_leaves_the_process_its_own(workers: int) -> None:
    with threadpool_limits(2, user_api="blas"):
        before = threads_of(0)
        found = list(run_tasks(threads_of, [1, 2, 3], workers=workers))
        after = threads_of(0)
    assert [threads for _, threads in found] == [{1}] * 3
    assert {process == os.getpid() for process, _ in found} == {workers == 1}
    assert before == after and before[1] == {2}
