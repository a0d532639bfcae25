"""Turns: one thread that does what it is given in order, and never keeps a process from ending."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Turns:
    """As an executor with one thread; that of `concurrent.futures` is waited for when the interpreter ends, were it to wait for another rank."""

    def __init__(self, name: str):
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The result of a call that is made when its turn comes."""
        future: Future[T] = Future()

        def call() -> None:
            try:
                future.set_result(work(*args, **kwargs))
            except BaseException as err:
                future.set_exception(err)

        self._queue.put(call)
        return future

    def close(self, *, within: float) -> bool:
        """Do what was given, and end; whether that was done within so many seconds."""
        self._queue.put(None)
        self._thread.join(within)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (call := self._queue.get()) is not None:
            call()


def done(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """The result of a call made here and now, in the form of one made elsewhere."""
    future: Future[T] = Future()
    try:
        future.set_result(work(*args, **kwargs))
    except BaseException as err:
        future.set_exception(err)
    return future
