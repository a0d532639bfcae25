"""Place: where a store lives, by URL; reads ranges, writes whole objects, creates each commit at most once.

A local path goes through the operating system (`local.py`); any other URL through fsspec. Credentials and endpoints come from
fsspec's own configuration or the environment, never from a catalog.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from .errors import StoreError

Range = tuple[str, int, int]  # path below the place, first byte, end


class Place(Protocol):
    """A folder or a prefix of a bucket. Paths are relative and use `/`."""

    url: str
    request_bytes: int  # neighbouring chunks are asked for together up to this size

    def read(self, path: str) -> bytes:
        """The whole object; `FileNotFoundError` if there is none."""

    def read_ranges(self, ranges: Sequence[Range]) -> Iterable[memoryview]:
        """Exactly the bytes asked for, in the order of the ranges."""

    def write(self, path: str, data: bytes) -> None:
        """Put the whole object, or nothing, in place of what was there."""

    def create(self, path: str, data: bytes) -> bool:
        """As `write`, only if there is no such object; say whether it was created."""

    def list(self, path: str) -> list[str]:
        """Names directly below `path`, sorted; empty if there is no such folder."""

    def size(self, path: str) -> int | None:
        """Bytes of the object, or `None`."""

    def remove(self, path: str) -> None:
        """Delete one object or folder; nothing if there is none."""


def open_place(url: str | Path) -> Place:
    """Return the place that a URL or a local path names."""
    from .local import LocalPlace

    text = str(url)
    if "://" not in text and "::" not in text:
        return LocalPlace(text)
    if text.startswith("file://"):
        return LocalPlace(text.removeprefix("file://"))
    return FsspecPlace(text)


class FsspecPlace:
    """Any scheme of fsspec: s3, gs, az, http(s), memory, ..."""

    request_bytes = 1 << 26  # a request costs more than the bytes of a block

    def __init__(self, url: str):
        import fsspec

        self.url = url.rstrip("/")
        try:
            self._fs, self._root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as err:
            raise StoreError(str(err), where=self.url) from err

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def read(self, path: str) -> bytes:
        return self._fs.cat_file(self._path(path))

    def read_ranges(self, ranges: Sequence[Range]) -> list[memoryview]:
        paths, starts, stops = zip(*((self._path(path), start, stop) for path, start, stop in ranges))
        parts = self._fs.cat_ranges(list(paths), list(starts), list(stops), on_error="raise")
        return [memoryview(part) for part in parts]

    def write(self, path: str, data: bytes) -> None:
        self._fs.pipe_file(self._path(path), data)

    def create(self, path: str, data: bytes) -> bool:
        try:
            self._fs.pipe_file(self._path(path), data, mode="create")
        except FileExistsError:
            return False
        return True

    def list(self, path: str) -> list[str]:
        try:
            found = self._fs.ls(self._path(path), detail=False, refresh=True)
        except FileNotFoundError:
            return []
        return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in found)

    def size(self, path: str) -> int | None:
        try:
            return int(self._fs.size(self._path(path)))
        except FileNotFoundError:
            return None

    def remove(self, path: str) -> None:
        try:
            self._fs.rm(self._path(path), recursive=True)
        except FileNotFoundError:
            pass
