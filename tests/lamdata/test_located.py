"""YAML with places: values as they stand, and every error at its line and column, or at what was typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamdata import located
from lamdata.errors import ConfigError, ConfigErrors
from lamdata.located import MOST_LISTED, Spec, did_you_mean, parse_yaml, read_yaml, spot_of, validate


class Part(Spec):
    size: int = 1
    name: str | None = None


class Whole(Spec):
    part: Part = Part()
    parts: list[Part] = []
    by_name: dict[str, Part] = {}
    number: float | str = 0.0
    later = ("number",)


def lines(text: str, **places) -> list[str]:
    data, found = parse_yaml(text, where="x.yaml")
    with pytest.raises(ConfigError) as caught:
        validate(data, Whole, where="x.yaml", places=places.get("places", found))
    return [str(error) for error in getattr(caught.value, "errors", [caught.value])]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("part: {size: big}", "x.yaml:1:8: `part.size` is 'big': input should be a valid integer"),
        ("\n\nparts:\n  - {}\n  - {size: 1.5}", "x.yaml:5:6: `parts.1.size` is 1.5"),
        ("by_name:\n  a: {sise: 3}", "x.yaml:2:7: unknown key 'sise'; did you mean 'size'?"),
        ("prt: {}", "x.yaml:1:1: unknown key 'prt'; did you mean 'part'?"),
        ("part: 3", "x.yaml:1:1: `part` is 3"),
        ("parts: {}", "x.yaml:1:1: `parts`: input should be a valid list"),
        ("number: [1]", "x.yaml:1:1: `number`: input should be a valid number, or input should be a valid string"),
        ("number: .nan", "x.yaml:1:1: `number` is nan: input should be a finite number"),
        ("part: {name: " + "a" * 300 + ", size: " + "b" * 300 + "}", "is 'bbb"),
    ],
)
def test_each_error_has_its_place(text: str, said: str) -> None:
    (line,) = lines(text)
    assert said in line and len(line) < 250 and "\n" not in line


def test_several_errors_of_a_file_come_together_in_order() -> None:
    found = lines("part: {size: a}\nparts: [{size: b}, {sze: 1}]\nx: 1")
    assert [line.split(": ")[0] for line in found] == ["x.yaml:1:8", "x.yaml:2:10", "x.yaml:2:21", "x.yaml:3:1"]


def test_data_that_stand_in_no_file_are_placed_by_what_was_said() -> None:
    assert spot_of(("a",), {("a",): "--set a=1"}, where="f") == "--set a=1"
    assert spot_of(("b",), {}, where="model") == "model" and spot_of(("b",), {("a",): (3, 4)}, where="f") == "f:1:1"
    with pytest.raises(ConfigErrors, match="^model: `size` is 'x'"):
        validate({"size": "x"}, Part, where="model", places={})


@pytest.mark.parametrize(("text", "found"), [("", "nothing"), ("null", "nothing"), ("3", "int"), ("[1]", "list"), ("text", "str")])
def test_what_is_no_mapping_is_said(text: str, found: str) -> None:
    assert lines(text) == [f"x.yaml: expected keys and values, found {found}"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: No", {"a": "No"}),
        ("a: yes", {"a": "yes"}),
        ("a: true", {"a": True}),
        ("a: 1e3", {"a": 1000.0}),
        ("a: 0x10", {"a": 16}),
        ("a: 2020-01-02", {"a": "2020-01-02"}),
        ("a: 12:30", {"a": "12:30"}),
        ("a: ~", {"a": None}),
        ("a: '1'", {"a": "1"}),
        ("3: a", {"3": "a"}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert parse_yaml(text, where="x")[0] == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: *b", "x:1:4: not YAML"),
        ("a: &b 1\nc: *b", "x:1:1: anchors and aliases are not allowed|x:1:4: anchors"),
        ("a: !!set {}", "x:1:4: tag .*set is not allowed"),
        ("a: !!python/tuple [1]", "x:1:4: tag .*tuple is not allowed"),
        ("!ours {a: 1}", "x:1:1: tag !ours is not allowed"),
        ("a: !x 1", "x:1:4: tag !x is not allowed"),
        ("? [1]\n: 2", "x:1:3: a key must be text"),
        ("a: 1\na: 2", "x:2:1: key 'a' appears twice"),
        ("a: b: c", "x:1:5: not YAML"),
        ("a: [1\nb: 2", "x:2:"),
        ("a: 'x", "x:1:"),
        ("\ta: 1", "x:1:1: not YAML"),
        ("--- 1\n--- 2", "not YAML"),
    ],
)
def test_what_is_no_plain_data_is_one_line_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse_yaml(text, where="x")
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=60))
def test_any_text_is_data_or_one_line(text: str) -> None:
    try:
        parse_yaml(text, where="x")
    except ConfigError as err:
        assert str(err).startswith("x") and "\n" not in str(err)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("a: 1")
    with pytest.raises(ConfigError, match=r"trian.yaml: no such file; did you mean .*/train.yaml\?"):
        read_yaml(tmp_path / "trian.yaml")
    with pytest.raises(ConfigError, match="the folder .*nowhere does not exist"):
        read_yaml(tmp_path / "nowhere/x.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        read_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: caf\xe9")
    with pytest.raises(ConfigError, match=r"latin.yaml: not UTF-8 text \(byte 6\)"):
        read_yaml(tmp_path / "latin.yaml")


def test_a_file_too_large_for_a_person_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(located, "MAX_BYTES", 10)
    (tmp_path / "x.yaml").write_text("a: 12345678")
    with pytest.raises(ConfigError, match="11 bytes; a config has at most 10"):
        read_yaml(tmp_path / "x.yaml")


def test_a_spec_is_read_and_says_only_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("parts: [{size: 3}, {name: b}]\nby_name: {c: {}}\n")
    data, places = read_yaml(tmp_path / "x.yaml")
    spec = validate(data, Whole, where="x.yaml", places=places)
    assert spec.parts == [Part(size=3), Part(name="b")] and spec.by_name == {"c": Part()}
    assert "number" not in spec.model_dump() and Whole(number=2.0).model_dump()["number"] == 2.0
    assert Whole.model_validate(spec.model_dump(mode="json")) == spec
    with pytest.raises(ValueError, match="frozen"):
        spec.number = 1.0


@pytest.mark.parametrize(
    ("word", "choices", "said"),
    [
        ("foces", ["forces", "energy"], "did you mean 'forces'?"),
        ("FORCES", ["forces"], "did you mean 'forces'?"),
        ("xyz", ["b", "a"], "one of: a, b"),
        ("xyz", [], "there is none"),
        ("xyz", [f"n{i}" for i in range(MOST_LISTED + 1)], f"of the {MOST_LISTED + 1} that are known none is like it"),
    ],
)
def test_a_misspelt_word_is_helped(word: str, choices: list[str], said: str) -> None:
    assert did_you_mean(word, choices) == said
