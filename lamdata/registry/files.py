"""Files of a version: a list of paths, sizes and hashes; read only as listed, and copied so that a kill costs no more than one file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..errors import StoreError
from ..places import Place
from ..progress import Progress
from .entry import Entry, Listed

LIST, SUMS = "files.json", "SHA256SUMS"
LARGEST_LIST = 1 << 28  # bytes
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+()@-]{0,199}")  # of a path
AT_ONCE = 4  # files, each held in memory


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that lies in a place."""

    place: Place
    path: str
    listed: Listed


def listed(data: bytes) -> Listed:
    """Size and hash of bytes."""
    return Listed(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def read_listed(file: Stored) -> bytes:
    """The whole file, if it is what the list says; never more bytes than that."""
    where, expected = f"{file.place.url}/{file.path}", file.listed
    size = file.place.size(file.path)
    if size is None:
        raise StoreError("is missing", where=where, hint="ask who published it")
    if size != expected.bytes:
        raise StoreError(f"has {size:,} bytes, the list says {expected.bytes:,}", where=where, hint="ask who published it")
    (view,) = file.place.read_ranges([(file.path, 0, size)]) if size else (b"",)
    data = bytes(view)
    if hashlib.sha256(data).hexdigest() != expected.sha256:
        raise StoreError("does not have the hash that the list says", where=where, hint="the same command tries again")
    return data


def write_list(files: Mapping[str, Listed]) -> bytes:
    """The list as a file: path -> [bytes, sha256], by path."""
    rows = [f" {json.dumps(path)}: {json.dumps([file.bytes, file.sha256])}" for path, file in sorted(files.items())]
    return ("{\n" + ",\n".join(rows) + "\n}\n").encode()


def write_sums(files: Mapping[str, Listed]) -> bytes:
    """The same as `sha256sum -c` reads it."""
    return "".join(f"{file.sha256}  {path}\n" for path, file in sorted(files.items())).encode()


def read_list(place: Place, entry: Entry) -> dict[str, Listed]:
    """The list of a version, verified; a path that leaves its folder is an error."""
    assert entry.listed is not None, "an entry that was read has one"
    where = f"{place.url}/{entry.address}/{LIST}"
    if entry.listed.bytes > LARGEST_LIST:
        raise StoreError(f"{entry.listed.bytes:,} bytes; a list has at most {LARGEST_LIST:,}", where=where)
    data = read_listed(Stored(place, f"{entry.address}/{LIST}", entry.listed))
    try:
        files = {path: Listed(bytes=size, sha256=digest) for path, (size, digest) in json.loads(data).items()}
    except (ValueError, TypeError, AttributeError):
        raise StoreError("is no list of files", where=where, hint="ask who published it") from None
    for path in files:
        check_path(path, where=where)
    return files


def check_path(path: str, *, where: str) -> None:
    """Refuse a path that climbs out, is absolute, hidden, or not plain."""
    if not all(PART.fullmatch(part) for part in path.split("/")):
        raise StoreError(f"path {path!r} is not one below its folder", where=where, hint="nothing of it was written; ask who published it")


def copy(files: Mapping[str, Listed], read: Callable[[str], bytes], target: Place, folder: str, *, title: str, quiet: bool = False) -> int:
    """Bring files below `folder` of the target, each whole or not at all; what is there as listed stays. Returns the bytes that were written."""

    def bring(path: str) -> int:
        there = f"{folder}/{path}"
        if _is_intact(target, there, files[path]):
            return 0
        data = read(path)
        target.write(there, data)
        return len(data)

    written = 0
    with Progress(title, total=len(files), unit="files", quiet=quiet) as progress, ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = [pool.submit(bring, path) for path in files]
        try:
            for future in waiting:
                written += future.result()
                progress.advance()
        finally:
            for future in waiting:
                future.cancel()
    return written


def _is_intact(place: Place, path: str, expected: Listed) -> bool:
    """Whether a file is there as listed: it is read, for a disk or a bucket may have changed it."""
    if place.size(path) != expected.bytes:
        return False
    return hashlib.sha256(place.read(path)).hexdigest() == expected.sha256
