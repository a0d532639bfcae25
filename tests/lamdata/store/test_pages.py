"""A store of many datasets: its commits name pages; as whole, as killed and as raced for as those of few."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamdata.errors import StoreError
from lamdata.places.local import LocalPlace
from lamdata.store import commit, commits, gc, open_dataset, open_store, pages, remove, select
from lamdata.validation import repair, validate
from tests.forked import start
from tests.lamdata.store.test_commit import _tree
from tests.lamdata.stores import make_frames, write_store

FEW, SHORT = 5, 3  # datasets from which on there are pages, and datasets of a page, in most of these tests


@pytest.fixture
def paged(monkeypatch):
    make_small(monkeypatch)


def make_small(patch):
    patch.setattr(pages, "INLINE", FEW)
    patch.setattr(pages, "MEAN", SHORT)


def begin(folder, count=0):
    """A store of `demo` and so many more that share its segment."""
    write_store(folder, make_frames(5))
    for i in range(count):
        add(folder, f"d{i:03d}")


def add(folder, name, **meta):
    return commit(str(folder), name, index_of(folder).entry("demo").segments, meta)


def index_of(folder):
    return commits.read_index(commits.open_place(folder))


def contents(folder):
    store = open_store(folder)
    return {name: store.meta(name) for name in store}


@settings(deadline=None, max_examples=40)
@given(st.sets(st.integers(0, 3000), min_size=1, max_size=300).map(lambda some: {f"d{i}" for i in some}), st.text(min_size=1, max_size=6))
def test_one_name_more_changes_two_pages_at_most(names, more):
    before, after = ({tuple(page) for page in pages.cut(sorted(some))} for some in (names - {more}, names | {more}))
    assert sorted(name for page in after for name in page) == sorted(names | {more})
    assert len(before - after) <= 2 and len(after - before) <= 2


def test_a_commit_of_many_datasets_writes_a_page_and_reads_what_it_must(tmp_path, monkeypatch):
    """At full size: pages of 1,500 datasets, of which the first commit with pages writes all."""
    begin(tmp_path)
    many(tmp_path, 1500)
    place, read, wrote = commits.open_place(tmp_path), [], []
    add(tmp_path, "new", one=1)
    index = index_of(tmp_path)
    assert len(index.datasets.names) == len(os.listdir(tmp_path / "pages")) > 10
    noted(monkeypatch, "read", read)
    noted(monkeypatch, "write", wrote)
    store = open_store(tmp_path)
    assert len(store) == len(list(store)) == 1502 and "d0700" in store and "no" not in store and len(read) == 1
    assert store.meta("new") == {"one": 1} and store.meta("new") and len(read) == 2
    add(tmp_path, "new", one=2)
    new = [path for path in index_of(tmp_path).datasets.names if path not in index.datasets.names]
    assert len(new) == 1 and wrote == [*new, "commits/latest"]
    assert open_store(tmp_path).meta("new") == {"one": 2}
    assert place.size("commits/00000004.json") < 50_000 < place.size("commits/00000002.json")


def noted(monkeypatch, verb, paths):
    original = getattr(LocalPlace, verb)

    def call(place, path, *data):
        paths.append(path)
        return original(place, path, *data)

    monkeypatch.setattr(LocalPlace, verb, call)


def many(folder, count):
    """As the second commit, in one object, as it was before there were pages."""
    entry = index_of(folder).datasets["demo"]
    body = {"format": "lamdata", "version": 3, "commit": 2, "datasets": {"demo": entry} | {f"d{i:04d}": entry for i in range(count)}}
    (folder / "commits/00000002.json").write_text(json.dumps(body))


def test_a_store_without_pages_opens_and_is_written_to(tmp_path, paged):
    begin(tmp_path)
    many(tmp_path, 15)
    before = contents(tmp_path)
    assert len(before) == 16 and validate(str(tmp_path), quiet=True).ok
    remove(str(tmp_path), "d0003")
    assert contents(tmp_path) == {name: meta for name, meta in before.items() if name != "d0003"}
    assert open_store(tmp_path, commit=2).meta("d0003") == before["d0003"]
    assert json.loads((tmp_path / "commits/00000003.json").read_text())["version"] == commits.PAGED
    assert json.loads((tmp_path / "zarr.json").read_text())["attributes"]["version"] == 3


def test_few_datasets_have_the_commits_they_always_had(tmp_path):
    begin(tmp_path, 3)
    body = json.loads((tmp_path / "commits/00000004.json").read_text())
    assert list(body) == ["format", "version", "commit", "datasets"] and body["version"] == 3 and not (tmp_path / "pages").exists()


@settings(deadline=None, max_examples=4)
@given(st.lists(st.tuples(st.integers(0, 14), st.integers(0, 2)), min_size=15, max_size=30))
def test_any_commits_end_with_the_datasets_and_the_pages_that_these_have(tmp_path_factory, changes):
    """Across the number from which on there are pages, both ways; whoever came there in another order has the same pages."""
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        check_changes(tmp_path_factory, changes)


def check_changes(tmp_path_factory, changes):
    folder, other, wanted = tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("b"), {}
    begin(folder)
    begin(other)
    for name, value in changes:
        name = f"{'' if name % 2 else 'é'}{name}"
        if value:
            add(folder, name, said=value)
            wanted[name] = {"said": value}
        elif name in wanted:
            remove(str(folder), name)
            del wanted[name]
        assert contents(folder) == wanted | {"demo": {"card": {"name": "demo"}}}
    for name in sorted(wanted, reverse=True):
        add(other, name, **wanted[name])
    here, there = index_of(folder).datasets, index_of(other).datasets
    assert dict(here) == dict(there) and isinstance(here, pages.Pages) == (len(wanted) + 1 > FEW)
    assert not isinstance(here, pages.Pages) or here.names == there.names
    assert gc(str(folder), keep=1, grace=0) and validate(str(folder), quiet=True).ok


def commit_until(folder, instant):
    """A commit that is killed before so many names of files are given."""
    make_small(pytest.MonkeyPatch())
    link, links = os.link, []

    def dying(*args, **options):
        links.append(args)
        if len(links) == instant:
            os.kill(os.getpid(), signal.SIGKILL)
        link(*args, **options)

    os.link = dying
    add(folder, "new", x=1)


@pytest.mark.parametrize("before", [FEW - 1, 12])
def test_a_writer_killed_before_any_of_its_objects_leaves_the_last_commit(tmp_path, paged, before):
    """Without pages until then, and with; run again, the bytes are those of one that was never killed."""
    for store in ("killed", "whole"):
        begin(tmp_path / store, before)
    held = contents(tmp_path / "killed")
    for instant in (1, 2, 3, 4, 99):
        process = start(commit_until, str(tmp_path / "killed"), instant)
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL and contents(tmp_path / "killed") in (held, held | {"new": {"x": 1}})
    assert process.exitcode == 0 and instant > 2
    add(tmp_path / "whole", "new", x=1)
    assert _tree(tmp_path / "killed") == _tree(tmp_path / "whole") and contents(tmp_path / "killed") == held | {"new": {"x": 1}}


def test_writers_of_different_datasets_all_land(tmp_path, paged):
    begin(tmp_path, 4)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: add(tmp_path, f"e{i}", i=i), range(16)))
    assert contents(tmp_path).items() >= {f"e{i}": {"i": i} for i in range(16)}.items() and len(open_store(tmp_path)) == 21
    assert validate(str(tmp_path), quiet=True).ok


@pytest.mark.parametrize("others", [1, 3, 12])
def test_a_writer_that_comes_late_lands_and_its_lost_commit_is_no_trouble(tmp_path, paged, monkeypatch, others):
    """After three others a `gc` took the pages that its lost commit names."""
    begin(tmp_path, 9)
    create = LocalPlace.create

    def late(place, path, data):
        monkeypatch.setattr(LocalPlace, "create", create)
        for i in range(others):
            add(tmp_path, f"d00{i % 9}", i=i)
        gc(str(tmp_path), keep=1 if others == 3 else 8, grace=0)
        return create(place, path, data)

    monkeypatch.setattr(LocalPlace, "create", late)
    add(tmp_path, "late", x=1)
    assert contents(tmp_path)["late"] == {"x": 1} and contents(tmp_path)[f"d00{(others - 1) % 9}"] == {"i": others - 1}
    gc(str(tmp_path), grace=0)
    gc(str(tmp_path), keep=1, grace=0)
    assert validate(str(tmp_path), quiet=True).ok and len(open_store(tmp_path)) == 11


def test_gc_takes_the_pages_that_no_commit_names_and_no_others(tmp_path, paged):
    begin(tmp_path, 12)
    before, named = contents(tmp_path), set(index_of(tmp_path).datasets.names)
    assert not gc(str(tmp_path), keep=1).freed  # somebody may be about to name them
    freed = {x.path for x in gc(str(tmp_path), keep=1, grace=0).freed}
    assert freed and not freed & named and {f"pages/{name}" for name in os.listdir(tmp_path / "pages")} == named
    assert contents(tmp_path) == before and len(open_dataset(tmp_path, "d003").frames()) == 5


def test_a_page_that_is_lost_takes_its_datasets_alone_and_nothing_is_freed_before_it_is_back(tmp_path, paged):
    begin(tmp_path, 12)
    catalog = tmp_path.parent / f"{tmp_path.name}-catalog"
    catalog.mkdir()
    select(str(tmp_path), "d004", name="calm", natoms=(1, 9))
    names = index_of(tmp_path).datasets.names
    path = next(path for path, some in names.items() if "d004" in some)
    page = (tmp_path / path).read_bytes()
    for data in (None, page[:-1], page.replace(b"d004", b"d404")):
        (tmp_path / path).unlink(missing_ok=True)
        if data is not None:
            (tmp_path / path).write_bytes(data)
        report = validate(str(tmp_path), quiet=True)
        assert {(x.dataset, f"{x.segment}/{x.object}") for x in report.findings} == {(name, path) for name in names[path]}
        assert len(report.frames) == 13 - len(names[path]) and open_store(tmp_path).views["calm"]["stale"] == report.findings[0].problem
        with pytest.raises(StoreError, match=rf"{path}: a page of the commit is (missing|damaged); give the command again, or run `lam"):
            gc(str(tmp_path), grace=0)
        with pytest.raises(StoreError, match="a page of the commit"):
            open_dataset(tmp_path, "d004")
        assert not repair(report, catalog, quiet=True).ok
    (tmp_path / path).write_bytes(page)
    assert validate(str(tmp_path), quiet=True).ok and gc(str(tmp_path), keep=1, grace=0)
