"""Workers: a function and its tasks -> results, in this process, in several, or on a Dask cluster.

Tasks must be idempotent: a worker that dies costs its task, which is simply done again. Each has one thread for its linear algebra: matrices
here are small, threads that wait for the next take half the time of a core, and as many workers as cores would have as many times more of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from threadpoolctl import threadpool_limits

from ..errors import SetupError, need

Task = TypeVar("Task")
Result = TypeVar("Result")
RETRIES = 2
ANSWERS = 10.0  # s that a scheduler of Dask may take to


@contextmanager
def one_thread() -> Iterator[None]:
    """With one thread for linear algebra, in this process."""
    with threadpool_limits(1, user_api="blas"):
        yield


def run_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, workers: int = 1, scheduler: str | None = None
) -> Iterator[Result]:
    """Yield a result for each task as it is done, in no particular order."""
    function = functools.partial(_alone, function)
    if scheduler is not None:
        yield from _on_dask(function, tasks, scheduler)
    elif workers <= 1 or len(tasks) <= 1:
        yield from map(function, tasks)
    else:
        yield from _in_processes(function, tasks, workers)


@one_thread()
def _alone(function: Callable[[Task], Result], task: Task) -> Result:
    return function(task)


def _in_processes(function: functools.partial[Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    context = get_context("forkserver")
    context.set_forkserver_preload([function.args[0].__module__])  # each worker is then a fork that has imported everything
    left = dict(enumerate(tasks))
    for _ in range(RETRIES + 1):
        with ProcessPoolExecutor(min(workers, len(left)), mp_context=context) as pool:
            futures = {pool.submit(function, task): key for key, task in left.items()}
            try:
                for future in as_completed(futures):
                    result = future.result()
                    del left[futures[future]]
                    yield result
                return
            except BrokenProcessPool:  # a worker was killed: its tasks are done again by a new pool
                continue
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    raise SetupError(f"worker processes died {RETRIES + 1} times", hint="use fewer --workers, or look for what kills them (memory?)")


def _on_dask(function: Callable[[Task], Result], tasks: Sequence[Task], scheduler: str) -> Iterator[Result]:
    distributed = need("distributed", extra="dask")
    try:
        client = distributed.Client(scheduler, timeout=ANSWERS)
    except OSError as err:
        raise SetupError(f"no Dask scheduler answers at {scheduler}", hint="start one with `dask scheduler`") from err
    with client:
        futures = client.map(function, list(tasks), retries=RETRIES, pure=False)
        for future in distributed.as_completed(futures):
            try:
                yield future.result()
            except distributed.KilledWorker as err:
                raise SetupError("a task killed every worker that took it", hint="give the workers more memory") from err
