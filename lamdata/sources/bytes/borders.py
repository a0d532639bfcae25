"""Spans of a text in which each frame begins with a line of its own: cut there, where nothing in the text makes that doubtful."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise

from .source_file import CHUNK, SourceFile, Span

BACK = 128  # bytes before a border that are looked at


@dataclass(frozen=True, slots=True)
class Border:
    """How frames are told apart."""

    title: bytes  # the line before which each begins, between line breaks
    words: tuple[bytes, ...]  # each is in a frame once, and nowhere else
    never: tuple[bytes, ...] = ()  # of what is behind them a frame alone does not tell what it means
    between: bytes = b""  # the breaks and lines from the end of one to the title of the next
    not_near: bytes = b""  # a frame in the last bytes of which this stands may not be whole


def spans_of(file: SourceFile, size: int, border: Border) -> list[Span]:
    """Spans of about `size` bytes; none where a frame may begin elsewhere, or is not as all are."""
    if not file.is_plain:
        return []
    counts: Counter[bytes] = Counter()
    sought = {border.title, *border.words, *border.never, b"\r", *filter(None, [border.between])}
    reach = max(map(len, sought)) - 1
    starts, at = [Span(first=0, stop=0)], -1  # the break before the first line is byte -1
    with file.open() as stream:
        before, data, ended = b"", b"\n", False
        while not ended:
            block = stream.read(CHUNK)
            ended, data = not block, data + block
            known = len(data) if ended else max(0, len(data) - reach)  # what begins behind it may go on in the next block
            place = -1
            while True:
                place = data.find(border.title, max(place + 1, starts[-1].offset + size - 1 - at), known + len(border.title) - 1)
                if place < 0:
                    break
                near = data[place - BACK : place] if place >= BACK else (before + data[:place])[-BACK:]
                if not border.not_near or border.not_near not in near:
                    first = counts[border.title] + data.count(border.title, 0, place + len(border.title) - 1)
                    starts.append(Span(first=first, stop=0, offset=at + place + 1))
            for word in sought:
                counts[word] += data.count(word, 0, known + len(word) - 1)
            before, data, at = (before + data[:known])[-BACK:], data[known:], at + known
    frames = counts[border.title]
    doubtful = any(counts[word] for word in (b"\r", *border.never)) or any(counts[word] != frames for word in border.words)
    if doubtful or (border.between and counts[border.between] != frames - 1):
        return []
    end = Span(first=frames, stop=0, offset=at)
    return [replace(start, stop=after.first, end=after.offset) for start, after in pairwise([*starts, end])]
