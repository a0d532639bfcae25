"""The scanner: to the bit what Python reads, or it says that it does not read it; and the same where nothing is compiled."""

import math
import random
import re
import struct
from decimal import Decimal, localcontext
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lamdata.sources.bytes import scan
from lamdata.sources.bytes.numbers import columns
from lamdata.sources.bytes.scan import Titles, plain_elements, plain_numbers, plain_pairs, skip_lines, take_rows
from lamdata.sources.labelled.extxyz_comment import parse_comment

compiled = pytest.mark.skipif(scan.compiled is None, reason="_scan.c could not be compiled at installation")
NUMBERS = 200_000


def hard_numbers(rng: random.Random) -> str:
    """A number as programs print it, or one that lies half way between two floats, or nearly so, or far out."""
    kind = rng.randrange(8)
    if kind == 0:
        return repr(rng.uniform(-1, 1) * 10 ** rng.randint(-30, 30))
    if kind == 1:
        return f"{rng.uniform(-1000, 1000):.{rng.randint(0, 16)}f}"
    if kind == 2:
        return repr(struct.unpack("d", rng.randbytes(8))[0])
    if kind == 3:
        return f"{rng.choice(['', '-', '+'])}{rng.getrandbits(rng.randint(1, 66))}.{rng.getrandbits(rng.randint(1, 66))}E{rng.randint(-60, 60)}"
    if kind == 4:
        return str((2 * (rng.getrandbits(53) | 1 << 52) + 1) * 2 ** rng.randint(0, 8))
    if kind == 5:
        return f"{rng.getrandbits(64)}e{rng.randint(-330, 85)}"
    if kind == 6:
        return f"{rng.choice(['', '-'])}.{rng.getrandbits(30):012d}"
    with localcontext() as context:
        context.prec = 60
        return str(Decimal(rng.getrandbits(54) | 1) / Decimal(2 ** rng.randint(1, 12)))


@compiled
def test_numbers_are_those_of_python_to_the_bit():
    rng = random.Random(1)
    words = [word for word in (hard_numbers(rng) for _ in range(NUMBERS)) if abs(float(word)) < 1e99]
    out = np.full((len(words), 1), np.nan)
    done, at = take_rows(("\n".join(words) + "\n").encode(), 0, "n", out, style="plain")
    assert done == len(words)
    assert out.tobytes() == np.array(list(map(float, words))).tobytes()


@compiled
@settings(max_examples=300)
@given(st.text("0123456789.+-eEdD* \t", max_size=40))
@example("1.0-103")
@example("-1.25-3.5 ***")
@example("1.0E-3-2.0D+1")
@example("1_0 2")
@example("1e400")
def test_a_line_is_what_python_reads_of_it_or_left_to_python(line):
    for behind in ("", 50 * "\n"):  # where little follows, numbers are read one character after the other
        text = f"{line}\n{behind}".encode()
        for width in range(1, 5):
            out = np.empty((1, width))
            done, at = take_rows(text, 0, "n" * width + "+", out)
            if done:
                assert at == len(line) + 1 and out[0].tobytes() == np.array(columns(line, count=width)[:width]).tobytes()
            exact = np.empty((1, width))
            if take_rows(text, 0, "n" * width, exact, style="plain")[0]:
                assert exact[0].tolist() == [float(word) for word in line.split()]


@compiled
def test_rows_of_words_elements_integers_and_numbers():
    text = b"  Fe 1 0.5 x 2.5\r\nO\t2 -.5 yy 3. 7 and more\nHe 3 1D0 z 1\nFe1 4 0 z 1\n"
    out, numbers = np.zeros((4, 3)), np.zeros(4, np.uint8)
    assert take_rows(text, 0, "einwn*", out, numbers=numbers, style="fortran") == (3, text.index(b"Fe1"))
    assert numbers.tolist()[:3] == [26, 8, 2] and out[:3].tolist() == [[1, 0.5, 2.5], [2, -0.5, 3], [3, 1, 1]]
    assert take_rows(text, 0, "einwn", out, numbers=numbers) == (1, text.index(b"O"))  # nothing may follow
    assert take_rows(b"a force = 1 2</v> x\nb force = 3 4</v>\nc 5 6\n", 0, "nn", out[:, :2].copy(), after=b"force =", until=b"<")[0] == 2
    assert take_rows(b"1 2", 0, "nn", np.zeros((1, 2)))[0] == 0  # the end of the line is still to come


@compiled
def test_what_does_not_fit_is_an_error_and_touches_nothing():
    for at, pattern, count, out in [
        (9, "n", 1, np.zeros(1)),
        (0, "n", 2, np.zeros(1)),
        (0, "q", 1, np.zeros(1)),
        (0, "+n", 1, np.zeros(1)),
        (-1, "n", 1, np.zeros(1)),
    ]:
        with pytest.raises(ValueError):
            scan.compiled.rows(b"1\n2\n", at, pattern, count, out, np.zeros(0, np.uint8), b"", b"", -1, 0)
    with pytest.raises(ValueError):
        scan.compiled.rows(b"H\n", 0, "e", 1, np.zeros(0), np.zeros(0, np.uint8), scan.ELEMENTS, b"", -1, 0)
    for texts in [(), (b"x",), tuple(b"ab" for _ in range(201))]:
        with pytest.raises(ValueError):
            scan.compiled.titles(texts)
    with pytest.raises(ValueError):
        scan.compiled.find(scan.compiled.titles((b"ab",)), b"ab", 0, 3, b"")


