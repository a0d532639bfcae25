"""JSON of any size: the same records whole and one by one, and what is none is one line with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamdata.errors import SourceError
from lamdata.sources.bytes import json_items
from lamdata.sources.bytes.files import SourceFile
from lamdata.sources.bytes.json_items import is_lines, lines, load, members, parse, records

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(-1e6, 1e6).map(lambda x: round(x, 3))
    | st.text("abcé", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", max_size=3), inner, max_size=3),
    max_leaves=8,
)


def source(folder: Path, text: str | bytes, name: str = "x.json") -> SourceFile:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return SourceFile(name=name, path=str(folder / name))


@pytest.fixture
def big(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any file counts as too large to be parsed whole."""
    monkeypatch.setattr(json_items, "WHOLE", 4)


@settings(deadline=None, max_examples=50)
@given(st.lists(VALUES, min_size=2, max_size=5) | st.dictionaries(st.text("abc", min_size=1, max_size=4), VALUES, min_size=2, max_size=5))
def test_records_are_the_same_whole_and_one_by_one(tmp_path_factory: pytest.TempPathFactory, value: list | dict) -> None:
    file = source(tmp_path_factory.getbasetemp(), json.dumps(value))
    whole = list(records(file, under=()))
    assert whole == (list(value.items()) if isinstance(value, dict) else [(str(i), item) for i, item in enumerate(value)])
    before = json_items.WHOLE
    json_items.WHOLE = 1
    try:
        assert list(records(file, under=())) == whole
    finally:
        json_items.WHOLE = before


