"""CachedPlace: pages of a distant store kept on this machine, up to a number of bytes; the source is only ever read.

Set `LAM_PAGE_CACHE` to a folder and `LAM_PAGE_CACHE_GB` to its bound (20 if unset). Segments never change, so a page never goes stale;
a page that was damaged here fails its checksum, and is fetched again.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .place import Object, Place, Range

PAGE = 1 << 20  # bytes
FOLDER, BOUND = "LAM_PAGE_CACHE", "LAM_PAGE_CACHE_GB"
TRIMMED = 0.9  # of the bound, left after a trim


class CachedPlace:
    """Answers ranges from pages on disk and fetches those that are missing; everything else goes to the source."""

    request_bytes = 1 << 26

    def __init__(self, source: Place, folder: Path, *, bound: int):
        self.url, self._source, self._folder, self._bound = source.url, source, folder, bound
        self._added, self._lock = 0, threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def read_ranges(self, ranges: Sequence[Range]) -> Iterable[memoryview]:
        """Fetch all missing pages at once, then cut the ranges out of theirs."""
        pages = {(path, number) for path, start, stop in ranges for number in range(start // PAGE, -(-stop // PAGE))}
        found = {page: self._load(*page) for page in pages}
        missing = sorted(page for page, data in found.items() if data is None)
        sizes = {path: self._source.size(path) or 0 for path in {path for path, _ in missing}}
        wanted = [(path, number * PAGE, min((number + 1) * PAGE, sizes[path])) for path, number in missing]
        for page, data in zip(missing, self._source.read_ranges([request for request in wanted if request[1] < request[2]])):
            found[page] = whole = bytes(data)
            self._save(*page, whole)
        return [self._cut(found, *request) for request in ranges]

    def forget(self, path: str) -> None:
        """Drop the pages of an object that came out damaged."""
        for file in self._folder.glob(f"{self._key(path)}-*"):
            file.unlink(missing_ok=True)

    def read(self, path: str) -> bytes:
        return self._source.read(path)

    def write(self, path: str, data: bytes) -> None:
        self._source.write(path, data)

    def create(self, path: str, data: bytes) -> bool:
        return self._source.create(path, data)

    def list(self, path: str) -> list[str]:
        return self._source.list(path)

    def size(self, path: str) -> int | None:
        return self._source.size(path)

    def objects(self, path: str) -> Sequence[Object]:
        return self._source.objects(path)

    def remove(self, path: str) -> None:
        self._source.remove(path)

    def _cut(self, found: Mapping[tuple[str, int], bytes | None], path: str, start: int, stop: int) -> memoryview:
        first = start // PAGE
        joined = b"".join(found[path, number] or b"" for number in range(first, -(-stop // PAGE)))
        return memoryview(joined)[start - first * PAGE : stop - first * PAGE]

    def _key(self, path: str) -> str:
        return hashlib.sha256(f"{self.url}/{path}".encode()).hexdigest()[:32]

    def _load(self, path: str, number: int) -> bytes | None:
        file = self._folder / f"{self._key(path)}-{number}"
        try:
            data = file.read_bytes()
            os.utime(file)  # what was used last goes last
            return data
        except FileNotFoundError:
            return None

    def _save(self, path: str, number: int, data: bytes) -> None:
        """Keep a page, whole or not at all; make room first when there is none."""
        with self._lock:
            if self._added == 0 or self._added + len(data) > self._bound // 16:
                self._trim(len(data))
                self._added = 0
            self._added += len(data)
        file = self._folder / f"{self._key(path)}-{number}"
        aside = file.with_name(f".{os.getpid()}-{threading.get_ident()}-{file.name}")
        try:
            aside.write_bytes(data)
            aside.replace(file)
        except OSError:
            aside.unlink(missing_ok=True)  # a full disk costs the cache, not the run

    def _trim(self, coming: int) -> None:
        """Delete the pages unused for longest until the bound holds, with what may come before the next trim."""
        files = sorted((entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in os.scandir(self._folder))
        total, limit = sum(size for _, size, _ in files), self._bound - self._bound // 16 - coming
        if total <= limit:
            return
        for _, size, path in files:
            Path(path).unlink(missing_ok=True)
            total -= size
            if total <= TRIMMED * limit:
                return


def with_cache(place: Place) -> Place:
    """The place itself, or behind the cache that the environment asks for."""
    folder = os.environ.get(FOLDER)
    return CachedPlace(place, Path(folder), bound=int(float(os.environ.get(BOUND, "20")) * 1e9)) if folder else place
