"""SourceFile: one raw file that can be opened wherever it lies."""

from __future__ import annotations

import glob
import io
import os
import posixpath
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from lamdata.errors import SourceError

from .archives import member_sizes, open_member, open_stored_member
from .digests import Kind, digest_of
from .lines import Lines
from .patterns import matches, names_in_url
from .streams import OPENERS, SUFFIXES, Counted, between, is_url, local_path, open_bytes, open_stored, size_of

MAX_TEXT = 128 << 20  # bytes that `text` may hold at once; larger files are for readers that stream
MAX_HELD = 4 << 20  # bytes that `hold` keeps at hand; larger files are read as often as they are opened
PACKS = 4  # how many times smaller a file may be stored that unpacks to so much: text of digits packs less
MAX_LOCAL = 2 << 30  # bytes that `local` writes to a temporary folder
CHUNK = 1 << 20
SMALL = 1 << 16  # bytes: most outputs and inputs have less, and a buffer for more takes longer than to read them


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Frames `first:stop` of a file, so that several workers can share it."""

    first: int
    stop: int
    offset: int = 0  # bytes before the first of them, for a format in which that tells where to begin
    end: int = 0  # bytes before what is behind the last of them, for one in which that tells where to stop


def even_spans(file: SourceFile, size: int, *, count: int) -> list[Span]:
    """All `count` frames of a file, in spans of about `size` bytes."""
    each = max(1, count * size // max(1, file.size))
    return [Span(first=first, stop=min(first + each, count)) for first in range(0, count, each)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One raw file, in a folder, an archive or a bucket. It is small and can be sent to another process."""

    name: str  # relative, with slashes, the same on every machine: stands in `origin` and `group`
    path: str  # local path or URL of the file, or of the archive that holds it
    member: str | None = None  # name inside the archive
    span: Span | None = None  # which of its frames are asked for; only readers that make spans are asked for less than all
    held: bytes | None = field(default=None, repr=False, compare=False)  # all of it, decompressed, while somebody works on it

    @property
    def folder(self) -> str:
        """The part of `name` before the last slash."""
        return posixpath.dirname(self.name)

    @property
    def basename(self) -> str:
        """The last part of `name`, without .gz, .bz2, .xz or .zst."""
        return _unpacked_name(posixpath.basename(self.name))

    @property
    def size(self) -> int:
        """Bytes as stored; 0 where a server does not say."""
        return size_of(self.path) if self.member is None else member_sizes(self.path)[self.member]

    def open(self) -> BinaryIO:
        """Open the decompressed bytes."""
        if self.held is not None:
            return io.BytesIO(self.held)
        return open_bytes(self.path) if self.member is None else open_member(self.path, self.member)

    def stored(self) -> BinaryIO:
        """Open the bytes as they are stored, for what unpacks them itself."""
        stored = open_stored(self.path) if self.member is None else open_stored_member(self.path, self.member)
        return io.BufferedReader(Counted(stored, where=self.name), SMALL)

    def hold(self) -> SourceFile:
        """This file with its bytes at hand, where they are few, so that format, theory and frames take one reading."""
        if self.held is not None or self.span is not None:
            return self
        try:
            room = MAX_HELD // PACKS if (self.member or self.path).endswith(SUFFIXES) else MAX_HELD
            return self if self.size > room else replace(self, held=self.bytes(MAX_HELD))
        except SourceError:  # too large when unpacked; or damaged, which is for the reader to meet where it is
            return self

    def head(self, size: int = 4096) -> bytes:
        """The first decompressed bytes."""
        with self.open() as stream:
            return stream.read(size)

    def text(self) -> str:
        """The whole file as text; a byte that is not UTF-8 becomes a question mark."""
        return self.bytes().decode("utf-8", errors="replace")

    def bytes(self, limit: int = MAX_TEXT) -> bytes:
        """The whole file, decompressed, up to `limit` bytes."""
        with self.open() as stream:
            data = stream.read(min(SMALL, limit + 1))
            if len(data) == SMALL:
                data += stream.read(limit + 1 - SMALL)
        if len(data) > limit:
            raise SourceError(f"more than {limit >> 20} MiB: too large for this format's reader", where=self.name)
        return data

    def lines(self) -> Lines:
        """The lines of a text file with their line ends, one at a time, of its span where that ends somewhere; memory stays small whatever the file."""
        if self.span is None or not self.span.end:
            return Lines(self.open())
        return Lines(between(self.open(), self.span.offset, self.span.end, where=self.name))

    @property
    def sha256(self) -> str:
        """Hash of the bytes as they are stored, as `sha256sum` prints it; of a member as it was put into its archive."""
        return self.digest("sha256")

    def digest(self, kind: Kind) -> str:
        """The same of either kind, as `digests` writes it."""
        with self.stored() as stream:
            return digest_of(stream, kind)

    def sibling(self, name: str) -> SourceFile | None:
        """The file `name` beside this one (plain, .gz, .bz2, .xz or .zst), or `None`; at most one `../` up."""
        for suffix in ("", *SUFFIXES):
            found = self._beside(name + suffix)
            if found is not None and found._exists():
                return found
        return None

    def siblings(self, pattern: str) -> list[SourceFile]:
        """Files beside this one, or in folders below, whose path from here matches `pattern` (plain, .gz, .bz2, .xz or .zst); sorted."""
        patterns = [pattern + suffix for suffix in ("", *SUFFIXES)]
        if self.member is not None:
            base = posixpath.dirname(self.member)
            inside = (posixpath.relpath(m, base or ".") for m in member_sizes(self.path) if not base or m.startswith(base + "/"))
            names = {name for name in inside if any(matches(name, one) for one in patterns)}
        elif is_url(self.path):
            names = {name for one in patterns for name in names_in_url(posixpath.dirname(self.path), one)}
        else:
            here = os.path.dirname(local_path(self.path)) or "."
            found = {name for one in patterns for name in glob.glob(one, root_dir=here, recursive=True)}
            names = {name.replace(os.sep, "/") for name in found if os.path.isfile(os.path.join(here, name))}
        return [one for name in sorted(names) if (one := self._beside(name)) is not None]

    def _beside(self, name: str) -> SourceFile | None:
        steps = PurePosixPath(name).parts
        if not steps or name.startswith("/") or "\0" in name or ".." in steps[1:]:
            return None  # the name may come out of an untrusted file

        def move(path: str) -> str:
            return posixpath.normpath(posixpath.join(posixpath.dirname(path), name))

        if self.member is not None:
            member = move(self.member)
            return None if member.startswith("..") else SourceFile(name=move(self.name), path=self.path, member=member)
        if is_url(self.path):
            protocol, _, rest = self.path.partition("://")
            return SourceFile(name=move(self.name), path=f"{protocol}://{move(rest)}")
        path = os.path.normpath(os.path.join(os.path.dirname(local_path(self.path)), name))
        return SourceFile(name=move(self.name), path=path)

    def _exists(self) -> bool:
        if self.member is not None:
            return self.member in member_sizes(self.path)
        if not is_url(self.path):
            return os.path.isfile(self.path)
        try:
            with open_stored(self.path) as stream:
                return stream is not None
        except SourceError:
            return False

    @contextmanager
    def local(self, *beside: str, limit: int = MAX_LOCAL) -> Iterator[Path]:
        """A real path for a library that insists, with the siblings named in `beside` (those that exist) next to it.

        A plain local file is given as it is. Anything else is written, at most `limit` bytes, to a temporary folder in
        memory where the system has one, and removed at the end.
        """
        others = [found for name in beside if (found := self.sibling(name)) is not None]
        if all(file.is_plain for file in (self, *others)):
            yield Path(local_path(self.path))
            return
        with tempfile.TemporaryDirectory(prefix="lamdata-", dir=_memory_folder(limit)) as folder:
            for file in (self, *others):
                limit -= file._write(Path(folder) / file.basename, limit)
            yield Path(folder) / self.basename

    @property
    def is_plain(self) -> bool:
        """Whether it is a local file as it is, neither compressed nor in an archive."""
        if self.member is not None or is_url(self.path):
            return False
        with open_stored(self.path) as stream:
            return not stream.read(8).startswith(tuple(OPENERS))

    def _write(self, target: Path, limit: int) -> int:
        written = 0
        with self.open() as stream, open(target, "wb") as out:
            while block := stream.read(CHUNK):
                written += len(block)
                if written > limit:
                    raise SourceError(f"more than {limit >> 20} MiB: too large for this format's reader", where=self.name)
                out.write(block)
        return written


def _unpacked_name(name: str) -> str:
    return next((name[: -len(s)] for s in SUFFIXES if name.endswith(s)), name)


def _memory_folder(limit: int) -> str | None:
    """A folder in memory with room for `limit` bytes, if there is one; else the system's own choice."""
    try:
        status = os.statvfs("/dev/shm")
    except OSError:
        return None
    return "/dev/shm" if status.f_bavail * status.f_frsize > limit and os.access("/dev/shm", os.W_OK) else None
