"""Frames that are written alike: as many as follow one another, and the first that is not so ends them."""

import io

import numpy as np
import pytest

from lamdata.sources.bytes import lines as module
from lamdata.sources.bytes import scan
from lamdata.sources.bytes.alike import Line, Template, repeating
from lamdata.sources.bytes.lines import Lines

pytestmark = pytest.mark.skipif(scan.compiled is None, reason="_scan.c could not be compiled at installation")
XYZ = (Line("#", " "), Line("p", pairs=(("E", "n", "n"), ("of", "t", ""), ("kind", "=", "x"), ("more", ".", ""))), Line("a", pattern="enn"))
FRAME = "2\nE={n}.5 of={name} kind=x more=1\nH 0 {n}\nO 1 {n}\n"


def text(*names: str) -> bytes:
    return "".join(FRAME.format(n=n, name=name) for n, name in enumerate(names)).encode()


@pytest.mark.parametrize("chunk", [30, 1 << 20])
def test_many_frames_are_taken_at_once_and_others_are_left(monkeypatch, chunk):
    monkeypatch.setattr(module, "CHUNK", chunk)
    other = b"1\nE=1 of=c kind=y more=1\nH 0 0\n"
    lines, template = Lines(io.BytesIO(text("a", "b", "c") + other)), Template(XYZ, style="plain")
    seen = []
    while (found := lines.alike(template, 1024)) is not None:
        assert found.natoms.tolist() == [2] * len(found) and found.numbers.tolist() == [1, 8] * len(found)
        first = len(seen)
        assert found.table.tolist() == [[x, first + f] for f in range(len(found)) for x in (0, 1)]
        seen += zip(found.values[:, 0].tolist(), found.texts(0), strict=True)
    assert seen == [(0.5, "a"), (1.5, "b"), (2.5, "c")] and lines.next_bytes() == b"1\n"


def test_frames_can_be_given_back_and_are_no_more_than_asked_for():
    lines, template = Lines(io.BytesIO(text("a", "b", "c"))), Template(XYZ, style="plain")
    found = lines.alike(template, 2)
    assert found is not None and len(found) == 2
    lines.back_to(int(found.places[1]))
    again = lines.alike(template, 5)
    assert again is not None and again.texts(0) == ["b", "c"] and lines.alike(template, 5) is None


def test_a_frame_without_its_end_is_left():
    lines, template = Lines(io.BytesIO(text("a", "b")[:-1])), Template(XYZ, style="plain")
    found = lines.alike(template, 5)
    assert found is not None and found.texts(0) == ["a"] and lines.next_bytes() == b"2\n"


def test_titles_that_repeat_and_the_next_one():
    titles = ("energy:", "loop", "change")
    steps = (
        repeating(titles, {"loop": "c", "change": "t"}),
        Line(">", "energy:", pairs=(("total energy:", "n", "n*"),)),
        Line("k", "1"),
        Line("a", pattern="nn"),
    )
    template = Template(steps, style="columns", titles=titles)
    lines = Lines(io.BytesIO(b"loop 1\nx change 1\nloop 2\n total energy: -1.5 eV\n1 2\nloop\nenergy: 3\n1 2\n"))
    found = lines.alike(template, 9)
    assert found is not None and found.values.tolist() == [[2, -1.5]] and found.texts(0) == ["x change 1"]
    assert lines.next_bytes() == b"loop\n"  # the mark before its energy is another


def test_a_template_that_says_nothing_of_atoms_or_too_much_is_an_error():
    for bad in [
        (),
        (Line("."),),
        (*XYZ, XYZ[-1]),
        (Line("e"), XYZ[-1]),
        (Line("n", pattern="e"), XYZ[-1]),
        (Line(">", "no title"), XYZ[-1]),
    ]:
        with pytest.raises((ValueError, StopIteration)):
            Template(bad, style="plain")
    template = Template(XYZ, style="plain")
    room = np.empty(1, np.int64), np.empty(1, np.int64), np.empty(2, np.int64), np.empty(0), np.empty(2), np.empty(1, np.uint8)
    with pytest.raises(ValueError, match="do not fit"):
        scan.compiled.frames(template._known, b"1\n", 0, *room, scan.ELEMENTS, 0)
