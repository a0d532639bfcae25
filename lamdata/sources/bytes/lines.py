"""Lines of a text, one at a time or from title to title; memory stays small whatever the file.

Output files are mostly what no reader wants. `title` finds the next line that holds one of some titles by searching whole
buffers, which is far quicker than looking at each line.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import BinaryIO

CHUNK = 1 << 20  # characters read at once
MAX_LINE = 1 << 24  # characters; a longer line is given in pieces


class Lines:
    """An iterator over the lines of a stream, each with its line end.

    `_buffer[_at - 1]` is the line break before the current line; places of titles count from the start of the file.
    """

    def __init__(self, stream: BinaryIO):
        self._stream = io.TextIOWrapper(stream, encoding="utf-8", errors="replace")
        self._buffer, self._at, self._base = "\n", 1, 0
        self._places: list[tuple[int, str]] = []  # of titles in the buffer, last first
        self._searched = 0  # up to where the places are known

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        end = self._buffer.find("\n", self._at)
        while end < 0 and len(self._buffer) - self._at < MAX_LINE and self._read():
            end = self._buffer.find("\n", self._at)
        stop = end + 1 if end >= 0 else len(self._buffer)
        if stop == self._at:
            self._stream.close()
            raise StopIteration
        line = self._buffer[self._at : stop]
        self._at = stop
        return line

    def tell(self) -> int:
        """Characters read so far."""
        return self._base + self._at - 1

    @property
    def cut(self) -> bool:
        """Whether the line that was given last has no end: the file stops there, and a number may lack its last digits."""
        return self._buffer[self._at - 1] != "\n"

    def title(self, titles: Mapping[str, str]) -> tuple[str, str] | None:
        """Go to the next line that holds one of `titles` (text -> name); return its name and the line, `None` at the end.

        A title that begins with a line break must stand at the start of its line.
        """
        ended = False
        while True:
            while self._places:
                place, title = self._places.pop()
                inside = place - self._base + title.startswith("\n")
                if inside >= self._at:
                    self._at = max(self._at, self._buffer.rfind("\n", 0, inside) + 1)
                    return titles[title], next(self)
            if self._search(titles, to_end=ended):
                continue
            if ended:
                return None
            # What has been searched is passed over: all but the last line, of which the rest is still to come.
            self._at = max(self._at, self._buffer.rfind("\n") + 1 if len(self._buffer) <= MAX_LINE else len(self._buffer))
            ended = not self._read()

    def _search(self, titles: Mapping[str, str], *, to_end: bool) -> bool:
        """Find all titles in the whole lines of the buffer that are not searched yet; say whether there are any."""
        whole = len(self._buffer) if to_end or len(self._buffer) > MAX_LINE else self._buffer.rfind("\n") + 1
        start = max(self._at - 1, self._searched - self._base)
        for title in titles:
            place = self._buffer.find(title, start, whole)
            while place >= 0:
                self._places.append((self._base + place, title))
                place = self._buffer.find(title, place + 1, whole)
        self._places.sort(reverse=True)
        self._searched = self._base + max(whole - 1, 0)  # the last break may begin a title
        return bool(self._places)

    def _read(self) -> bool:
        """Append to the buffer, dropping what is behind."""
        if self._stream.closed:
            return False
        more, passed = self._stream.read(CHUNK), self._at - 1
        self._buffer, self._base, self._at = self._buffer[passed:] + more, self._base + passed, 1
        return bool(more)


class HeldLines(Lines):
    """Lines of a text that is in memory as a whole: one search for all titles at once goes no further than the next of them."""

    def __init__(self, held: bytes):
        super().__init__(io.BytesIO())
        text = held.decode("utf-8", errors="replace")
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")  # as a text stream gives it
        self._buffer += text

    def title(self, titles: Mapping[str, str]) -> tuple[str, str] | None:
        buffer = self._buffer
        found = _any_of(tuple(titles)).search(buffer, self._at - 1)
        if found is None:
            self._at = max(self._at, buffer.rfind("\n") + 1)
            return None
        title = found[0]
        start = buffer.rfind("\n", 0, found.start() + (title[0] == "\n")) + 1
        stop = buffer.find("\n", start) + 1 or len(buffer)
        self._at = stop
        return titles[title], buffer[start:stop]


@lru_cache(maxsize=100)
def _any_of(titles: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern that finds the next title; of several at one place the least. Branching once on the first letter is quickest."""
    rests: dict[str, list[str]] = {}
    for title in sorted(titles):
        rests.setdefault(title[0], []).append(re.escape(title[1:]))
    return re.compile("|".join(f"{re.escape(first)}(?:{'|'.join(rest)})" for first, rest in rests.items()))
