"""Lines: whole lines, one at a time or from title to title, whatever the size of the buffer."""

import io
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lamdata.sources.bytes import lines as module
from lamdata.sources.bytes.lines import Lines
from lamdata.sources.bytes.numbers import columns, first_number, floats

TITLES = {"ab": "anywhere", "\nc": "start"}


def slow(text: str) -> list[tuple[str, str]]:
    """What `title` must find, by looking at each line."""
    found = []
    for line in text.splitlines(keepends=True):
        places = [(line.find("ab"), "anywhere")] * ("ab" in line) + [(-1, "start")] * line.startswith("c")
        found += [(min(places)[1], line)] if places else []
    return found


@given(st.text("abc\n", max_size=60), st.integers(1, 9))
def test_titles_are_found_as_by_looking_at_each_line(text, chunk):
    whole, module.CHUNK = module.CHUNK, chunk
    try:
        lines, found = Lines(io.BytesIO(text.encode())), []
        while (hit := lines.title(TITLES)) is not None:
            found.append(hit)
    finally:
        module.CHUNK = whole
    assert found == slow(text)


@settings(max_examples=500)
@given(st.text("ab\n", max_size=40), st.integers(1, 20))
@example("ab\nx\nab\nx\nab\n" * 3, 20)
def test_lines_between_titles_can_be_taken(text, chunk):
    whole, module.CHUNK = module.CHUNK, chunk
    try:
        lines, taken = Lines(io.BytesIO(text.encode())), []
        while (hit := lines.title({"ab": ""})) is not None:
            taken += [hit[1], next(lines, None)]
    finally:
        module.CHUNK = whole
    rest, expected = text.splitlines(keepends=True), []
    while any("ab" in line for line in rest):
        first = next(i for i, line in enumerate(rest) if "ab" in line)
        expected += [rest[first], rest[first + 1] if first + 1 < len(rest) else None]
        rest = rest[first + 2 :]
    assert taken == expected


def test_a_line_without_end_is_given_in_pieces(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 8)
    monkeypatch.setattr(module, "MAX_LINE", 16)
    pieces = list(Lines(io.BytesIO(b"x" * 100)))
    assert "".join(pieces) == "x" * 100 and len(pieces) > 3


@pytest.mark.parametrize("text", [b"x" * (64 << 20), b"xxxxxxx\n" * (8 << 20)])
def test_memory_stays_small_where_there_are_no_titles(text):
    tracemalloc.start()
    assert Lines(io.BytesIO(text)).title({"ab": ""}) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * module.MAX_LINE


def test_numbers_that_run_together_are_parted():
    assert columns(" 1.5-2.5 (3.0D-3) -4.E2") == [1.5, -2.5, 3e-3, -400.0]
    assert str(columns("1.0 ****")) == "[1.0, nan]"
    assert floats("E = -1.5 Ry after 3 steps") == [-1.5, 3.0]
    with pytest.raises(ValueError, match="not a number: 'xx1.5'"):
        columns("0.5 xx1.5")


def test_words_that_ran_together_are_taken_apart_by_their_decimals():
    assert columns(" 0.000000000  0.000000000211.250000125") == [0.0, 0.0, 211.250000125]
    assert columns("1000.12345-200.543219.00001") == [1000.12345, -200.54321, 9.00001]
    assert columns("0.10E+010.20E+01-0.3E-02") == [1.0, 2.0, -0.003]
    assert columns("0.1250-103 2.0") == [0.125e-103, 2.0]  # Fortran leaves the E out before three digits
    with pytest.raises(ValueError, match="not a number"):
        columns("1.25.375")


def test_stars_are_nan_wherever_they_stand():
    assert str(columns("1.50****2.5 -0.5*****")) == "[1.5, nan, 2.5, -0.5, nan]"
    assert str(columns("**************** 1.0", count=3)) == "[nan, nan, nan]"  # two columns or one: nobody knows
    assert str(first_number(" = ******** eV, 3 steps")) == "nan" and first_number("E = -1.5*2") == -1.5
    with pytest.raises(ValueError, match="no number"):
        first_number("none")
