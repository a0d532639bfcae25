"""Run a function in a process of its own, with limits on time and memory: nothing that a file does can stop the caller."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

MEMORY = 6 << 30  # bytes of address space; libraries reserve more than they use
_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer: "time", "crash" or "Traceback: ..."."""

    reason: str


class Guarded:
    """A worker process that answers one call after another; it is replaced when a call hangs or kills it."""

    def __init__(self, function: Callable[[Any], Any], *, seconds: float, memory: int = MEMORY):
        self.function, self.seconds, self.memory = function, seconds, memory
        self._process: Any = None
        self._pipe: Any = None

    def __call__(self, argument: Any) -> Any:
        """Return the function's answer, or a `Failure`."""
        if self._process is None:
            self._start()
        self._pipe.send(argument)
        if not self._pipe.poll(self.seconds):
            self.close()
            return Failure(f"time: more than {self.seconds:g} s")
        try:
            return self._pipe.recv()
        except EOFError:
            self._process.join(5)
            code = self._process.exitcode
            self.close()
            return Failure(f"crash: the process ended with {code}")

    def _start(self) -> None:
        self._pipe, other = _spawn.Pipe()
        self._process = _spawn.Process(target=_serve, args=(other, self.function, self.memory), daemon=True)
        self._process.start()
        other.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
        self._process = self._pipe = None


def _serve(pipe: Any, function: Callable[[Any], Any], memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    while True:
        try:
            argument = pipe.recv()
        except EOFError:
            return
        try:
            answer = function(argument)
        except BaseException as err:  # the report must show whatever came out
            answer = Failure(f"traceback: {type(err).__name__}: {' '.join(str(err).split())[:200]}")
        pipe.send(answer)


def run_all(function: Callable[[Any], Any], arguments: Iterable[Any], *, seconds: float, jobs: int, memory: int = MEMORY) -> Iterator[Any]:
    """Yield the answers in order, from `jobs` processes at a time."""
    arguments = list(arguments)
    workers = [Guarded(function, seconds=seconds, memory=memory) for _ in range(jobs)]
    free = list(workers)

    def one(argument: Any) -> Any:
        worker = free.pop()
        try:
            return worker(argument)
        finally:
            free.append(worker)

    try:
        with ThreadPoolExecutor(jobs) as pool:
            yield from pool.map(one, arguments)
    finally:
        for worker in workers:
            worker.close()
