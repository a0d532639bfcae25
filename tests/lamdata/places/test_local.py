"""Files of a disk stay open between their ranges: few of them, and never another's."""

import os
import pickle

import pytest

from lamdata.errors import StoreError
from lamdata.places import local, open_place


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts what a process of Linux has open")
def test_thousands_of_places_keep_few_files_open(tmp_path):
    before, places = handles(), []
    for n in range(3 * local.OPEN):
        (folder := tmp_path / str(n)).mkdir()
        (folder / "a").write_bytes(bytes([n % 251]) * 8)
        places.append(open_place(folder))
    for _ in range(2):
        for n, place in enumerate(places):
            assert [bytes(part) for part in place.read_ranges([("a", 0, 4), ("a", 2, 8)])] == [bytes([n % 251]) * 4, bytes([n % 251]) * 6]
    assert handles() - before <= local.OPEN + 1


def test_a_file_that_is_written_anew_is_read_anew(tmp_path):
    """By whoever opens its place then; and what is open goes nowhere with a place that is sent to another process."""
    first = open_place(tmp_path)
    first.write("a", b"old.")
    assert bytes(*first.read_ranges([("a", 0, 4)])) == b"old."
    (tmp_path / "a").unlink()
    (tmp_path / "a").write_bytes(b"new.")
    for place in (open_place(tmp_path), pickle.loads(pickle.dumps(first))):
        assert bytes(*place.read_ranges([("a", 0, 4)])) == b"new."


def test_what_is_not_there_or_too_short_is_named(tmp_path):
    place = open_place(tmp_path)
    place.write("a", b"1234")
    with pytest.raises(StoreError, match="b: is missing"):
        list(place.read_ranges([("b", 0, 1)]))
    with pytest.raises(StoreError, match="a: ends after 4 bytes, expected at least 6"):
        list(place.read_ranges([("a", 2, 6)]))
