"""Rows of .npy files: those that NumPy saved, a block at a time, and what is no array of numbers is one line."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lamdata.errors import SourceError
from lamdata.sources.bytes import npy_rows
from lamdata.sources.bytes.files import SourceFile
from lamdata.sources.bytes.npy_rows import NpyRows


def saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def rows(folder: Path, raw: bytes) -> NpyRows:
    (folder / "x.npy").write_bytes(raw)
    return NpyRows(SourceFile(name="x.npy", path=str(folder / "x.npy")))


def refused(folder: Path, raw: bytes) -> str:
    with pytest.raises(SourceError) as caught:
        rows(folder, raw)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(
        st.sampled_from(["<f8", "<f4", ">f8", "<i4", "|u1", "|b1"]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=4),
        elements=st.integers(0, 1),
    ),
    st.sampled_from("CF"),
    st.data(),
)
def test_any_array_comes_back_row_by_row(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, order: str, data) -> None:
    found = rows(tmp_path_factory.getbasetemp(), saved(np.asarray(array, order=order)))
    want = array.reshape(len(array) if array.ndim else 1, -1)
    assert (found.count, found.width) == want.shape
    skipped = data.draw(st.integers(0, found.count))
    found.skip(skipped)
    parts = []
    while sum(map(len, parts)) + skipped < found.count:
        parts.append(found.take(data.draw(st.integers(1, found.count - skipped - sum(map(len, parts))))))
    found.close()
    np.testing.assert_array_equal(np.concatenate([want[:0], *parts]), want[skipped:])


def test_no_rows_are_no_rows(tmp_path: Path) -> None:
    found = rows(tmp_path, saved(np.zeros((0, 3))))
    assert (found.count, found.width) == (0, 3) and found.take(0).shape == (0, 3)


@pytest.mark.parametrize("raw", [b"", b"\x93NUMPY", b"not an array at all", saved(np.zeros(3))[:40], b"\x93NUMPY\x09\x00" + b" " * 80])
def test_what_is_no_npy_file_is_one_line(tmp_path: Path, raw: bytes) -> None:
    assert refused(tmp_path, raw).startswith("x.npy: not a .npy array of numbers: ")


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_both_versions_of_the_header_are_read(tmp_path: Path, version: tuple[int, int]) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.arange(6.0).reshape(2, 3), version=version)
    assert rows(tmp_path, stream.getvalue()).take(2).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "array", [np.array(["a", "b"]), np.array([1 + 2j]), np.array([{}], object), np.zeros(2, "M8[s]"), np.zeros(2, [("a", "f8")])]
)
def test_what_is_not_numbers_is_refused_and_nothing_is_unpickled(tmp_path: Path, array: np.ndarray) -> None:
    assert "an array of " in refused(tmp_path, saved(array))


@pytest.mark.parametrize("header", ["{'descr': '<f8', 'fortran_order': False, 'shape': (-3, 2), }", "{'descr': '<f8', 'shape': (3,), }"])
def test_a_header_that_says_nothing_possible_is_refused(tmp_path: Path, header: str) -> None:
    text = header.ljust(117) + "\n"
    refused(tmp_path, b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())


def test_a_row_too_large_for_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    text = "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 99999999999), }".ljust(117) + "\n"
    assert "shape (1, 99999999999)" in refused(tmp_path, b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())


def test_columns_first_is_read_whole_where_it_is_small_and_else_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = saved(np.asfortranarray(np.arange(12.0).reshape(4, 3)))
    assert rows(tmp_path, raw).take(2).tolist() == [[0, 1, 2], [3, 4, 5]]
    monkeypatch.setattr(npy_rows, "MAX_ROW", 90)
    assert "96 bytes in Fortran order; save it in C order" in refused(tmp_path, raw)


@pytest.mark.parametrize("cut", [1, 8, 60])
def test_an_end_before_the_announced_rows_is_an_error_at_the_rows_that_are_missing(tmp_path: Path, cut: int) -> None:
    found = rows(tmp_path, saved(np.arange(30.0).reshape(10, 3))[:-cut])
    assert found.take(5).shape == (5, 3)
    with pytest.raises(SourceError, match="x.npy: truncated: 10 rows announced"):
        found.take(5)
