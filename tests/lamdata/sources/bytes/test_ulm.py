"""ULM files (ASE's trajectories): items and arrays as ASE wrote them, and every number that cannot be is one line."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from lamdata.errors import SourceError
from lamdata.sources.bytes.ulm import HEADER, UlmFile

TAG = b"ASE-Trajectory"


def write(path: Path, *items: object, places: list[int] | None = None, count: int | None = None, arrays: bytes = b"") -> Path:
    """A file of documents; arrays lie at byte 48."""
    raw, found = bytearray(HEADER) + arrays, []
    for item in items:
        text = item if isinstance(item, bytes) else json.dumps(item).encode()
        found.append(len(raw))
        raw += struct.pack("<q", len(text)) + text
    table = places or found
    raw[:HEADER] = b"- of Ulm" + TAG.ljust(16) + struct.pack("<qqq", 3, len(table) if count is None else count, len(raw))
    path.write_bytes(bytes(raw) + struct.pack(f"<{len(table)}q", *table))
    return path


STREAMS: list[BinaryIO] = []


@pytest.fixture(autouse=True)
def streams() -> Iterator[None]:
    """A file is read while its stream is open."""
    yield
    while STREAMS:
        STREAMS.pop().close()


def opened(path: Path) -> UlmFile:
    STREAMS.append(open(path, "rb"))  # noqa: SIM115
    return UlmFile(STREAMS[-1], tag=TAG, where="x.traj")


def refused(path: Path, index: int = 0) -> str:
    with pytest.raises(SourceError) as caught:
        opened(path).item(index)
    assert str(caught.value).startswith("x.traj") and "\n" not in str(caught.value)
    return str(caught.value)


def test_documents_and_arrays_are_those_that_ase_wrote(tmp_path: Path) -> None:
    from ase.io import ulm

    values = {"numbers": np.array([6, 8]), "positions": np.arange(6.0).reshape(2, 3), "pbc": np.array([True, False, True])}
    with ulm.open(str(tmp_path / "x.traj"), "w", tag=TAG.decode()) as file:
        for step in range(3):
            for name, value in values.items():
                file.write(name, value + step if value.dtype != bool else value)
            file.write("energy", -1.5 * step)
            child = file.child("calculator")
            child.write("name", "emt")
            child.write("forces", np.full((2, 3), 0.5))
            file.sync()
    found = opened(tmp_path / "x.traj")
    assert len(found) == 3
    for step in range(3):
        item = found.item(step)
        np.testing.assert_array_equal(item["positions"], values["positions"] + step)
        np.testing.assert_array_equal(item["pbc"], values["pbc"])
        assert item["energy"] == -1.5 * step and item["calculator"]["name"] == "emt"
        np.testing.assert_array_equal(item["calculator"]["forces"], np.full((2, 3), 0.5))


def test_no_items_are_no_items(tmp_path: Path) -> None:
    assert len(opened(write(tmp_path / "x.traj"))) == 0


@pytest.mark.parametrize("head", [b"", b"- of Ulm", b"- of Ulm" + b"GPAW-restart".ljust(16) + bytes(24), bytes(60)])
def test_another_kind_of_file_is_said_to_be_none(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "x.traj").write_bytes(head)
    assert "not an ASE trajectory in the ULM format" in refused(tmp_path / "x.traj")


@pytest.mark.parametrize("count", [-1, 2, 10**9, 2**62])
def test_more_items_than_the_file_has_room_for(tmp_path: Path, count: int) -> None:
    assert f"{count} items announced" in refused(write(tmp_path / "x.traj", {"a": 1}, count=count))


@pytest.mark.parametrize("place", [-8, 0, 47, 10**6])
def test_an_item_that_lies_nowhere(tmp_path: Path, place: int) -> None:
    assert f"an item at byte {place} of " in refused(write(tmp_path / "x.traj", {"a": 1}, places=[place]))


@pytest.mark.parametrize("length", [0, -1, 10**9])
def test_an_item_of_no_possible_length(tmp_path: Path, length: int) -> None:
    path = write(tmp_path / "x.traj", {"a": 1})
    raw = bytearray(path.read_bytes())
    struct.pack_into("<q", raw, HEADER, length)
    path.write_bytes(raw)
    assert f"an item of {length} bytes at 48" in refused(path)


@pytest.mark.parametrize("item", [[1, 2], 3, "text", None])
def test_an_item_that_is_no_document(tmp_path: Path, item: object) -> None:
    assert "item 0 is no document: truncated or damaged" in refused(write(tmp_path / "x.traj", item))


@pytest.mark.parametrize("text", [b"{", b"{'a': 1}", b"\xff\xfe", b"[" * 2000])
def test_an_item_that_is_no_json_names_its_number(tmp_path: Path, text: bytes) -> None:
    assert refused(write(tmp_path / "x.traj", {"a": 1}, text), index=1).startswith("x.traj#1")


@pytest.mark.parametrize("order", ["<", ">"])
def test_numbers_of_either_end_are_read(tmp_path: Path, order: str) -> None:
    values = np.array([1.5, -2.5])
    item = {"a.": {"ndarray": [[2], "float64", HEADER]}, "_little_endian": order == "<"}
    path = write(tmp_path / "x.traj", item, arrays=values.astype(f"{order}f8").tobytes())
    assert opened(path).item(0)["a"].tolist() == [1.5, -2.5]


@pytest.mark.parametrize(
    "spec",
    [
        [[2], "float64"],
        [[2], "float64", -1],
        [[2], "float64", 10**9],
        [[-2], "float64", 48],
        [[2.0], "float64", 48],
        [[10**12], "float64", 48],
        [["2"], "float64", 48],
        [None, "float64", 48],
        [[2], "object", 48],
        [[2], "U4", 48],
        [[2], "complex128", 48],
        [[2], "no such kind", 48],
        [[2], "f8,(", 48],
        [[2], "f8,f8", 48],
        [[2], "", 48],
        [[2], None, 48],
        {"shape": 2},
        3,
        "float64",
        [[True], "float64", 48.0],
    ],
)
def test_an_array_that_cannot_be_is_one_line_with_what_it_says(tmp_path: Path, spec: object) -> None:
    path = write(tmp_path / "x.traj", {"a.": {"ndarray": spec}}, arrays=bytes(32))
    assert f"an array {str(spec)[:80]}: truncated or damaged" in refused(path)
