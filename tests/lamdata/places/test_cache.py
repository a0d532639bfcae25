"""The page cache saves requests, stays within its bound, survives damage, and never touches the source."""

import pytest

from lamdata.places import cache
from lamdata.places.objects import FsspecFiles
from lamdata.store import open_dataset
from tests.lamdata.stores import make_frames, write_store


@pytest.fixture
def url(tmp_path, monkeypatch):
    import fsspec

    monkeypatch.setenv(cache.FOLDER, str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "PAGE", 1 << 12)
    write_store("memory://cached", make_frames(400))
    yield "memory://cached"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def requests(monkeypatch):
    made, read = [], FsspecFiles.read_range
    monkeypatch.setattr(FsspecFiles, "read_range", lambda self, *request: made.append(request) or read(self, *request))
    return made


def test_a_second_epoch_asks_for_nothing(url, requests):
    first = open_dataset(url).frames()
    assert requests
    requests.clear()
    second = open_dataset(url).frames()
    assert not requests and (first.positions == second.positions).all()


def test_a_damaged_page_is_fetched_again(url, tmp_path):
    first = open_dataset(url).frames()
    for file in (tmp_path / "cache").iterdir():
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    assert (open_dataset(url).frames().positions == first.positions).all()


def test_the_bound_holds_and_the_source_stays_whole(url, tmp_path, monkeypatch):
    monkeypatch.setenv(cache.BOUND, "5e-5")  # 50 kB
    for _ in range(3):
        whole = open_dataset(url).frames()
        assert sum(file.stat().st_size for file in (tmp_path / "cache").iterdir()) <= 50_000
    monkeypatch.delenv(cache.FOLDER)
    assert (open_dataset(url).frames().positions == whole.positions).all()
