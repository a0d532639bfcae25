"""The frames worth labelling: those that are not covered first, each as far as can be from all before, whatever the order of the table."""

import json
import subprocess

import numpy as np
import pytest

from lamdata import worth
from lamdata.errors import ConfigError, DataError
from lamdata.store import Worth, open_dataset, select
from lamdata.worth import Scored, read_scored, worth_labelling
from tests.conftest import command
from tests.lamdata.stores import make_frames, make_texts, write_store

FRAMES = 40


def table(scores, features, origins=None):
    names = origins or [f"a#{i}" for i in range(len(scores))]
    return Scored(origins=names, scores=np.array(scores, float), features=np.array(features, np.float32))


def write_table(path, origins, scores, features):
    lines = [f"{o},{s},{','.join(f'{x:.6g}' for x in row)}\n" for o, s, row in zip(origins, scores, features)]
    path.write_text(f"origin,score,{','.join(f'f{i + 1}' for i in range(len(features[0])))}\n" + "".join(lines))
    return path


def test_uncovered_frames_come_first_and_the_highest_score_begins():
    scored = table([0.5, 3.0, 1.2, 0.9], [[9.0], [0.0], [1.0], [5.0]])
    assert worth_labelling(scored, 4).tolist() == [1, 2, 0, 3]


def test_each_next_is_the_farthest_from_all_before():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 3)).astype(np.float32)
    chosen = worth_labelling(table(np.linspace(2, 3, 60), features), 10).tolist()
    assert chosen[0] == 59
    for n in range(1, 10):
        nearest = np.linalg.norm(features[:, None] - features[chosen[:n]], axis=2).min(1)
        assert nearest[chosen[n]] == pytest.approx(nearest.max())


@pytest.mark.parametrize("seed", [0, 1])
def test_neither_order_nor_copies_change_what_is_chosen(seed):
    rng = np.random.default_rng(seed)
    scores, features = rng.uniform(0, 2, 50), rng.normal(size=(50, 4))
    names = [f"a#{i}" for i in range(50)]
    order = rng.permutation(np.repeat(np.arange(50), 2))
    doubled = table(scores[order], features[order], [names[i] for i in order])
    once = table(scores, features, names)
    assert [once.origins[i] for i in worth_labelling(once, 30)] == [doubled.origins[i] for i in worth_labelling(doubled, 30)]


def test_copies_of_what_was_chosen_are_worth_nothing():
    assert len(worth_labelling(table([2, 2, 2, 0.5], [[0], [0], [1], [1]]), 4)) == 2


def test_of_very_many_frames_the_seed_decides_which_are_looked_at(monkeypatch):
    monkeypatch.setattr(worth, "CANDIDATES", 10)
    scored = table(np.full(100, 2.0), np.arange(100)[:, None])
    first, again, other = (worth_labelling(scored, 5, seed=seed).tolist() for seed in (1, 1, 2))
    assert first == again != other and len(first) == 5


def test_a_table_is_read_back_and_refused_frames_are_left_out(tmp_path):
    path = write_table(tmp_path / "t.csv", ["a#0", "b, c#1", "d#2"], [1.5, 0.25, ""], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    path.write_text(path.read_text().replace("b, c#1", '"b, c#1"'))
    scored = read_scored(path)
    assert scored.origins == ["a#0", "b, c#1"] and scored.scores.tolist() == [1.5, 0.25]
    np.testing.assert_array_equal(scored.features, np.array([[1, 2], [3, 4]], np.float32))
    assert read_scored(path, among={"a#0"}).origins == ["a#0"]


@pytest.mark.parametrize(
    "text", ["", "origin,score\na,1\n", "origin,f1\na,1\n", "origin,score,f1\na,high,1\n", "origin,score,f1\na,1\n", "\xff"]
)
def test_what_is_no_such_table_is_named(tmp_path, text):
    (tmp_path / "t.csv").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"t.csv: is no table.*lamtrain cover"):
        read_scored(tmp_path / "t.csv")


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_scored(tmp_path / "t.csv")


@pytest.fixture
def store(tmp_path):
    write_store(tmp_path / "s", make_frames(FRAMES))
    return str(tmp_path / "s")


def test_a_view_of_the_frames_worth_labelling(store, tmp_path):
    origins = make_texts(FRAMES)[1]
    rng = np.random.default_rng(3)
    scores, features = rng.uniform(0, 2, FRAMES), rng.normal(size=(FRAMES, 2))
    write_table(tmp_path / "t.csv", origins, scores, features)
    view = select(store, "demo", name="worth", worth=Worth(table=tmp_path / "t.csv", count=7))
    chosen = [origins[i] for i in worth_labelling(read_scored(tmp_path / "t.csv"), 7)]
    assert sorted(frame.origin for frame in open_dataset(store, "worth")) == sorted(chosen)
    assert view.asked == {"by": "t.csv", "count": 7, "seed": 0}
    among = select(store, "demo", name="few", natoms=(1, 8), worth=Worth(table=tmp_path / "t.csv", count=3))
    small = {frame.origin for frame in open_dataset(store, "demo", natoms=(1, 8))}
    assert among.kept.sum() == 3 and {frame.origin for frame in open_dataset(store, "few")} <= small


def test_a_table_of_other_frames_is_refused(store, tmp_path):
    write_table(tmp_path / "t.csv", ["elsewhere#0"], [2.0], [[1.0]])
    with pytest.raises(DataError, match="t.csv: the table scores no frame of demo"):
        select(store, "demo", name="worth", worth=Worth(table=tmp_path / "t.csv", count=3))


def test_the_command(store, tmp_path):
    write_table(tmp_path / "t.csv", make_texts(FRAMES)[1], np.linspace(0, 2, FRAMES), np.arange(FRAMES)[:, None])
    args = ["select", store, "demo", "--name", "worth", "--by", str(tmp_path / "t.csv")]
    done = subprocess.run(command("lamdata", *args, "--count", "4", "--json"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 4
    alone = subprocess.run(command("lamdata", *args), capture_output=True, text=True)
    assert alone.returncode == 2 and alone.stderr == "error: --by: goes with --count; --by cover.frames.csv --count 50\n"
