"""Archives: one member of a tar or zip as a stream, without unpacking the archive to disk.

Each process keeps the few archives that it last used open, with their index.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import BinaryIO

from lamdata.errors import SourceError

from .streams import decompressed, is_url, local_path
from .tar_archive import TarArchive
from .zip_archive import ZipArchive

KEPT = 4  # archives held open in a process
ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst", ".zip")

Stamp = tuple[int, int] | None  # what changes when a local file is rewritten: its time and size

_open_archives: OrderedDict[tuple[str, Stamp], TarArchive | ZipArchive] = OrderedDict()
_lock = threading.RLock()


def _forget() -> None:
    """Start afresh: a forked child must share neither a file position nor a held lock with its parent."""
    global _lock
    _lock = threading.RLock()
    _open_archives.clear()


os.register_at_fork(after_in_child=_forget)


def is_archive(path: str) -> bool:
    """Say, by its name, whether a path or URL is a tar or zip."""
    return _plain(path).endswith(ARCHIVE_SUFFIXES)


def _plain(path: str) -> str:
    return path.split("?")[0].split("#")[0].lower() if is_url(path) else path.lower()


def member_sizes(path: str) -> dict[str, int]:
    """Regular files of an archive: name inside it -> bytes. Links and devices are left out."""
    with _lock:
        return _archive(path).sizes


def open_member(path: str, member: str) -> BinaryIO:
    """Open one member, decompressed if it is itself gz, bz2, xz or zstd."""
    return decompressed(open_stored_member(path, member), name=member, where=f"{path}/{member}")


def open_stored_member(path: str, member: str) -> BinaryIO:
    """Open one member as it was put into the archive."""
    with _lock:
        archive = _archive(path)
        if member not in archive.sizes:
            raise SourceError(f"the archive has no member {member!r}", where=path)
        return archive.open(member)


def _archive(path: str) -> TarArchive | ZipArchive:
    key = (path, _stamp(path))
    if key in _open_archives:
        _open_archives.move_to_end(key)
        return _open_archives[key]
    archive = ZipArchive(path) if _plain(path).endswith(".zip") else TarArchive(path)
    _open_archives[key] = archive
    while len(_open_archives) > KEPT:
        _open_archives.popitem(last=False)[1].close()
    return archive


def _stamp(path: str) -> Stamp:
    """The stamp of a local file; None for a URL."""
    if is_url(path):
        return None
    try:
        status = os.stat(local_path(path))
    except OSError:
        raise SourceError("no such file", where=path) from None
    return status.st_mtime_ns, status.st_size
