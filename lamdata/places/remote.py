"""RemotePlace: a store behind a URL, through fsspec, its ranges through obstore where that serves the scheme.

Credentials and endpoints come from fsspec's own configuration or the environment, never from a catalog.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import TypeVar

from ..errors import StoreError
from .objects import FsspecFiles, object_reader
from .place import Object, Range

T = TypeVar("T")

REQUESTS = 128  # at a time, of all places together
TRIES = 7
FIRST_WAIT = 0.1  # s, doubled after each try: 6 s in all
FINAL = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotImplementedError)  # trying again is no use


class RemotePlace:
    """Any scheme of fsspec: s3, gs, az, http(s), memory, ... What may pass is tried again, with growing waits."""

    request_bytes = 1 << 26  # a request costs more than the bytes of a block

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self._files = FsspecFiles(self.url)
        self._objects = object_reader(self.url, self._files)

    def read(self, path: str) -> bytes:
        return self._again(path, "read", lambda: self._objects.read(path))

    def read_ranges(self, ranges: Sequence[Range]) -> Iterable[memoryview]:
        return _Answers([_requests().submit(self._read_range, *request) for request in ranges])

    def _read_range(self, path: str, start: int, stop: int) -> memoryview:
        def get() -> memoryview:
            data = memoryview(self._objects.read_range(path, start, stop)).cast("B")
            if len(data) != stop - start:
                raise OSError(f"{len(data)} bytes came of {stop - start}")
            return data

        try:
            return self._again(path, "read", get)
        except FileNotFoundError as err:
            raise StoreError("is missing", where=f"{self.url}/{path}", hint="run `lamdata validate`") from err

    def write(self, path: str, data: bytes) -> None:
        self._again(path, "write", lambda: self._files.write(path, data))

    def create(self, path: str, data: bytes) -> bool:
        """A try whose answer was lost may have created the object: then it holds our bytes, unless it is gone again."""
        if self._again(path, "write", lambda: self._files.create(path, data)):
            return True
        with suppress(FileNotFoundError):
            return self.read(path) == data
        return False

    def list(self, path: str) -> list[str]:
        try:
            return sorted(self._again(path, "list", lambda: self._objects.list(path)))
        except FileNotFoundError:
            return []

    def size(self, path: str) -> int | None:
        try:
            return self._again(path, "read", lambda: self._objects.size(path))
        except FileNotFoundError:
            return None

    def objects(self, path: str) -> Sequence[Object]:
        try:
            return sorted(self._again(path, "list", lambda: self._objects.objects(path)), key=lambda entry: entry.path)
        except FileNotFoundError:
            return []

    def remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._again(path, "remove", lambda: self._files.remove(path))

    def forget(self, path: str) -> None:
        pass

    def _again(self, path: str, verb: str, attempt: Callable[[], T]) -> T:
        """Try, wait, try again; at last say which object it was."""
        where = f"{self.url}/{path}"
        for tried in range(1, TRIES + 1):
            try:
                return attempt()
            except FINAL as err:
                if isinstance(err, PermissionError):
                    raise StoreError(f"no permission to {verb}", where=where, hint="check the credentials in the environment") from err
                raise
            except (ImportError, ValueError) as err:
                raise StoreError(_one_line(err), where=where, hint="pip install 'lam[s3]', 'lam[gcs]' or 'lam[azure]'") from err
            except Exception as err:  # each client has its own tree of errors; all the rest may pass
                if tried == TRIES:
                    raise StoreError(f"cannot {verb} after {TRIES} tries: {_one_line(err)}", where=where) from err
            time.sleep(FIRST_WAIT * 2 ** (tried - 1) * random.uniform(0.5, 1.0))
        raise AssertionError("unreachable")


class _Answers:
    """Answers in the order of the requests; those that nobody waits for any more are called off."""

    def __init__(self, waiting: Sequence[Future[memoryview]]):
        self._waiting = deque(waiting)

    def __iter__(self) -> _Answers:
        return self

    def __next__(self) -> memoryview:
        if not self._waiting:
            raise StopIteration
        return self._waiting.popleft().result()

    def __del__(self) -> None:
        for future in self._waiting:
            future.cancel()


@cache
def _requests() -> ThreadPoolExecutor:
    """Threads that wait for answers; shared, so that many datasets do not open many times the connections."""
    return ThreadPoolExecutor(REQUESTS, thread_name_prefix="range")


def _one_line(err: Exception) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[0][:200]
