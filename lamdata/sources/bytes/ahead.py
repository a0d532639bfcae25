"""Decompressed bytes -> the same, made by a thread of their own, so that unpacking and reading share the time of two cores."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress

from .decompressor import Decompressor

START = 1 << 20  # bytes that are unpacked before a thread is started: small files need none
BLOCK, BLOCKS = 1 << 18, 8  # bytes unpacked at once, and how many such wait at most


class Ahead:
    """A decompressor that works ahead; what it raises is raised where the bytes would have come."""

    def __init__(self, inner: Decompressor):
        self._inner, self._count = inner, 0
        self._waiting: queue.Queue[bytes | Exception] | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._left: bytes | Exception = b""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        if self._waiting is None:
            data = self._inner.read(size)
            self._count += len(data)
            if self._count >= START:
                self._start()
            return data
        if isinstance(self._left, bytes) and not self._left:
            self._left = self._waiting.get()
        if isinstance(self._left, Exception):
            raise self._left
        data, self._left = self._left[:size], self._left[size:]
        if not data:
            self._waiting.put(b"")  # for whoever asks again
        return data

    def _start(self) -> None:
        self._waiting = queue.Queue(BLOCKS)
        self._thread = threading.Thread(target=self._work, args=(self._waiting,), daemon=True)
        self._thread.start()

    def _work(self, waiting: queue.Queue[bytes | Exception]) -> None:
        item: bytes | Exception = b"-"
        while item and not isinstance(item, Exception) and not self._stopped:
            try:
                item = self._inner.read(BLOCK)
            except Exception as err:
                item = err
            waiting.put(item)

    def close(self) -> None:
        """Stop, and close what is unpacked."""
        self._stopped = True
        while self._waiting is not None and self._thread is not None and self._thread.is_alive():
            with suppress(queue.Empty):  # it may wait for room
                self._waiting.get_nowait()
            self._thread.join(0.01)
        self._inner.close()
