"""Three splits: by source, by key of the file, by a published list, by shares of the groups; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamdata.catalog import SplitSpec
from lamdata.errors import ConfigError, DataError
from lamdata.ingestion.splits import deals
from lamdata.store.layout import SPLITS
from tests.conftest import tree

from .carbon_monoxide import frame, origins, run, source, stored, write

# By the digest of raw files, which names a segment and so decides the order in it, and by how blocks are packed: the first are of before there was a second.
GOLDEN = {
    ("sha256", 1): ("co/b3130206f2a2750f", "a3d3e1bc0d87754c26fde47146601ad99de75a098ca258672e22381d74e33cfe"),
    ("blake3", 1): ("co/e2406e8af782462c", "344e540d3114057f361852e6a4aa0f267f83a0ac43f4fd697204a3291bbeb79b"),
    ("blake3", 2): ("co/e2406e8af782462c", "a751439e5ff5a026cc25ef3f0ca495ac30d9acdffe8944fdc8a5866999ca57e0"),
}


@pytest.mark.parametrize(("kind", "packing"), GOLDEN)
def test_a_card_with_validation_alone_gives_the_bytes_that_it_always_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, packing: int
) -> None:
    monkeypatch.setattr("lamdata.store.survey.PACKING", packing)
    if kind == "sha256":
        monkeypatch.setattr("lamdata.ingestion.run.kind_like", lambda _: kind)
    report = run(write(tmp_path))
    assert (report.segment, stored(tmp_path / "co.yaml").content_hash) == GOLDEN[kind, packing]
    assert (report.frames, report.validation_frames, report.test_frames) == (18, 6, 0)
    (commit,) = (tmp_path / "s.zarr/commits").glob("0*.json")
    meta = json.loads(commit.read_text())["datasets"]["co"]["meta"]
    assert set(meta) == {"card", "sources", "rejected", "statistics", "references", "energies"}
    assert set(meta["statistics"]) == set(meta["energies"]) == {"train", "validation"}


@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.0), (0.0, 0.3), (0.25, 0.15), (0.0, 0.0), (2.0**-60, 1 / 3)])
def test_groups_are_dealt_together_as_one_by_one(validation: float, test: float) -> None:
    spec, groups = SplitSpec(validation=validation, test=test, seed=7), [f"gruppe {i} ü" for i in range(500)]
    assert [SPLITS[side] for side in deals(spec, groups)] == [spec.deal(group) for group in groups]


def test_shares_by_hash_give_three_sets_that_share_no_group(tmp_path: Path) -> None:
    card = write(tmp_path, groups=20, rest="split: {validation: 0.2, test: 0.25, seed: 2}")
    report = run(card)
    sides = {side: stored(card, side) for side in ("train", "validation", "test")}
    assert report.test_frames == len(sides["test"]) > 0 and report.validation_frames == len(sides["validation"]) > 0
    groups = [{view[i].group for i in range(len(view))} for view in sides.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 20
    assert report.groups == {side: len(found) for side, found in zip(sides, groups)}
    assert sides["test"].statistics.frames == len(sides["test"]) and stored(card).statistics.frames == 60


def test_a_source_may_be_the_test_set(tmp_path: Path) -> None:
    card = write(
        tmp_path, sources=source("co-[0-3].xyz") + source("co-[45].xyz", more="split: test"), rest="split: {validation: 0.4, seed: 4}"
    )
    report = run(card)
    assert origins(stored(card, "test")) == {f"co-{g}.xyz#{i}" for g in (4, 5) for i in range(3)}
    assert report.validation_frames and report.groups["test"] == 2


def test_a_key_of_the_file_says_the_split(tmp_path: Path) -> None:
    card = write(tmp_path, groups=0, sources=source(group="frame", more="keys: {split: part}"))
    words = ("train", "val", "Test", "validation", "training")
    (tmp_path / "co-0.xyz").write_text("".join(frame(-10 - 0.5 * i, words=f"part={word}") for i, word in enumerate(words)))
    report = run(card)
    assert origins(stored(card, "validation")) == {"co-0.xyz#1", "co-0.xyz#3"} and origins(stored(card, "test")) == {"co-0.xyz#2"}
    assert report.groups == {"train": 2, "validation": 2, "test": 1}


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_split_that_is_no_split_is_named_with_its_frame(tmp_path: Path, on_error: str) -> None:
    card = write(tmp_path, groups=0, sources=source(group="frame", more="keys: {split: part}"))
    (tmp_path / "co-0.xyz").write_text(frame(-10.0, words="part=train") + frame(-11.0, words="part=fold3"))
    with pytest.raises(DataError, match=r"co-0.xyz#1: 'part' is 'fold3', expected train, validation or test"):
        run(card, on_error=on_error)
    assert not (tmp_path / "s.zarr").exists()


def test_a_published_list_names_groups_files_or_frames(tmp_path: Path) -> None:
    card = write(tmp_path, rest="split: {validation: 0.5, test: held/test.txt, seed: 4}")
    (tmp_path / "held").mkdir()
    (tmp_path / "held/test.txt").write_text("# of the paper\nco-3.xyz\nco-1.xyz#0\nco-1.xyz#1\nco-1.xyz#2\n\n")
    report = run(card)
    assert origins(stored(card, "test")) == {f"co-{g}.xyz#{i}" for g in (1, 3) for i in range(3)}
    assert 0 < report.validation_frames < 12
    before = tree(tmp_path / "s.zarr")
    (tmp_path / "held/test.txt").write_text("co-3.xyz\n")
    with pytest.raises(ConfigError, match="--replace"):  # another list is another split
        run(card)
    assert tree(tmp_path / "s.zarr") == before


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("co-3.xyz\nco-9.xyz#0\n", "1 of 2 lines of the split of co name no frame, file or group: co-9.xyz#0"),
        ("co-1.xyz#0\n", r"group 'co-1.xyz' of co is in (train|test) \(co-1.xyz#\d\) and (train|test) \(co-1.xyz#\d\)"),
        ("# nothing\n", "lists nothing"),
        (None, "no such file; `split.test` of co names it"),
    ],
)
def test_a_list_that_does_not_fit_the_files_is_refused(tmp_path: Path, listed: str | None, message: str) -> None:
    card = write(tmp_path, rest="split: {validation: 0.0, test: test.txt}")
    if listed is not None:
        (tmp_path / "test.txt").write_text(listed)
    with pytest.raises((DataError, ConfigError), match=message):
        run(card)
    assert sorted(path.name for path in tmp_path.iterdir() if "zarr" in path.name) == []


def test_a_listed_frame_that_a_check_refuses_is_no_error(tmp_path: Path) -> None:
    card = write(tmp_path, groups=5, rest="checks: {max_refused: 0.2}\nsplit: {validation: 0.0, test: test.txt}")
    (tmp_path / "co-7.xyz").write_text(frame(-9.0, force=500.0))
    (tmp_path / "test.txt").write_text("co-7.xyz#0\nco-2.xyz\n")
    assert run(card).test_frames == 3


def test_a_line_in_two_lists_is_named(tmp_path: Path) -> None:
    card = write(tmp_path, rest="split: {validation: a.txt, test: b.txt}")
    (tmp_path / "a.txt").write_text("co-1.xyz\nco-2.xyz\n")
    (tmp_path / "b.txt").write_text("co-2.xyz\n")
    with pytest.raises(ConfigError, match="'co-2.xyz' is listed for validation and for test"):
        run(card)


def test_a_key_that_parts_a_group_is_refused_with_group_and_frames(tmp_path: Path) -> None:
    card = write(tmp_path, groups=0, sources=source(more="keys: {split: part}"))
    (tmp_path / "co-0.xyz").write_text(frame(-10.0, words="part=train") + frame(-11.0, words="part=test"))
    with pytest.raises(DataError, match=r"group 'co-0.xyz' of co is in train \(co-0.xyz#0\) and test \(co-0.xyz#1\)"):
        run(card)


def test_a_share_of_few_groups_that_holds_out_the_majority_is_refused_and_the_choices_are_named(tmp_path: Path) -> None:
    """Four groups of unequal size, of which the hash of this seed takes the largest: 12 of 18 frames."""
    card = write(tmp_path, groups=0, rest="split: {validation: 0.25, seed: 11}")
    for g, count in enumerate((2, 2, 2, 12)):
        (tmp_path / f"co-{g}.xyz").write_text("".join(frame(-10.0 - g - 0.1 * i, stretch=0.01 * i) for i in range(count)))
    with pytest.raises(DataError) as caught:
        run(card)
    text = str(caught.value)
    assert "deals 4 groups by hash, 18 frames: train 6, validation 12, test 0: more than half would be held out" in text
    assert "co-3.xyz 12" in text and "`split: test` on one of its sources" in text and "`group:`" in text
    (line,) = [part for part in text.split("; ") if "seed: " in part]
    card.write_text(card.read_text().replace("{validation: 0.25, seed: 11}", line[line.index("{") : line.index("}") + 1]))
    assert f"validation {run(card).validation_frames}, test 0 frames" in line
    assert 0 < run(card).validation_frames < 9


def test_a_share_that_holds_out_nothing_is_refused(tmp_path: Path) -> None:
    card = write(tmp_path, groups=3, rest="split: {validation: 0.3, test: 0.01, seed: 5}")
    with pytest.raises(DataError, match="deals 3 groups by hash, 9 frames: train 6, validation 3, test 0: test would be empty"):
        run(card)


def test_a_card_that_asks_for_no_share_is_told_what_it_got(tmp_path: Path) -> None:
    card = write(tmp_path, groups=1, rest="")
    report = run(card)
    assert report.groups == {"train": 1, "validation": 0, "test": 0}
