"""An output that was killed, behind which the next run went on in the same file: nothing is lost in silence, and nothing is made of two halves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from lamdata.catalog import SourceSpec
from lamdata.errors import LamError
from lamdata.frame import Frame, Rejection
from lamdata.sources import SourceFile, read_all, reader
from tests.lamdata.sources.bytes.scan_fuzz import TEXTS
from tests.lamdata.sources.test_cut_files import labels, same_but_for_what_is_missing

CUTS = 40  # of a text, about, each also within its line


def read(text: str, basename: str, name: str, choices: dict) -> list[Frame | Rejection]:
    file = SourceFile(name=basename, path=f"/nonexistent/{basename}", held=text.encode())
    return list(read_all(file, SourceSpec(path="x", format=name, **choices), use=reader(name)))


def values(items: list[Frame | Rejection]) -> list[tuple]:
    """What frames say, without their group, in which some formats have the place in the file."""
    return [labels(replace(item, group="")) for item in items if isinstance(item, Frame)]


def cut(text: str) -> Iterator[str]:
    lines = text.splitlines(keepends=True)
    for number in range(1, len(lines), 1 + len(lines) // CUTS):
        head = "".join(lines[:number])
        yield head
        yield head + lines[number][: len(lines[number]) // 2]


@pytest.mark.parametrize("name", TEXTS)
def test_what_follows_a_killed_run_is_read_or_refused_and_never_passed_over(name: str) -> None:
    basename, reader_name, make, choices = TEXTS[name]
    text = make()
    whole = read(text, basename, reader_name, choices)
    for head in cut(text):
        try:
            before = read(head, basename, reader_name, choices)
        except LamError:
            before = []
        try:
            both = read(head + text, basename, reader_name, choices)
        except LamError:
            continue  # which names the place
        assert len(both) >= len(values(before)) + len(whole), f"{name}: {len(both)} of {len(before)} and {len(whole)} behind {head[-60:]!r}"
        if head[-1] == "\n":  # else a number may have been written on by the next run
            known = values(before) + values(whole)
            strange = [one for one in values(both) if not any(same_but_for_what_is_missing(one, other) for other in known)]
            assert not strange, f"{name}: neither run has {strange[0]!r:.200}, behind {head[-60:]!r}"
