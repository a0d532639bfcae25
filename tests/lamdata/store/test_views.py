"""Frames of a dataset that have a name: they open like a dataset, stay the same frames, and say when they no longer can be had."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lamdata import validate
from lamdata.errors import ConfigError, DataError, StoreError
from lamdata.store import garbage, gc, open_dataset, open_store, remove, select
from lamdata.store.commits import read_index
from tests.conftest import command
from tests.lamdata.stores import make_frames, make_split, make_texts, write_store

FRAMES = 200


@pytest.fixture
def store(tmp_path):
    write(tmp_path / "s")
    return str(tmp_path / "s")


def write(url, *, seed=0, segment="segment-0", profile="lossless"):
    frames = make_frames(FRAMES, seed=seed)
    forces = np.flatnonzero(np.arange(FRAMES) % 7 == 3)  # some have none
    atoms = np.repeat(np.isin(np.arange(FRAMES), forces), frames.natoms)
    frames = frames.with_(has_forces=~np.isin(np.arange(FRAMES), forces), forces=np.where(atoms[:, None], 0.0, frames.forces))
    write_store(url, frames, segment=segment, profile=profile)
    return frames


def largest_forces(frames):
    return np.maximum.reduceat(np.linalg.norm(frames.forces, axis=1), frames.starts[:-1])


WANTED = [
    ({"max_force": 2.5}, lambda f, s: f.has_forces & (largest_forces(f) <= 2.5)),
    ({"natoms": (3, 8), "max_force": 2.8}, lambda f, s: f.has_forces & (largest_forces(f) <= 2.8) & (f.natoms >= 3) & (f.natoms <= 8)),
    ({"split": "train", "max_force": 3.0}, lambda f, s: f.has_forces & (largest_forces(f) <= 3.0) & (s == 0)),
    ({"max_force": 0.0}, lambda f, s: np.zeros(FRAMES, bool)),
    ({"max_force": 1e9}, lambda f, s: f.has_forces),
]


@pytest.mark.parametrize("profile", ["lossless", "fast"])
@pytest.mark.parametrize("wanted, brute", WANTED, ids=[str(wanted) for wanted, _ in WANTED])
def test_a_filter_by_force_keeps_what_a_loop_keeps(tmp_path, wanted, brute, profile):
    frames = write(tmp_path / "s", profile=profile)
    view = open_dataset(tmp_path / "s", "demo", **wanted)
    np.testing.assert_array_equal(view.rows, np.flatnonzero(brute(frames, make_split(FRAMES))))
    assert [frame.origin for frame in view] == [make_texts(FRAMES)[1][row] for row in view.rows]


def test_forces_that_are_zero_throughout_are_read_from_no_object(tmp_path):
    frames = make_frames(40)
    write_store(tmp_path / "s", frames.with_(forces=np.zeros_like(frames.forces), has_forces=np.arange(40) < 30))
    assert len(open_dataset(tmp_path / "s", max_force=0.0)) == 30


@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_a_force_that_cannot_be_is_refused(store, value):
    with pytest.raises(ConfigError, match="the largest force is"):
        open_dataset(store, "demo", max_force=value)


def test_a_named_view_is_the_filter_it_was_made_by(store):
    made = select(store, "demo", name="calm", max_force=2.5, natoms=(2, 12))
    view, filtered = open_dataset(store, "calm"), open_dataset(store, "demo", max_force=2.5, natoms=(2, 12))
    assert (view.name, view.view.of, len(view)) == ("calm", "demo", len(filtered)) and 5 < len(view) < FRAMES
    np.testing.assert_array_equal(view.rows, filtered.rows)
    np.testing.assert_array_equal(view.frames().positions, filtered.frames().positions)
    assert (view.frames().dataset == filtered.frames().dataset).all()  # the noise of a frame is its own
    assert view.labels(0, 3)[1] == filtered.labels(0, 3)[1]
    assert made.to_index()["asked"] == {"natoms": [2, 12], "max_force": 2.5}


def test_a_view_is_split_and_filtered_like_a_dataset(store):
    select(store, "demo", name="calm", max_force=2.5)
    for choice in ({"split": "train"}, {"split": "test", "natoms": (2, 10)}, {"max_force": 2.0}, {"elements": range(1, 80)}):
        expected = set(open_dataset(store, "demo", **{"max_force": 2.5, **choice}).rows.tolist())
        found = open_dataset(store, "calm", **choice)
        assert set(found.rows.tolist()) == expected and len(found) == len(expected)
    sides = [open_dataset(store, "calm", split=side) for side in ("train", "validation", "test")]
    assert sum(map(len, sides)) == len(open_dataset(store, "calm"))


def test_statistics_and_references_are_of_its_own_training_frames(store):
    select(store, "demo", name="calm", max_force=2.5)
    view = open_dataset(store, "calm")
    measured = open_dataset(store, "demo", max_force=2.5).statistics
    assert view.statistics.frames == measured.frames == len(view) and view.statistics.element_atoms == measured.element_atoms
    assert view.elements == measured.elements
    assert open_dataset(store, "calm", split="train").statistics.frames == len(open_dataset(store, "calm", split="train"))
    assert view.references is not None and set(view.references["energies"]) <= set(view.elements)


def test_a_list_names_frames_files_and_groups(store, tmp_path):
    groups, origins = make_texts(FRAMES)
    select(store, "demo", name="few", listed=[origins[5], origins[7], "system-3"])
    rows = open_dataset(store, "few").rows.tolist()
    assert rows == sorted({5, 7, *(i for i in range(FRAMES) if groups[i] == "system-3")})
    select(store, "demo", name="file", listed=["run/ö/OUTCAR.gz"], split="test")
    np.testing.assert_array_equal(open_dataset(store, "file").rows, open_dataset(store, "demo", split="test").rows)
    with pytest.raises(DataError, match="2 of 3 lines name no frame, file or group of demo: nobody, run/x#1"):
        select(store, "demo", name="none", listed=[origins[1], "nobody", "run/x#1"])
    assert "none" not in open_store(store)


def test_a_view_of_a_view_is_of_the_dataset(store):
    select(store, "demo", name="calm", max_force=2.5)
    select(store, "calm", name="calmer", max_force=2.0)
    view = open_dataset(store, "calmer")
    assert view.view.of == "demo" and view.view.asked == {"max_force": 2.0, "among": "calm"}
    np.testing.assert_array_equal(view.rows, open_dataset(store, "demo", max_force=2.0).rows)


def test_the_same_choice_is_the_same_view_and_another_needs_another_name(store):
    first = select(store, "demo", name="calm", max_force=2.5)
    commit = open_store(store).commit
    assert select(store, "demo", name="calm", max_force=2.5).path == first.path and open_store(store).commit == commit
    with pytest.raises(ConfigError, match=r"view `calm` is there already; `lamdata rm .* calm`, or another --name"):
        select(store, "demo", name="calm", max_force=2.0)
    with pytest.raises(ConfigError, match="`demo` is the name of a dataset here"):
        select(store, "demo", name="demo", max_force=2.5)
    with pytest.raises(ConfigError, match="`calm` is the name of a view here"):
        write_store(store, make_frames(20), name="calm")
    with pytest.raises(ConfigError, match="'../x' is no name"):
        select(store, "demo", name="../x", max_force=2.5)
    with pytest.raises(DataError, match="no frame of demo is chosen"):
        select(store, "demo", name="empty", natoms=(1000, 2000))
    assert [*open_store(store).views] == ["calm"] and list(open_store(store)) == ["demo"]


def test_a_view_of_a_dataset_that_was_replaced_is_refused_and_opens_at_the_older_commit(store):
    select(store, "demo", name="calm", max_force=2.5)
    older, before = open_store(store).commit, open_dataset(store, "calm").frames().positions
    write(store, seed=9, segment="segment-1")
    with pytest.raises(
        StoreError, match=r"view `calm` does not open: demo was replaced after its frames were chosen; `lamdata rm .* calm`, and"
    ):
        open_dataset(store, "calm")
    np.testing.assert_array_equal(open_dataset(store, "calm", commit=older).frames().positions, before)
    assert open_store(store).views["calm"]["stale"] == "demo was replaced after its frames were chosen"
    assert "demo was replaced" in open_store(store)._repr_html_()
    remove(store, "calm")
    select(store, "demo", name="calm", max_force=2.5)
    assert len(open_dataset(store, "calm")) == len(open_dataset(store, "demo", max_force=2.5))


def test_a_dataset_goes_after_its_views(store):
    select(store, "demo", name="calm", max_force=2.5)
    with pytest.raises(ConfigError, match=r"calm is a view of demo; lamdata rm .* calm"):
        remove(store, "demo")
    remove(store, "calm")
    remove(store, "demo")
    assert not open_store(store).views and not list(open_store(store))


def test_the_object_of_a_view_is_freed_when_no_commit_names_it(store, monkeypatch):
    path = select(store, "demo", name="calm", max_force=2.5).path
    now = garbage.time.time()
    monkeypatch.setattr(garbage.time, "time", lambda: now + 2 * 24 * 3600)
    assert gc(store, keep=1).freed == () and os.path.exists(f"{store}/{path}")
    remove(store, "calm")
    assert [found.path for found in gc(store).held] == [path]
    assert [found.path for found in gc(store, keep=1).freed] == [path] and not os.path.exists(f"{store}/{path}")
    assert len(open_dataset(store, "demo")) == FRAMES


def test_a_dataset_may_be_called_views(tmp_path, monkeypatch):
    write_store(tmp_path / "s", make_frames(20), name="views")
    now = garbage.time.time()
    monkeypatch.setattr(garbage.time, "time", lambda: now + 2 * 24 * 3600)
    select(str(tmp_path / "s"), "views", name="some", natoms=(2, 10))
    assert gc(str(tmp_path / "s"), keep=1).freed == () and len(open_dataset(tmp_path / "s", "some")) > 2


@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
def test_a_damaged_view_is_named_and_its_dataset_is_not(store, damage):
    path = f"{store}/{select(store, 'demo', name='calm', max_force=2.5).path}"
    data = Path(path).read_bytes()
    os.unlink(path)
    if damage != "missing":
        changed = data[: len(data) // 2] if damage == "cut" else data.replace(b'"max_force": 2.5', b'"max_force": 3.5')
        Path(path).write_bytes(changed)
    with pytest.raises(StoreError, match="the object of view `calm` is (missing|damaged); `lamdata rm"):
        open_dataset(store, "calm")
    [finding] = validate(store, quiet=True).findings
    assert finding.dataset == "calm" and ("missing" if damage == "missing" else "damaged") in str(finding)
    assert len(open_dataset(store, "demo")) == FRAMES


def test_a_store_without_views_has_the_commits_it_always_had(store):
    assert b"views" not in read_index_bytes(store)
    select(store, "demo", name="calm", max_force=2.5)
    assert b'"views":{"calm":' in read_index_bytes(store)
    remove(store, "calm")
    assert b"views" not in read_index_bytes(store)


def read_index_bytes(store):
    return open(f"{store}/commits/{open_store(store).commit:08d}.json", "rb").read()


def test_the_index_reads_back_what_it_wrote(store):
    from lamdata.places import open_place
    from lamdata.store.commits import Index

    select(store, "demo", name="calm", max_force=2.5)
    index = read_index(open_place(store))
    assert Index.from_bytes(index.to_bytes(), where="here", place=open_place(store)) == index


def run(*args, code=0):
    done = subprocess.run(command("lamdata", *args), capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_the_command_names_what_it_chose(store, tmp_path):
    said = run("select", store, "demo", "--name", "calm", "--max-force", "2.5", "--natoms", "2", "12").stdout
    view = open_dataset(store, "calm")
    assert said == f"calm: {len(view)} of {FRAMES} frames of demo\n"
    (tmp_path / "list.txt").write_text(f"# frames\n\n{view[0].origin}\n")
    told = json.loads(run("select", store, "demo", "--name", "one", "--from-list", str(tmp_path / "list.txt"), "--json").stdout)
    assert (told["view"], told["of"], told["frames"], told["asked"]) == ("one", "demo", 1, {"listed": 1})
    assert "removed one" in run("rm", store, "one").stdout
    assert run("select", store, "demo", "--name", "x", "--from-list", str(tmp_path / "no.txt"), code=2).stderr.startswith("error: ")
    (tmp_path / "list.txt").write_text("# nothing\n")
    assert "lists nothing" in run("select", store, "demo", "--name", "x", "--from-list", str(tmp_path / "list.txt"), code=2).stderr
    assert "did you mean `calm`?" in run("select", store, "clam", "--name", "x", code=1).stderr