@pytest.mark.parametrize("key", ["entries", "data"])
def test_a_list_below_a_known_key_stands_for_the_document(tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = source(tmp_path, json.dumps({key: [{"a": 1}, {"a": 2}], "count": 2}))
    assert list(records(file)) == [("0", {"a": 1}), ("1", {"a": 2})]
    monkeypatch.setattr(json_items, "WHOLE", 4)
    assert list(records(file)) == [("0", {"a": 1}), ("1", {"a": 2})]
    assert dict(members({key: {"m": 1}}, under=(key,))) == {"m": 1}


@pytest.mark.parametrize("text", ["", "   ", "3", '"text"', "null", "# no json", "\ufeff[]"])
def test_what_holds_no_records_is_said_so(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceError, match="^x.json: not JSON: it starts with neither"):
        list(records(source(tmp_path, text)))


@pytest.mark.parametrize("text", ["[1, 2", '{"a": 1,}', "[1 2]", '{"a": 01}', "[" * 3000, '["\\ud800', "{'a': 1}"])
def test_damaged_json_is_one_line_whole_and_one_by_one(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = source(tmp_path, text)
    for whole in (64 << 20, 4):
        monkeypatch.setattr(json_items, "WHOLE", whole)
        with pytest.raises(SourceError, match="^x.json: (not JSON|JSON is nested)") as caught:
            list(records(file, under=()))
        assert "\n" not in str(caught.value)


class Pieces:
    """A stream that gives a few bytes at a time."""

    def __init__(self, raw: bytes, size: int):
        self.raw, self.size = raw, size

    def read(self, _: int = -1) -> bytes:
        piece, self.raw = self.raw[: self.size], self.raw[self.size :]
        return piece


def depth_of(raw: bytes, size: int) -> int:
    """The depth at the end of a text that comes in pieces of `size` bytes."""
    bounded = json_items._Bounded(Pieces(raw, size), "x.json")
    while bounded.read():
        pass
    return bounded.depth


@settings(deadline=None, max_examples=100)
@given(VALUES, st.integers(1, 9), st.text('[]{}"\\ab', max_size=9))
def test_brackets_are_counted_outside_of_strings_however_the_text_is_cut(value: object, size: int, text: str) -> None:
    raw = json.dumps([{text: text, "v": value}, text]).encode()
    assert depth_of(raw, size) == depth_of(raw, len(raw)) == 0
    assert depth_of(b"[[" + raw[:-1] + b",[{", size) == 5


@pytest.mark.parametrize("opened", [b"[", b'{"a":', b'["]]]]",', b'[{"]}\\"]}": '])
@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_a_big_file_that_is_nested_too_deeply_is_refused_before_it_is_parsed(
    tmp_path: Path, opened: bytes, size: int, big: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser would take memory by the square of the depth."""
    monkeypatch.setattr(json_items, "DEEPEST", 100)
    with pytest.raises(SourceError, match="x.json: JSON is nested too deeply"):
        depth_of(opened * 101, size)
    with pytest.raises(SourceError, match="x.json: JSON is nested too deeply"):
        list(records(source(tmp_path, b"[" + opened * 101), under=()))
    assert depth_of(opened * 50, size) in (50, 100)


def test_bytes_that_are_no_text_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = source(tmp_path, b'["\xff\xfe", 1]')
    with pytest.raises(SourceError, match="x.json: not JSON: not UTF-8 text"):
        list(records(file))
    monkeypatch.setattr(json_items, "WHOLE", 4)
    with pytest.raises(SourceError, match="x.json: not JSON"):
        list(records(file))


def test_a_record_larger_than_may_be_held_is_refused(tmp_path: Path, big: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_items, "RECORD", 100_000)
    with pytest.raises(SourceError, match="a record of more than 0 MiB"):
        list(records(source(tmp_path, json.dumps([[0] * 300_000]))))


def test_a_document_too_large_to_be_held_is_refused(tmp_path: Path, big: None) -> None:
    with pytest.raises(SourceError, match="a JSON document of more than 0 MiB"):
        load(source(tmp_path, "[1, 2, 3]"))


def test_a_small_document_is_loaded(tmp_path: Path) -> None:
    assert load(source(tmp_path, '{"a": [1, null]}')) == {"a": [1, None]}


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("x.jsonl", "", True),
        ("x.ndjson", "{}", True),
        ("x.json", '{"a": 1}\n{"a": 2}\n', True),
        ("x.json", '\n{"a": 1}\n  {"a": 2}\n', True),
        ("x.json", '{"a": 1}\n', False),
        ("x.json", '{\n"a": 1}\n', False),
        ("x.json", '{"a": 1}\n[1]\n', False),
        ("x.json", '{"a": 1\n{"a": 2}\n', False),
        ("x.json", "[1]\n[2]\n", False),
        ("x.json", '{"a": ' + "[" * 5000 + '\n{"a": 2}\n', False),
        ("x.json", "", False),
    ],
)
def test_lines_of_objects_are_known_by_their_first_two(tmp_path: Path, name: str, text: str, found: bool) -> None:
    assert is_lines(source(tmp_path, text, name)) is found


def test_each_line_has_its_number_and_empty_ones_are_passed_over(tmp_path: Path) -> None:
    assert list(lines(source(tmp_path, '{"a": 1}\n\n  \n{"a": 2}\n[3]'))) == [("0", {"a": 1}), ("3", {"a": 2}), ("4", [3])]
    assert list(lines(source(tmp_path, ""))) == []


def test_a_line_that_is_damaged_or_too_long_is_named_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = source(tmp_path, '{"a": 1}\n{"a": \n')
    with pytest.raises(SourceError, match="^x.json#1: not JSON"):
        list(lines(file))
    monkeypatch.setattr(json_items, "RECORD", 6)
    with pytest.raises(SourceError, match="^x.json#0: a line of more than 0 MiB"):
        list(lines(file))


@pytest.mark.parametrize("raw", [b"\xff", "[" * 200_000, "1" * 6000, "", "nul"])
def test_text_that_is_no_json_is_one_line(raw: bytes | str) -> None:
    with pytest.raises(SourceError, match="^here: (not JSON|JSON is nested)"):
        parse(raw, where="here")


@pytest.mark.parametrize("value", [3, None, "text"])
def test_what_has_no_members_has_none(value: object) -> None:
    assert list(members(value)) == []
