"""Bytes that a thread unpacks: the same, and the same errors where they stand."""

import io
import lzma
import threading
from contextlib import closing

import pytest

from lamdata.errors import SourceError
from lamdata.sources.bytes import ahead
from lamdata.sources.bytes.ahead import Ahead
from lamdata.sources.bytes.files import SourceFile

TEXT = b"".join(b"%d energy\n" % n for n in range(40_000))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name, value in (("START", 1000), ("BLOCK", 5000), ("BLOCKS", 2)):
        monkeypatch.setattr(ahead, name, value)


@pytest.mark.parametrize("size", [1 << 20, 777])
def test_what_is_unpacked_ahead_is_what_was_packed(size):
    with closing(Ahead(lzma.open(io.BytesIO(lzma.compress(TEXT))))) as stream:
        found = b"".join(iter(lambda: stream.read(size), b""))
        assert found == TEXT and stream.read(5) == stream.read(5) == b""


def test_a_file_that_is_damaged_far_behind_its_start_says_so(tmp_path):
    packed = lzma.compress(TEXT)
    (tmp_path / "run.out.xz").write_bytes(packed[:-2000])
    lines = SourceFile(name="run.out.xz", path=str(tmp_path / "run.out.xz")).lines()
    with pytest.raises(SourceError, match="damaged or truncated"):
        for line in lines:
            assert line.endswith(" energy\n")


def test_who_reads_no_further_leaves_no_thread(tmp_path):
    (tmp_path / "run.out.xz").write_bytes(lzma.compress(TEXT))
    before = threading.active_count()
    with SourceFile(name="run.out.xz", path=str(tmp_path / "run.out.xz")).open() as stream:
        assert stream.read(20_000) == TEXT[:20_000] and threading.active_count() == before + 1
    assert threading.active_count() == before
