"""LMDB files without the C library: the same keys and values, and every pointer that leads nowhere is one line."""

from __future__ import annotations

import struct
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamdata.errors import SourceError
from lamdata.sources.bytes.lmdb_pages import HEADER, LmdbFile

PAGE = 4096


def write(path: Path, pairs: dict[bytes, bytes]) -> Path:
    with lmdb.open(str(path), subdir=False, map_size=64 << 20) as env, env.begin(write=True) as txn:
        for key, value in pairs.items():
            txn.put(key, value)
    return path


def read(path: Path) -> dict[bytes, bytes]:
    with LmdbFile(path, where="x.lmdb") as data:
        return {entry.key: data.value(entry) for entry in data.entries()}


@pytest.mark.parametrize("count", [0, 1, 3, 2500])
def test_small_values_are_those_that_were_put(tmp_path: Path, count: int) -> None:
    pairs = {str(i).encode(): b"value %d" % (i * i) for i in range(count)}
    assert read(write(tmp_path / "x.lmdb", pairs)) == pairs


@pytest.mark.parametrize("size", [0, 1, 2000, 2030, 5000, 100_000])
def test_values_on_pages_of_their_own_are_read_whole(tmp_path: Path, size: int) -> None:
    pairs = {b"0": bytes(range(256)) * (size // 256) + b"x" * (size % 256), b"1": b"small"}
    assert read(write(tmp_path / "x.lmdb", pairs)) == pairs


def test_numbers_come_in_numeric_order_and_words_after_them(tmp_path: Path) -> None:
    keys = [b"10", b"9", b"2", b"length", b"100", b"0", b"about"]
    assert list(read(write(tmp_path / "x.lmdb", dict.fromkeys(keys, b"")))) == [
        b"0", b"2", b"9", b"10", b"100", b"about", b"length",
    ]  # fmt: skip


def test_the_later_of_two_commits_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "x.lmdb", {b"0": b"old"})
    for i in range(3):
        write(path, {b"0": b"new %d" % i, b"1": b"more"})
    assert read(path) == {b"0": b"new 2", b"1": b"more"}


def damaged(path: Path, offset: int, fmt: str, *values: int) -> SourceError:
    raw = bytearray(path.read_bytes())
    struct.pack_into(fmt, raw, offset, *values)
    path.write_bytes(raw)
    with pytest.raises(SourceError) as caught:
        read(path)
    assert str(caught.value).startswith("x.lmdb: damaged LMDB file: ") and "\n" not in str(caught.value)
    return caught.value


def newest(path: Path) -> tuple[int, int]:
    """(where the newer meta page begins, its root page)."""
    raw = path.read_bytes()
    metas = [(struct.unpack_from("<Q", raw, p * PAGE + HEADER + 128)[0], p * PAGE) for p in (0, 1)]
    at = max(metas)[1]
    return at, struct.unpack_from("<Q", raw, at + HEADER + 24 + 48 + 40)[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "x.lmdb", {str(i).encode(): b"v" * 40 for i in range(5)})


@pytest.mark.parametrize("page", [0, 1])
def test_another_magic_or_version_is_no_lmdb_file(path: Path, page: int) -> None:
    assert "not an LMDB file of data version 1" in str(damaged(path, page * PAGE + HEADER + 4, "<I", 2))
    assert "not an LMDB file" in str(damaged(path, page * PAGE + HEADER, "<I", 0))


@pytest.mark.parametrize("size", [0, 100, 4097, 1 << 30])
def test_a_page_size_that_lmdb_never_has(path: Path, size: int) -> None:
    assert f"page size {size}" in str(damaged(path, HEADER + 24, "<I", size))


def test_a_root_behind_the_end(path: Path) -> None:
    at, _ = newest(path)
    assert "a pointer to behind its end: is it truncated?" in str(damaged(path, at + HEADER + 24 + 48 + 40, "<Q", 10**6))


def test_a_root_that_is_no_page_of_a_tree(path: Path) -> None:
    at, root = newest(path)
    assert f"page {root} is no page of a tree" in str(damaged(path, root * PAGE + 10, "<H", 0x04))
    assert "is no page of a tree" in str(damaged(path, root * PAGE + 10, "<HH", 0x02, PAGE + 1))
    assert "is no page of a tree" in str(damaged(path, root * PAGE + 10, "<HH", 0x02, 3))


def test_another_number_of_entries_than_the_header_says(path: Path) -> None:
    at, _ = newest(path)
    assert "5 entries, its header says 6" in str(damaged(path, at + HEADER + 24 + 48 + 32, "<Q", 6))


def test_an_empty_root_with_entries(path: Path) -> None:
    at, _ = newest(path)
    assert "0 entries, its header says 5" in str(damaged(path, at + HEADER + 24 + 48 + 40, "<Q", 2**64 - 1))


def test_a_branch_that_leads_to_itself(path: Path) -> None:
    _, root = newest(path)
    raw = bytearray(path.read_bytes())
    (pointer,) = struct.unpack_from("<H", raw, root * PAGE + HEADER)
    struct.pack_into("<H", raw, root * PAGE + 10, 0x01)  # a branch, whose nodes hold the page of a child
    struct.pack_into("<HHH", raw, root * PAGE + pointer, root & 0xFFFF, 0, 0)
    path.write_bytes(raw)
    with pytest.raises(SourceError, match=f"page {root} is its own ancestor"):
        read(path)


def test_nodes_that_lead_outside_their_page(path: Path) -> None:
    _, root = newest(path)
    (pointer,) = struct.unpack_from("<H", path.read_bytes(), root * PAGE + HEADER)
    before = path.read_bytes()
    assert f"a value outside page {root}" in str(damaged(path, root * PAGE + pointer, "<HH", 0xFFFF, 0))
    path.write_bytes(before)
    assert "named sub-databases are not read" in str(damaged(path, root * PAGE + pointer + 4, "<H", 0x02))
    path.write_bytes(before)
    assert "a value of 4294967295 bytes" in str(damaged(path, root * PAGE + pointer, "<HHH", 0xFFFF, 0xFFFF, 0x01))
    path.write_bytes(before)
    assert f"a node outside page {root}" in str(damaged(path, root * PAGE + HEADER, "<H", PAGE - 2))


@pytest.mark.parametrize("left", [0, 10, HEADER + 100, PAGE + 20, 2 * PAGE, 3 * PAGE - 1])
def test_a_file_that_ends_anywhere_is_one_line(path: Path, left: int) -> None:
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(SourceError, match="truncated|not an LMDB file"):
        read(path)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_flipped_bit_gives_values_or_one_line(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    raw = flipped(tmp_path_factory)
    at = data.draw(st.integers(0, len(raw) - 1))
    changed = bytearray(raw)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "flipped.lmdb"
    path.write_bytes(changed)
    try:
        read(path)
    except SourceError as err:
        assert "\n" not in str(err)


def flipped(factory: pytest.TempPathFactory, kept: dict[str, bytes] = {}) -> bytes:  # noqa: B006 (kept between examples)
    if "raw" not in kept:
        pairs = {str(i).encode(): b"v" * (3000 * (i % 2) + 20) for i in range(60)}
        kept["raw"] = write(factory.mktemp("lmdb") / "x.lmdb", pairs).read_bytes()
    return kept["raw"]