@settings(max_examples=300)
@given(
    st.lists(st.text("ab \n", min_size=2, max_size=6), min_size=1, max_size=6, unique=True),
    st.text("ab \n", max_size=80).map(str.encode),
    st.integers(0, 10),
)
def test_the_first_title_is_the_least_at_the_least_place(texts, text, start):
    places = [(place, title) for title in texts if (place := text.find(title.encode(), start)) >= 0]
    found, begin, end, _ = Titles(tuple(texts)).find(text, min(start, len(text)), len(text))
    assert found == (min(places)[1] if places else None)
    if found is not None:
        inside = min(places)[0] + found.startswith("\n")
        assert begin == max(min(start, len(text)), text.rfind(b"\n", 0, inside) + 1)
        assert end == text.find(b"\n", inside) + 1


@compiled
def test_titles_that_are_passed_over_are_counted():
    titles, text = Titles(("aa", "bb", "\ncc")), b"\nx aa 1\naa bb\ncc 3\ncc 4\nbb 5\naa 6\n"
    found, begin, end, seen = titles.find(text, 0, len(text), frozenset(["aa", "\ncc"]))
    assert (found, text[begin:end]) == ("bb", b"bb 5\n")
    assert {title: (count, text[place:].split(b"\n")[title == "\ncc"]) for title, count, place in seen} == {
        "aa": (2, b"aa bb"),
        "\ncc": (2, b"cc 4"),
    }


@compiled
@settings(max_examples=500)
@given(st.text("ab=\"' \\[{}_Nonenul1.\n", max_size=40))
@example('a="1 2" b=None c=_JSON')
@example("a=b=c d= e")
@example('"a b"=1')
def test_pairs_are_those_of_the_whole_grammar(line):
    found = plain_pairs(line.encode())
    assert found is None or found == parse_comment(line) and list(found) == list(parse_comment(line))


@compiled
def test_most_comments_are_plain():
    line = 'Lattice="1.0 0 0 0 1 0 0 0 1" Properties=species:S:1:pos:R:3 energy=-1.5 name=a:b/c-d pbc="T T F"\r\n'
    assert plain_pairs(line.encode()) == parse_comment(line)


XML = (
    "<a>\n <b name=\"x\" >1 <c>2</c></b><b name='y'>3</b>\n<d/></a>",
    '<a><b name="x">1</b><b name="x"/><d><b name="x">4</b></d></a>',
    "<a><b>&amp;</b></a>",
    "<a><!-- no --><b/></a>",
    "<a><b></a></b>",
    "<a><b></b>",
    "<a></a><a></a>",
    '<a><b name="x" name="y"/></a>',
    "<a><b>]]></b></a>",
    "<a>é</a>",
)


@compiled
@settings(max_examples=300)
@given(st.sampled_from(XML), st.lists(st.tuples(st.integers(0, 60), st.sampled_from('<>/abd "=&x')), max_size=2))
def test_elements_are_those_of_a_parser(text, changes):
    for at, other in changes:
        text = text[:at] + other + text[at + 1 :]
    raw = text.encode()
    found = plain_elements(raw, 0, len(raw), (b"/b@x", b"/b", b"/d/b@x"))
    if found is None:
        return
    root = ElementTree.fromstring(text)  # raises where it is not well formed
    inner = [raw[begin:end].decode() for which, begin, end in found if which == 0]
    assert [re.sub("<[^>]*>", "", one) for one in inner] == ["".join(b.itertext()) for b in root.findall("b[@name='x']")]
    assert sum(which == 1 for which, _, _ in found) == len(root.findall("b"))
    assert sum(which == 2 for which, _, _ in found) == len(root.findall("d/b[@name='x']"))


@compiled
def test_plain_xml_is_taken():
    assert plain_elements(XML[1].encode(), 0, len(XML[1]), (b"/b@x",)) == [(0, 15, 16), (0, 33, 33)]
    assert all(plain_elements(text.encode(), 0, len(text.encode()), ()) is None for text in XML[2:])


def test_lines_are_skipped():
    assert skip_lines(b"a\nb\nc", 0, 2) == (2, 4) and skip_lines(b"a\nb\nc", 2, 9) == (1, 4)


@compiled
def test_a_text_of_numbers():
    assert (
        plain_numbers("1 2.5 -3e2", 3).tolist() == [1, 2.5, -300] and plain_numbers("1 2", 3) is None and plain_numbers("1 nan", 2) is None
    )
    assert math.copysign(1, plain_numbers("-0.0", 1)[0]) == -1
