"""LocalPlace: a store on this machine's disks; a kill or a power cut leaves each object whole or absent."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from ..errors import DiskError, LamError, StoreError
from .place import Object, Range
from .pool import POOL

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "no permission to write",
    errno.EPERM: "no permission to write",
    errno.ENOTDIR: "a file is where a folder should be",
    errno.EISDIR: "a folder is where a file should be",
}


OPEN = 128  # files that are kept open to be read, of all places together
_opened: dict[tuple[object, str], _Open] = {}  # by place, and path in it


class _Open:
    """A file that is open to be read as long as somebody holds this."""

    __slots__ = ("handle",)

    def __init__(self, path: str):
        self.handle = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        with suppress(AttributeError):  # it could not be opened
            os.close(self.handle)


class LocalPlace:
    """A directory."""

    request_bytes = 1 << 19  # what stays in a processor's cache until it is decoded

    def __init__(self, root: str | Path):
        self.url = str(root).rstrip("/") or "/"
        self._root = Path(self.url)
        self._own = object()  # what this place has opened no other is given: under the same path may be another file by then

    def __reduce__(self) -> tuple[type[LocalPlace], tuple[str]]:
        return LocalPlace, (self.url,)  # what is open stays here

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()

    def read_ranges(self, ranges: Sequence[Range]) -> Iterator[memoryview]:
        """One after the other: what was read is then decoded out of the processor's cache, into which the next will go."""
        for path, start, stop in ranges:
            data = POOL.bytes(stop - start).data
            self.fill(path, start, [data])
            yield data

    def fill(self, path: str, start: int, targets: Sequence[memoryview | bytearray]) -> None:
        """Fill targets with a file's bytes from a start on. The file stays open for the next of its ranges."""
        file = _opened.get((self._own, path)) or self._open(path)
        found, size = os.preadv(file.handle, targets, start), sum(map(len, targets))
        if found != size:
            raise StoreError(f"ends after {start + found} bytes, expected at least {start + size}", where=f"{self.url}/{path}")

    def _open(self, path: str) -> _Open:
        try:
            file = _opened[self._own, path] = _Open(f"{self.url}/{path}")
        except FileNotFoundError as err:
            raise StoreError("is missing", where=f"{self.url}/{path}", hint="run `lamdata validate`") from err
        for oldest in list(_opened)[:-OPEN]:
            _opened.pop(oldest, None)  # closed when no other thread reads it any more
        return file

    def write(self, path: str, data: bytes) -> None:
        target = self._root / path
        with explained(target):
            if _link_new(target, data):
                return
            with suppress(FileNotFoundError):  # removed since
                if target.read_bytes() == data:
                    os.utime(target)  # as new as if it had been written: its writer is at work
                    return
            aside = _aside(target)
            _link_new(aside, data)
            os.replace(aside, target)

    def create(self, path: str, data: bytes) -> bool:
        target = self._root / path
        with explained(target):
            return _link_new(target, data)

    def list(self, path: str) -> list[str]:
        folder = self._root / path
        if not folder.is_dir():
            return []
        return sorted(name for name in os.listdir(folder) if not name.startswith(".tmp-"))

    def size(self, path: str) -> int | None:
        try:
            return (self._root / path).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def objects(self, path: str) -> Sequence[Object]:
        """An empty folder, which a kill may leave, is an object of no bytes."""
        found, start = [], str(self._root / path)
        one = [(os.path.dirname(start), list[str](), [os.path.basename(start)])]
        for folder, folders, names in one if os.path.isfile(start) else os.walk(start):
            for name in names if names or folders else ("",):
                file = Path(folder, name)
                with suppress(FileNotFoundError):  # renamed or deleted meanwhile
                    state = file.stat()
                    found.append(Object(str(file.relative_to(self._root)), state.st_size if name else 0, state.st_mtime))
        return sorted(found, key=lambda entry: entry.path)

    def remove(self, path: str) -> None:
        target = self._root / path
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    def forget(self, path: str) -> None:
        pass


def _link_new(target: Path, data: bytes) -> bool:
    """Write and sync a file without a name, then name it in one step; say whether the name was free.

    A file without a name is gone when its writer is killed, so nothing is left behind.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        handle = os.open(target.parent, os.O_TMPFILE | os.O_WRONLY, 0o644)
    except OSError as err:
        os.close(folder)
        if err.errno != errno.EOPNOTSUPP:
            raise
        return _link_new_named(target, data)  # some network file systems have no files without a name
    try:
        with open(handle, "wb", buffering=0) as file:
            _write_all(file, data)
            # With directory handles Python calls linkat, which alone can follow the link to the open file.
            os.link(f"/proc/self/fd/{handle}", target.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
        os.fsync(folder)  # the new name survives a power cut
    except FileExistsError:
        return False
    finally:
        os.close(folder)
    return True


def _link_new_named(target: Path, data: bytes) -> bool:
    """As `_link_new`, by way of a hidden name of the writer's own."""
    aside = _aside(target)
    try:
        with open(aside, "xb", buffering=0) as file:
            _write_all(file, data)
        os.link(aside, target)
    except FileExistsError:
        return False
    finally:
        aside.unlink(missing_ok=True)
    return True


def _aside(target: Path) -> Path:
    return target.parent / f".tmp-{os.getpid()}-{os.urandom(4).hex()}-{target.name}"


def _write_all(file: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
    os.fsync(file.fileno())


@contextmanager
def explained(target: Path) -> Iterator[None]:
    """Turn what the operating system says about a full or protected disk into one clear line."""
    try:
        yield
    except OSError as err:
        if err.errno not in _REASONS or isinstance(err, LamError):
            raise
        raise DiskError(
            f"cannot write: {_REASONS[err.errno]}", where=str(target), hint="mend that, then give the same command again"
        ) from err
