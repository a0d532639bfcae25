"""What nobody names goes, and nothing else, whatever is written at the same time and whenever it is killed."""

import os
import signal
import time

import numpy as np
import pytest

from lamdata.errors import ConfigError, StoreError
from lamdata.places import open_place
from lamdata.store import (
    Survey,
    commit,
    finished_shards,
    garbage,
    gc,
    open_dataset,
    open_store,
    plan_segment,
    remove,
    seal_segment,
    write_shard,
)
from lamdata.store.commits import KEPT
from lamdata.store.verify import verify
from tests.forked import start
from tests.lamdata.stores import make_frames, make_split, make_texts, write_store

DAY = 24 * 3600


@pytest.fixture(params=["disk", "memory"])
def url(request, tmp_path):
    """A store on a disk, and one behind fsspec that tells no folder from a prefix, as buckets do."""
    import fsspec

    yield str(tmp_path / "store") if request.param == "disk" else f"memory://{tmp_path.name}"
    fsspec.filesystem("memory").store.clear()


def later(monkeypatch, seconds):
    now = time.time()
    monkeypatch.setattr(garbage.time, "time", lambda: now + seconds)


def segments(url):
    place = open_place(url)
    return sorted(f"{d}/{s}" for d in place.list("") if d not in ("commits", "zarr.json") for s in place.list(d))


def size_of(url, path):
    place = open_place(url)
    return sum(len(place.read(entry.path)) for entry in place.objects(path))


def test_a_removed_dataset_stays_in_older_commits_until_they_go(url, monkeypatch):
    frames = make_frames(50)
    write_store(url, frames, name="a")
    write_store(url, make_frames(30, seed=1), name="b")
    assert remove(url, "a") == 3 and list(open_store(url)) == ["b"]
    later(monkeypatch, 2 * DAY)
    report = gc(url)
    assert report.freed == () and [x.path for x in report.held] == ["a/segment-0"] and "--keep 1" in report.text()
    np.testing.assert_array_equal(open_dataset(url, "a", commit=2).frames().positions, frames.positions)
    size = size_of(url, "a/segment-0")
    report = gc(url, keep=1)
    assert [(x.path, x.size) for x in report.freed] == [("a/segment-0", size)] and report.to_json()["bytes"] == size
    assert segments(url) == ["b/segment-0"] and len(open_dataset(url, "b").frames()) == 30
    with pytest.raises(StoreError, match="there is no commit 2; it keeps 3"):
        open_store(url, commit=2)
    assert gc(url, keep=1).freed == ()


def test_a_dry_run_says_it_all_and_does_nothing(url, monkeypatch):
    write_store(url, make_frames(50), name="a")
    write_store(url, make_frames(20, seed=1), name="a", segment="segment-1")
    later(monkeypatch, 2 * DAY)
    before = segments(url), open_store(url).commit
    told = gc(url, keep=1, dry_run=True)
    assert (segments(url), open_store(url).commit) == before and len(open_dataset(url, commit=1)) == 50
    assert told.text().startswith("would free a/segment-0: ")
    done = gc(url, keep=1)
    assert [x.path for x in done.freed] == [x.path for x in told.freed] == ["a/segment-0"] and done.text().startswith("freed a/")


def begin_segment(url, frames, *, shards=None, seal=False, skip=()):
    """Write some shards of a segment that nobody names yet; return what a commit needs."""
    (groups, origins), split = make_texts(len(frames)), make_split(len(frames))
    plan = plan_segment(frames.natoms, Survey.of(frames, groups, origins), block_frames=16, shard_blocks=1)
    for shard in set(range(plan.shards if shards is None else shards)) - set(skip):
        mine = plan.shard_frames(shard)
        rows, part = slice(mine.start, mine.stop), frames.part(mine.start, mine.stop)
        write_shard(f"{url}/new/s", plan, shard, records=part, groups=groups[rows], origins=origins[rows], split=split[rows])
    return seal_segment(f"{url}/new/s", plan, path="new/s", attributes={}) if seal else None


@pytest.mark.parametrize("how", [{"shards": 1}, {"shards": 2}, {"seal": True}])
def test_what_a_writer_may_have_in_hand_stays(url, monkeypatch, how):
    write_store(url, make_frames(10))
    frames = make_frames(48, seed=2)
    begin_segment(url, frames, **how)
    later(monkeypatch, DAY - 60)
    report = gc(url)
    assert report.freed == () and [x.path for x in report.young] == ["new/s"] and "--grace" in report.text()
    commit(url, "new", [begin_segment(url, frames, seal=True)], {})
    np.testing.assert_array_equal(open_dataset(url, "new").frames().forces, frames.forces)
    later(monkeypatch, 9 * DAY)
    assert gc(url).freed == () and len(open_dataset(url, "new").frames()) == 48


