"""JSON of any size -> its records one by one, with depth and size bounded.

A small file is parsed whole; of a big one (`ijson`) one record at a time is held.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from lamdata.errors import SourceError, need

from .files import SourceFile
from .say import say

WHOLE = 64 << 20  # bytes of a file that is parsed in one go; ten times as much memory
LINE = 1 << 20  # bytes in which a first line must end to be known as one
RECORD = 64 << 20  # bytes that one record of a bigger file, or a line of a JSONL file, may have
DEEPEST = 1000  # brackets that are open at once; ijson keeps the path of each, so that its memory grows with their square
STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|("(?s:.)*)')  # or, as a group, the beginning of one
NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
LEVEL = np.zeros(256, np.int64)
LEVEL[list(b"[{")], LEVEL[list(b"]}")] = 1, -1


def load(file: SourceFile) -> Any:
    """Return the one document of a small file."""
    held = read_small(file)
    if held is None:
        raise SourceError(f"a JSON document of more than {WHOLE >> 20} MiB", where=file.name)
    return parse(held, where=file.name)


def read_small(file: SourceFile) -> bytes | None:
    """The bytes of a file that is small enough to be parsed whole, else `None`."""
    with file.open() as stream:
        raw = stream.read(WHOLE + 1)
    return raw if len(raw) <= WHOLE else None


def is_lines(file: SourceFile) -> bool:
    """Say whether a file holds a JSON object in each line, whatever its name."""
    if file.basename.endswith((".jsonl", ".ndjson")):
        return True
    if not file.head(64).lstrip().startswith(b"{"):
        return False
    first, _, rest = file.head(LINE).lstrip().partition(b"\n")
    if not rest.lstrip().startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def parse(raw: bytes | str, *, where: str) -> Any:
    """Parse JSON text; too deep (Python's recursion limit), not JSON and not UTF-8 are one error each."""
    try:
        return json.loads(raw)
    except RecursionError:
        raise SourceError("JSON is nested too deeply", where=where) from None
    except UnicodeDecodeError:
        raise SourceError("not JSON: not UTF-8 text", where=where) from None
    except ValueError as err:
        raise SourceError(f"not JSON: {say(err)}", where=where) from None


def records(file: SourceFile, *, under: tuple[str, ...] = ("entries", "data")) -> Iterator[tuple[str, Any]]:
    """Yield (key, record) for each member of the outermost list or object.

    An object that has one of the keys `under` stands for the list below it. The key of a list's member is its position.
    """
    head = file.head(4096).lstrip()
    if head[:1] not in (b"[", b"{"):
        raise SourceError("not JSON: it starts with neither [ nor {", where=file.name)
    with file.open() as stream:
        raw = stream.read(WHOLE + 1)
        if len(raw) <= WHOLE:
            yield from members(parse(raw, where=file.name), under=under)
            return
    yield from _big(file, head, under)


def members(value: Any, *, under: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """(key, member) of a list or an object in memory; see `records`."""
    if isinstance(value, dict):
        inner = next((value[key] for key in under if isinstance(value.get(key), (list, dict))), None)
        yield from value.items() if inner is None else members(inner)
    elif isinstance(value, list):
        yield from ((str(i), member) for i, member in enumerate(value))


def lines(file: SourceFile) -> Iterator[tuple[str, Any]]:
    """Yield (line number from 0, value) of a JSONL file."""
    with file.open() as stream:
        for i in itertools.count():
            line = stream.readline(RECORD + 1)
            if not line:
                return
            if len(line) > RECORD:
                raise SourceError(f"a line of more than {RECORD >> 20} MiB", where=f"{file.name}#{i}")
            if line.strip():
                yield str(i), parse(line, where=f"{file.name}#{i}")


def _big(file: SourceFile, head: bytes, under: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Records of a file too big to be parsed whole; an object must have its list first, or be a table of records."""
    ijson = need("ijson")
    listed = head[:1] == b"["
    prefix = next((f"{key}.item" for key in under if b'"%s"' % key.encode() in head[:256]), None)
    with file.open() as stream:
        bounded = _Bounded(stream, file.name)
        try:
            if listed or prefix:
                found = enumerate(ijson.items(bounded, "item" if listed else prefix, use_float=True))
            else:
                found = ijson.kvitems(bounded, "", use_float=True)
            for key, record in found:
                bounded.left = RECORD
                yield str(key), record
        except (ijson.JSONError, UnicodeDecodeError, ValueError, RecursionError) as err:
            raise SourceError(f"not JSON: {say(err)}", where=file.name) from err


class _Bounded:
    """A stream that refuses to feed one record more than `RECORD` bytes, or brackets nested deeper than `DEEPEST`."""

    def __init__(self, stream: IO[bytes], name: str):
        self.stream, self.name, self.left = stream, name, RECORD
        self.depth, self.open = 0, b""  # brackets; the quote, and the escape, of a string that goes on in the next chunk

    def read(self, n: int = -1) -> bytes:
        chunk = self.stream.read(n if n >= 0 else 1 << 16)
        self.left -= len(chunk)
        if self.left < 0:
            raise SourceError(f"a record of more than {RECORD >> 20} MiB", where=self.name)
        self._descend(chunk)
        return chunk

    def _descend(self, chunk: bytes) -> None:
        outside = STRING.sub(rb"\1", self.open + chunk)
        outside, quote, rest = outside.partition(b'"')
        self.open = quote + b"\\" * ((len(rest) - len(rest.rstrip(b"\\"))) % 2)
        levels = self.depth + np.cumsum(LEVEL[np.frombuffer(outside.translate(None, NO_BRACKETS), np.uint8)])
        if levels.max(initial=0) > DEEPEST:
            raise SourceError("JSON is nested too deeply", where=self.name)
        self.depth = int(levels[-1]) if len(levels) else self.depth
