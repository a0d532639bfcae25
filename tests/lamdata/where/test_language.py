"""The language of expressions: what it understands, and what it says where it does not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamdata.errors import ConfigError
from lamdata.where import columns_of, condition_of, keys_of, parse
from lamdata.where.language import CALLS
from lamdata.where.tree import (
    QUANTITIES,
    TEXTS,
    AllOf,
    Both,
    Compare,
    CountOf,
    Either,
    Info,
    InSplit,
    Not,
    Number,
    OnlyOf,
    Quantity,
    TextIn,
    TextLike,
)
from tests.conftest import ROOT

NATOMS = Quantity("natoms")
SAME = {
    "natoms >= 2": "2 <= natoms",
    "1 <= natoms <= 8": "natoms >= 1 and natoms <= 8",
    "not natoms == 4": "natoms != 4",
    "Li in elements": "has(Li)",
    "Li not in elements": "not has(Li)",
    "elements <= {Si, O}": "{O, Si} >= elements",
    "elements == {Si}": "elements <= {Si} and elements >= {Si}",
    "elements < {Si, O}": "elements <= {Si, O} and not elements >= {Si, O}",
    "elements > {Si}": "{Si} < elements",
    "elements != {Si}": "not (elements <= {Si} and elements >= {Si})",
    "has(Li, O)": "elements >= {Li, O}",
    "split == test": "split in {test}",
    "train != split": 'split not in ["train"]',
    'group == "a"': 'group in {"a"}',
    "natoms <= -(-8)": "natoms <= 8",
    "natoms <= 64\n  and has(Li)": "natoms <= 64 and has(Li)",
    "charge == -1": "charge == -1.0",
}


@pytest.mark.parametrize("text", SAME)
def test_two_ways_to_say_it_are_one(text: str) -> None:
    assert parse(text) == parse(SAME[text])


def test_a_tree_is_what_was_written() -> None:
    assert parse("natoms <= 64 and (has(Li) or n(O) / natoms > 0.5)") == Both(
        Compare("<=", NATOMS, Number(64)), Either(AllOf(frozenset([3])), parse("n(O) / natoms > 0.5"))
    )
    assert parse("n(In) >= 1 and n(As) == 0").left == Compare("<=", Number(1), CountOf(49)), "symbols that look like words of Python"
    assert parse("not split in {train, test}") == Not(InSplit(frozenset([0, 2])))
    assert parse('matches(file, "*/OUTCAR")') == TextLike("file", "*/OUTCAR") and parse('"é#1" == origin') == TextIn(
        "origin", frozenset(["é#1"])
    )
    assert parse('info["T"] > 300') == Compare("<", Number(300), Info("T"))
    assert parse('"a b" != info["config_type"]') == Not(TextIn(Info("config_type"), frozenset(["a b"])))
    assert parse('matches(info["x"], "a*") and info["x"] in {"b"}') == Both(TextLike(Info("x"), "a*"), TextIn(Info("x"), frozenset(["b"])))
    assert condition_of() is None and condition_of(elements=[]) == OnlyOf(frozenset())
    assert condition_of(natoms=(1, 8), where="has(Li)") == parse("1 <= natoms <= 8 and has(Li)")


def test_what_must_be_read_is_known_beforehand() -> None:
    assert columns_of(parse("natoms < 3 and split == test")) == {"natoms", "split"}
    assert columns_of(parse('max_force < 2 or file == "a"')) == {"has_forces", "forces", "origin"}
    assert columns_of(parse('info["T"] + natoms < 3 or info["k"] == "x"')) == {"natoms", "info"}
    assert keys_of(parse('info["T"] < 3 and not (matches(info["k"], "x") or 2 * info["U"] > n(O))')) == {"T", "k", "U"}
    assert columns_of(parse("energy_above_references + n(O) < 1")) == {"has_energy", "energy", "numbers", "references"}


WRONG = {
    "natom <= 8": ("column 1", "unknown name 'natom'; did you mean 'natoms'?"),
    "natoms <= 8 and hass(Li)": ("column 17", "there is no hass(...); there are has(Li), has(Li, O) or has(forces), n(O), matches"),
    "natoms <= 8 and Li": ("column 17", "Li is an element; write `has(Li)`"),
    "has(Xx)": ("column 5", "Xx is no element and no label"),
    "has(li)": ("column 5", "li is no element and no label; did you mean 'Li'?"),
    "has()": ("column 1", "write has(Li)"),
    "n(Li, O) > 1": ("column 1", "write one element, as in n(O)"),
    "n(forces) > 1": ("column 3", "forces is no element"),
    "natoms": ("column 1", "`natoms` is not true or false by itself; compare it, as in `natoms <= 8`"),
    "n(O)": ("column 1", "compare it, as in `n(O) <= 8`"),
    "split": ("column 1", "compare it, as in `split == train`"),
    "test": ("column 1", "test is a split; write `split == test`"),
    "split == valid": ("column 10", "valid is no split; did you mean 'validation'?"),
    "split < test": ("column 1", "`split` has no order; write `split == train`"),
    "elements <= Si": ("column 1", "write it in braces, as in `elements <= {Si, O}`"),
    "elements in {Si}": ("column 1", "write `elements <= {Si, O}`"),
    "elements <= {Si, Ox}": ("column 18", "Ox is no element; did you mean 'O'?"),
    "elements + 1 < 3": ("column 1", "`elements` is no number"),
    "group == md": ("column 10", '`md` is no text; write it in quotes, as in group == "md-300K"'),
    "natoms == '8'": ("column 11", "'8' is no number"),
    "natoms in {1, 2}": ("column 1", "`natoms in ...` is not understood"),
    'matches(natoms, "8")': ("column 1", "of group, origin, file"),
    "natoms = 8": ("column 8", "write `==` to compare"),
    "natoms < 8 && has(Li)": ("column 13", "write `and`"),
    "!has(Li)": ("column 1", "write `not`"),
    "(natoms < 8) & has(Li)": ("column 1", "write `and`"),
    "(natoms < 8": ("column 1", "was never closed"),
    "natoms ** 2 < 8": ("column 1", "write a product"),
    "natoms is 8": ("column 1", "write `==`"),
    "has(Li) + 1 < 2": ("column 1", "`has(...)` is true or false, and no number"),
    "": ("column 1", "an expression is like `natoms <= 64 and has(Li)`"),
    "   ": ("column", "an expression is like"),
    "1e999 > natoms": ("column 1", "the number is too large"),
    "info": ("column 1", 'write info["config_type"]'),
    'info["k"]': ("column 1", """compare it, as in `info["k"] == "..."`"""),
    'info["k"] < "a"': ("column 1", '`info["k"]` has no order'),
    'info["k"] == liquid': ("column 14", "`liquid` is no text; write it in quotes"),
    'info["k"] in {1}': ("column 15", "`1` is no text; write it in quotes"),
    "info.T > 300": ("column 1", 'a key that the card keeps is written info["T"]'),
    "info.T": ("column 1", 'a key that the card keeps is written info["T"]'),
    "info[3] > 2": ("column 1", "a key that the card keeps is written info["),
    'group["k"] == "a"': ("column 1", "a key that the card keeps is written info["),
    "natoms.real < 3": ("column 1", "`natoms.real` is no number"),
    "__import__('os').system('true')": ("column 1", "there is no __import__('os').system(...)"),
    "(lambda: 1)() > 0": ("column 1", "there is no lambda: 1(...)"),
    "[x for x in elements]": ("column 1", "is not true or false"),
    "natoms < 8 if has(Li) else natoms < 9": ("column 1", "is not true or false"),
    "é < 1": ("column 1", "unknown name 'é'"),
    '"é" == group and natom < 3': ("column 18", "did you mean 'natoms'?"),
    " natoms < natom": ("column 11", "did you mean 'natoms'?"),
    "True": ("column 1", "`True` is not true or false; an expression is like"),
    "natoms < True": ("column 10", "True is no number"),
    "\0": ("column 1", "an expression is like"),
    "(" * 300: ("column", "too many nested parentheses"),
    "not " * 100 + "has(Li)": ("column", "it is nested too deeply"),
    "natoms" + "+1" * 100 + " < 3": ("column", "it is nested too deeply"),
    "natoms < 3 or " * 400 + "natoms < 3": (None, "a list of frames is `lamdata select --from-list`"),
}


@pytest.mark.parametrize("text", WRONG, ids=[repr(text)[:40] for text in WRONG])
def test_what_is_wrong_is_said_with_its_place_and_what_to_write(text: str) -> None:
    place, words = WRONG[text]
    with pytest.raises(ConfigError) as raised:
        parse(text)
    assert words in str(raised.value), str(raised.value)
    assert place is None or (raised.value.where or "").endswith(place) or place == "column" and "column" in raised.value.where, (
        raised.value.where
    )


def test_the_page_names_all_that_can_be_said() -> None:
    page = (ROOT / "docs/selection.md").read_text()
    assert [name for name in (*QUANTITIES, *TEXTS, "elements", "split", *CALLS) if f"`{name}" not in page] == []
    for text in re.findall(r"""(?:where|keep): ?"([^"]+)"|where="([^"]+)"|--where '([^']+)'""", page):
        parse(next(filter(None, text)))


def test_many_alternatives_are_no_depth() -> None:
    assert columns_of(parse(" or ".join(f'group == "{i}"' for i in range(200)))) == {"group"}


@settings(deadline=None, max_examples=300)
@given(st.text(st.sampled_from(list("natoms elements has(LiO){},<>=!&|+-*/.0123456789 splitandor\"'[]:\\é\0\n")), max_size=40))
def test_any_text_is_an_expression_or_one_line_of_an_error(text: str) -> None:
    try:
        parse(text)
    except ConfigError as err:
        assert "\n" not in str(err)  # noqa: PT017 (either way is right)