@pytest.mark.parametrize("how", [{"shards": 1}, {"seal": True}])
def test_what_a_writer_left_behind_goes_and_can_be_written_again(url, monkeypatch, how):
    write_store(url, make_frames(10))
    frames = make_frames(48, seed=2)
    begin_segment(url, frames, **how)
    with monkeypatch.context() as patch:
        later(patch, DAY + 60)
        assert [x.path for x in gc(url).freed] == ["new/s"]
    assert segments(url) == ["demo/segment-0"]
    commit(url, "new", [begin_segment(url, frames, seal=True)], {})
    np.testing.assert_array_equal(open_dataset(url, "new").frames().forces, frames.forces)


def test_a_writer_that_finds_its_segment_finished_makes_it_young_again(tmp_path, monkeypatch):
    write_store(tmp_path, make_frames(10))
    frames = make_frames(48, seed=2)
    begin_segment(tmp_path, frames, seal=True)
    for path in (tmp_path / "new").rglob("*"):
        os.utime(path, (1e9, 1e9))
    assert [x.path for x in gc(str(tmp_path), dry_run=True).freed] == ["new/s"]
    entry = begin_segment(tmp_path, frames, seal=True)
    assert [x.path for x in gc(str(tmp_path)).young] == ["new/s"]
    commit(str(tmp_path), "new", [entry], {})


def test_a_commit_of_a_segment_that_went_is_refused(tmp_path, monkeypatch):
    write_store(tmp_path, make_frames(10))
    entry = begin_segment(tmp_path, make_frames(48, seed=2), seal=True)
    gc(str(tmp_path), grace=0)
    with pytest.raises(StoreError, match="new/s: is not there, or not sealed; run the command again"):
        commit(str(tmp_path), "new", [entry], {})
    assert list(open_store(tmp_path)) == ["demo"]


def test_a_segment_that_is_named_meanwhile_stays(tmp_path, monkeypatch):
    write_store(tmp_path, make_frames(10))
    entry = begin_segment(tmp_path, make_frames(48, seed=2), seal=True)
    look = garbage._segments

    def late(place):
        found = list(look(place))
        commit(str(tmp_path), "new", [entry], {})
        return found

    monkeypatch.setattr(garbage, "_segments", late)
    assert gc(str(tmp_path), grace=0).freed == () and len(open_dataset(tmp_path, "new").frames()) == 48


def test_what_is_not_ours_stays(tmp_path):
    write_store(tmp_path, make_frames(10))
    for path in ("notes/today/read.me", "notes/energy/plot.png", "demo/extra/numbers.txt", "loose.txt"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("mine")
    assert gc(str(tmp_path), grace=0, keep=1).freed == ()
    assert (tmp_path / "notes/energy/plot.png").read_text() == (tmp_path / "demo/extra/numbers.txt").read_text() == "mine"


@pytest.mark.parametrize("options", [{"keep": 0}, {"grace": -1}])
def test_impossible_wishes_are_refused(tmp_path, options):
    write_store(tmp_path, make_frames(10))
    with pytest.raises(ConfigError, match="keeps at least one commit"):
        gc(str(tmp_path), **options)


def test_where_there_is_no_store_nothing_is_made(url):
    for wish in (lambda: gc(url), lambda: remove(url, "a"), lambda: open_store(url, commit=1)):
        with pytest.raises(StoreError, match="there is no store here"):
            wish()
    assert open_place(url).list("") == []


def test_a_wrong_name_is_helped_and_changes_nothing(url):
    write_store(url, make_frames(10), name="water")
    with pytest.raises(StoreError, match="no dataset `watr`; did you mean `water`"):
        remove(url, "watr")
    assert open_store(url).commit == 1


def test_old_commits_open_as_they_were(url):
    sizes = {}
    for i in range(KEPT + 3):
        frames = make_frames(12 + i, seed=i)
        write_store(url, frames, segment=f"s{i}", meta={"i": i})
        sizes[i + 1] = len(frames)
    kept = sorted(sizes)[-KEPT:]
    for number in kept:
        old = open_dataset(url, commit=number)
        assert len(old) == sizes[number] and old.meta == {"i": number - 1} and open_store(url, commit=number).commit == number
    with pytest.raises(StoreError, match=rf"there is no commit {kept[0] - 1}; it keeps {kept[0]}, "):
        open_dataset(url, commit=kept[0] - 1)
    with pytest.raises(StoreError, match="there is no commit 99"):
        open_store(url, commit=99)


def gc_until(store, instant):
    """Remove garbage, and be killed before a removal of a file or a folder."""
    calls = []

    def dying(call):
        def counted(*args, **options):
            calls.append(args)
            if len(calls) == instant:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)

        return counted

    os.unlink, os.rmdir = dying(os.unlink), dying(os.rmdir)
    gc(store, keep=1, grace=0)


