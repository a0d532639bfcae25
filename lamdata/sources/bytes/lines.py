"""Lines of a text, one at a time, from title to title, or as a table of numbers; memory stays small whatever the file.

Output files are mostly what no reader wants. `title` finds the next line that holds one of some titles by searching whole
buffers, which is far quicker than looking at each line; and `take` reads a table as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from lamdata.frame import F64

from .alike import Alike, Template
from .scan import NO_NUMBERS, NOTHING, Style, hop_frames, skip_lines, take_rows, titles_of

CHUNK = 1 << 20  # bytes read at once
HEAD = 1 << 12  # bytes
MAX_TABLE = 1 << 28  # bytes that are held to take a table as a whole
SOME = 512  # rows of a table of unknown length that are taken at once
MAX_LINE = 1 << 24  # bytes; a longer line is given in pieces


class Lines:
    """An iterator over the lines of a stream, each with its line end; a byte that is not UTF-8 becomes a question mark.

    `_buffer[_at - 1]` is the line break before the current line. Lines end as Python's text files have it, in any of three ways; with
    `universal=False` in `\\n` alone.
    """

    def __init__(self, stream: BinaryIO, *, universal: bool = True):
        self._stream, self._universal = stream, universal
        self._buffer, self._at, self._base = b"\n", 1, 0
        self._titles: Mapping[str, str] = {}
        self._sought = NOTHING

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.next_bytes()
        if not line:
            raise StopIteration
        return line.decode("utf-8", "replace")

    def next_bytes(self) -> bytes:
        """The next line as it is; nothing at the end."""
        end = self._buffer.find(b"\n", self._at)
        while end < 0 and len(self._buffer) - self._at < MAX_LINE and self._read():
            end = self._buffer.find(b"\n", self._at)
        stop = end + 1 if end >= 0 else len(self._buffer)
        if stop == self._at:
            self._stream.close()
            return b""
        line = self._buffer[self._at : stop]
        self._at = stop
        return line

    def tell(self) -> int:
        """Bytes read so far."""
        return self._base + self._at - 1

    @property
    def cut(self) -> bool:
        """Whether the line that was given last has no end: the file stops there, and a number may lack its last digits."""
        return self._buffer[self._at - 1] != ord("\n")

    def title(
        self, titles: Mapping[str, str], *, passing: frozenset[str] = frozenset(), passed: dict[str, tuple[int, str]] | None = None
    ) -> tuple[str, str] | None:
        """Go to the next line that holds one of `titles` (text -> name); return its name and the line, `None` at the end.

        A title that begins with a line break must stand at the start of its line. Texts that are `passing` may be passed over: then `passed`
        has, by text, how many lines had them as their first title, and the last of these lines.
        """
        if titles is not self._titles:
            self._titles, self._sought = titles, titles_of(tuple(titles))
        ended, passed = False, {} if passed is None else passed
        while True:
            # Of the last line the rest is still to come. The break before a line may begin a title.
            whole = len(self._buffer) if ended or len(self._buffer) > MAX_LINE else self._buffer.rfind(b"\n") + 1
            if whole >= self._at:
                title, begin, end, seen = self._sought.find(self._buffer, self._at - 1, whole, passing)
                for text, count, place in seen:
                    passed[text] = passed.get(text, (0, ""))[0] + count, self._line_at(place + text.startswith("\n"))
                if title is not None:
                    self._at = max(self._at, begin)
                    if not end:
                        return titles[title], next(self)
                    begin, self._at = self._at, end
                    return titles[title], self._buffer[begin:end].decode("utf-8", "replace")
            if ended:
                return None
            self._at = max(self._at, self._buffer.rfind(b"\n") + 1 if len(self._buffer) <= MAX_LINE else len(self._buffer))
            ended = not self._read()

    def _line_at(self, place: int) -> str:
        """The line around a place in the buffer."""
        stop = self._buffer.find(b"\n", place) + 1 or len(self._buffer)
        return self._buffer[self._buffer.rfind(b"\n", 0, place) + 1 : stop].decode("utf-8", "replace")

    def take(
        self,
        pattern: str,
        out: F64,
        *,
        numbers: NDArray[np.uint8] = NO_NUMBERS,
        after: str = "",
        until: str = "",
        style: Style = "columns",
    ) -> bool:
        """Read the next `len(out)` lines as `take_rows` does and pass over them, or say that one is not so, and stay before the first."""
        done, at, mark = 0, self._at, after.encode()
        while True:
            some = numbers[done:] if len(numbers) else numbers
            rows, at = take_rows(self._buffer, at, pattern, out[done:], numbers=some, after=mark, until=until.encode(), style=style)
            done += rows
            if done == len(out):
                self._at = at
                return True
            passed = self._at - 1  # which a reading drops
            if self._buffer.find(b"\n", at) >= 0 or len(self._buffer) - passed > MAX_TABLE or not self._read():
                return False
            at -= passed

    def alike(self, template: Template, most: int) -> Alike | None:
        """Take frames as a template has them and pass over them, as many as lie at hand; None, and stay, where there is none."""
        while True:
            found, self._at, ended = template.take(self._buffer, self._at, most, base=self._base)
            if found is not None or not ended or len(self._buffer) - self._at > MAX_TABLE or not self._read():
                return found

    def take_while(self, pattern: str, width: int) -> F64:
        """Read the next lines as `take_rows` does, as long as they are so: (rows, width)."""
        parts = []
        while True:
            out = np.empty((SOME, width))
            done, self._at = take_rows(self._buffer, self._at, pattern, out, style="plain")
            parts.append(out[:done])
            if done < SOME and (self._buffer.find(b"\n", self._at) >= 0 or not self._read()):
                return np.concatenate(parts)

    def match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Pass over what matches a pattern of some lines, `HEAD` bytes at most, that ends in a line break; None, and stay, where it does not."""
        if len(self._buffer) - self._at < HEAD:
            self._read()
        found = pattern.match(self._buffer, self._at)
        if found is not None:
            self._at = found.end()
        return found

    def skip_blank(self) -> None:
        """Pass over an empty line, if one comes next."""
        if self._buffer.startswith(b"\n", self._at):
            self._at += 1

    def mark(self) -> int:
        """This place, to which `back_to` comes back as long as nothing but one `take` or `alike` happened since."""
        return self._base + self._at

    def back_to(self, mark: int) -> None:
        """Stand again before what was taken."""
        self._at = mark - self._base

    def until(self, stop: Callable[[str], bool]) -> Iterator[str]:
        """The next lines, up to one at which to stop, which then comes again."""
        before = self.mark()
        for line in self:
            if stop(line):
                self.back_to(before)
                return
            yield line
            before = self.mark()

    def skip(self, count: int) -> None:
        """Pass over lines."""
        while True:
            passed, self._at = skip_lines(self._buffer, self._at, count)
            count -= passed
            if count <= 0:
                return
            self._at = max(self._at, len(self._buffer) if len(self._buffer) - self._at > MAX_LINE else 0)
            if not self._read():
                self._at = len(self._buffer)
                return

    def hop(self, upto: int) -> int:
        """Pass over frames as `hop_frames` does, of those that begin before `upto` as `tell` counts; return how many."""
        hopped, self._at = hop_frames(self._buffer, self._at, upto - self._base + 1)
        return hopped

    def _read(self) -> bool:
        """Append to the buffer, dropping what is behind; twice as much each time where nothing is."""
        if self._stream.closed:
            return False
        passed = self._at - 1
        kept = self._buffer[passed:]
        more = self._stream.read(max(CHUNK, len(kept) if len(kept) > 1 else 0))
        if self._universal and b"\r" in more:
            while more.endswith(b"\r") and (one := self._stream.read(1)):  # half of a line end
                more += one
            more = more.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._buffer, self._base, self._at = kept + more, self._base + passed, 1
        return bool(more)
