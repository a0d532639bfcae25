"""A store behind fsspec: what may pass is tried again, what may not is named; secrets stay out of messages."""

import numpy as np
import pytest

from lamdata.errors import StoreError
from lamdata.places import local, open_place, remote
from lamdata.places.objects import FsspecFiles
from lamdata.store import open_dataset, open_store
from lamdata.stream import Stream, StreamHead
from tests.lamdata.stores import make_frames, write_store


@pytest.fixture
def url(request):
    import fsspec

    yield f"memory://{request.node.name}"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.001)


def stream(dataset, **options):
    heads = [StreamHead(name="h", dataset=dataset)]
    with Stream(heads, seed=1, batch_frames=16, buffer_blocks=4, **options) as frames:
        return [(batch.index.tolist(), batch.positions.tobytes()) for batch, _ in zip(frames, range(20))]


def test_a_store_in_memory_streams_what_a_local_one_does(tmp_path, url):
    for target in (url, tmp_path):
        write_store(target, make_frames(200))
    local = stream(open_dataset(tmp_path))
    for threads in (0, 2):
        assert stream(open_dataset(url), threads=threads) == local


def test_faults_that_pass_change_nothing(url, monkeypatch):
    write_store(url, make_frames(200))
    whole = stream(open_dataset(url))
    rng, read = np.random.default_rng(0), FsspecFiles.read_range

    def unreliable(self, path, start, stop):
        fault = rng.random()
        if fault < 0.05:
            raise ConnectionResetError("reset by peer")
        if fault < 0.1:
            raise OSError("503 Service Unavailable")
        data = read(self, path, start, stop)
        if fault < 0.15:
            return data[: len(data) // 2]
        if fault < 0.2:
            return bytes([data[0] ^ 1]) + data[1:]
        return data

    monkeypatch.setattr(FsspecFiles, "read_range", unreliable)
    assert stream(open_dataset(url)) == whole


def test_a_fault_that_stays_names_the_object(url, monkeypatch):
    write_store(url, make_frames(40))
    dataset = open_dataset(url)

    def broken(self, path, start, stop):
        raise OSError("503 Service Unavailable")

    monkeypatch.setattr(FsspecFiles, "read_range", broken)
    with pytest.raises(StoreError, match=rf"{url}/demo/segment-0/\w+/c/0.*cannot read after 7 tries: 503"):
        dataset.frames()


def test_a_missing_object_is_not_asked_for_again(url):
    write_store(url, make_frames(40))
    dataset = open_dataset(url)
    open_place(url).remove("demo/segment-0/forces")
    with pytest.raises(StoreError, match=r"forces/c/0/0: is missing; run `lamdata validate`"):
        dataset.frames()


def test_an_object_is_created_once(url):
    place = open_place(url)
    assert place.create("commits/1", b"a") and not place.create("commits/1", b"b")
    assert place.read("commits/1") == b"a"


def test_an_empty_place_is_no_store(url):
    with pytest.raises(StoreError, match="there is no store here"):
        open_store(url)


def test_an_unknown_scheme_is_one_clear_line():
    with pytest.raises(StoreError, match="nosuch"):
        open_store("nosuch://bucket/store")


def test_an_object_that_is_removed_while_another_writer_meets_it(url, tmp_path, monkeypatch):
    """A commit that took a number first may be pruned before the loser has looked at it."""
    create, link = FsspecFiles.create, local._link_new
    monkeypatch.setattr(FsspecFiles, "create", lambda self, path, data: create(self, path, data) and self.remove(path))
    assert not open_place(url).create("commits/7.json", b"mine")

    def refused_once(target, data):
        monkeypatch.setattr(local, "_link_new", link)
        return False

    monkeypatch.setattr(local, "_link_new", refused_once)
    open_place(tmp_path).write("newest", b"7")
    assert (tmp_path / "newest").read_bytes() == b"7"