def test_a_gc_killed_at_any_removal_leaves_a_whole_store_and_the_next_one_finishes(tmp_path):
    """Killed before a removal of a file or a folder, early, late and in between; then run again until one gets through."""
    for i in range(4):
        write_store(tmp_path, make_frames(60, seed=i), name="old", segment=f"s{i}")
    write_store(tmp_path, make_frames(40), name="kept")
    (tmp_path / "old/s1/manifest.json").unlink()  # of one that was never sealed

    def content():
        return [open_dataset(tmp_path, name).frames().positions.tobytes() for name in ("kept", "old")]

    before = content()
    for instant in (1, 4, 6, 7, 31, 90, 139, 10**6):
        process = start(gc_until, str(tmp_path), instant)
        process.join()
        assert process.exitcode == (-signal.SIGKILL if instant < 10**6 else 0)
        assert content() == before
    assert segments(tmp_path) == ["kept/segment-0", "old/s3"] and gc(str(tmp_path), keep=1, grace=0).freed == ()


def stop_at(monkeypatch, instant):
    """Raise at one of the removals of objects behind fsspec."""
    import fsspec

    files, removed = type(fsspec.filesystem("memory")), []
    original = files.rm_file

    def counted(self, path):
        removed.append(path)
        if len(removed) == instant:
            raise KeyboardInterrupt
        original(self, path)

    monkeypatch.setattr(files, "rm_file", counted)


@pytest.mark.parametrize("instant", range(1, 40, 3))
def test_a_gc_that_stops_between_two_removals_leaves_no_half_segment_in_sight(tmp_path, monkeypatch, instant):
    """Every third of the removals that it makes, one by one as a bucket would see them."""
    url = f"memory://{tmp_path.name}"
    for i in range(3):
        write_store(url, make_frames(20, seed=i), name="a", segment=f"s{i}")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, instant)
        gc(url, keep=1, grace=0)
    assert len(open_dataset(url).frames()) == 20
    write_store(url, make_frames(20, seed=0), name="a", segment="s0")  # what was half gone is written whole again
    np.testing.assert_array_equal(open_dataset(url).frames().positions, make_frames(20, seed=0).positions)
    gc(url, keep=1, grace=0)
    assert segments(url) == ["a/s0"]


@pytest.mark.parametrize("instant", range(1, 26, 4))
def test_a_shard_that_is_half_gone_is_not_taken_for_finished(tmp_path, monkeypatch, instant):
    """A writer that was killed comes back after a `gc` of what it left was killed too, and writes the shards without a receipt."""
    url, frames = f"memory://{tmp_path.name}", make_frames(48, seed=2)
    write_store(url, make_frames(10))
    begin_segment(url, frames, shards=2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, instant)
        gc(url, grace=0)
    commit(url, "new", [begin_segment(url, frames, seal=True, skip=finished_shards(f"{url}/new/s"))], {})
    assert list(verify(url)) == []
    np.testing.assert_array_equal(open_dataset(url, "new").frames().forces, frames.forces)


def test_folders_that_a_kill_left_empty_go_and_those_of_a_writer_stay(tmp_path, monkeypatch):
    write_store(tmp_path, make_frames(10))
    (tmp_path / "demo/s9/numbers/c").mkdir(parents=True)
    assert [x.path for x in gc(str(tmp_path)).young] == ["demo/s9"] and (tmp_path / "demo/s9/numbers/c").is_dir()
    later(monkeypatch, 2 * DAY)
    assert [(x.path, x.size) for x in gc(str(tmp_path)).freed] == [("demo/s9", 0)] and segments(tmp_path) == ["demo/segment-0"]
