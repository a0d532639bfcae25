"""What a store refuses to write and to read: plans that do not fit the frames, commits that are none, blocks that are damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamdata.errors import ConfigError, DataError, LamError, StoreError
from lamdata.listing import list_datasets
from lamdata.places import open_place
from lamdata.store import Survey, open_store, plan_segment, write_shard
from lamdata.store.batching import cut_batches, cut_points
from lamdata.store.codec import ChecksumError, check, checksum, pack_shard, unpack_index
from lamdata.store.commits import FORMAT, OLDEST, PAGED, VERSION, Index
from tests.lamdata.stores import make_frames, make_split, make_texts, write_store


def planned(frames, **options):
    groups, origins = make_texts(len(frames))
    return plan_segment(
        frames.natoms, Survey.of(frames, groups, origins), block_frames=4, shard_blocks=2, **{"profile": "lossless"} | options
    )


def write(folder: Path, plan, frames, shard: int = 0) -> None:
    groups, origins = make_texts(len(frames))
    write_shard(f"{folder}/d/s", plan, shard, records=frames, groups=groups, origins=origins, split=make_split(len(frames)))


def test_a_profile_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown profile 'best'; use `lossless` or `fast`"):
        planned(make_frames(5), profile="best")


def test_a_plan_of_other_frames_than_were_surveyed_is_refused() -> None:
    frames = make_frames(5)
    with pytest.raises(ConfigError, match="the survey saw 5 frames, the order has 6"):
        plan_segment(make_frames(6).natoms, Survey.of(frames, *make_texts(5)), profile="lossless")


@pytest.mark.parametrize("count", [7, 9])
def test_a_shard_takes_the_frames_that_were_planned_for_it(tmp_path: Path, count: int) -> None:
    plan = planned(make_frames(20))
    with pytest.raises(DataError, match=f"shard 0 takes 8 frames, got {count}"):
        write(tmp_path, plan, make_frames(count))


def test_a_block_of_more_atoms_than_were_planned_is_refused(tmp_path: Path) -> None:
    plan = planned(make_frames(8, largest=3), profile="fast")
    with pytest.raises(DataError, match="a block has .* atoms, the plan allows .*; plan with the final order"):
        write(tmp_path, plan, make_frames(8, smallest=15))


@pytest.mark.parametrize("changed", ["energy", "positions"])
def test_a_number_that_the_survey_did_not_see_is_refused(tmp_path: Path, changed: str) -> None:
    """Columns are kept on the grid of their decimals: one more digit has no place there, and must not be rounded away."""
    frames = make_frames(8, decimals=3)
    plan = planned(frames)
    values = getattr(frames, changed).copy()
    values.flat[3] += 1e-7
    with pytest.raises(DataError, match=f"{changed} is not on the lattice of the plan"):
        write(tmp_path, plan, frames.with_(**{changed: values}))


def test_a_column_that_was_constant_must_stay_so(tmp_path: Path) -> None:
    frames = make_frames(8)
    with pytest.raises(DataError, match="charge is not 0 throughout"):
        write(tmp_path, planned(frames), frames.with_(charge=np.array([0] * 7 + [1], np.int16)))


GOOD = {"format": FORMAT, "version": VERSION, "commit": 3, "datasets": {}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "this is not a commit"),
        ("[]", "this is not a commit"),
        ("3", "this is not a commit"),
        ("null", "this is not a commit"),
        ("{", "this is not a commit"),
        ({"version": 1}, "this is not a commit"),
        (GOOD | {"version": "x"}, "this is not a commit"),
        (GOOD | {"version": None}, "this is not a commit"),
        (GOOD | {"commit": "3"}, "this is not a commit"),
        (GOOD | {"commit": None}, "this is not a commit"),
        (GOOD | {"datasets": []}, "this is not a commit"),
        (GOOD | {"format": "other"}, "format other version"),
        (GOOD | {"version": PAGED + 1}, f"version {PAGED + 1}, this program reads .*; upgrade lam"),
        (GOOD | {"pages": []}, "this is not a commit"),
        (GOOD | {"pages": {"../secret.json": ["a"]}}, "this is not a commit"),
        (GOOD | {"pages": {"pages/0123456789abcdef.json": "a"}}, "this is not a commit"),
        (GOOD | {"pages": {"pages/0123456789abcdef.json": [1]}}, "this is not a commit"),
        (GOOD | {"version": OLDEST - 1}, f"version {OLDEST - 1}, this program reads version {OLDEST} and later; ingest into a new store"),
    ],
)
def test_a_commit_that_is_none_is_one_line_with_its_place(body: object, said: str) -> None:
    data = body if isinstance(body, str) else json.dumps(body)
    with pytest.raises(StoreError, match=f"^here: .*{said}") as caught:
        Index.from_bytes(data.encode(), where="here", place=open_place("here"))
    assert "\n" not in str(caught.value)


def test_a_good_commit_comes_back() -> None:
    index = Index.from_bytes(json.dumps(GOOD).encode(), where="here", place=open_place("here"))
    assert index.number == 3 and Index.from_bytes(index.to_bytes(), where="here", place=open_place("here")) == index


@settings(deadline=None, max_examples=40)
@given(st.lists(st.binary(max_size=30), min_size=1, max_size=6), st.integers(0, 3), st.data())
def test_chunks_of_a_shard_lie_where_its_index_says(chunks: list[bytes], missing: int, data: st.DataObject) -> None:
    slots = len(chunks) + missing
    packed = pack_shard(chunks, slots)
    index = unpack_index(packed[: 16 * slots + 4], slots)
    for chunk, (offset, size) in zip(chunks, index.tolist()):
        assert packed[offset : offset + size] == chunk
    assert (index[len(chunks) :] == 2**64 - 1).all()
    spoiled = bytearray(packed[: 16 * slots + 4])
    spoiled[data.draw(st.integers(0, len(spoiled) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ChecksumError):
        unpack_index(spoiled, slots)


@pytest.mark.parametrize("stored", [b"", b"abc", b"abcd", b"abcde"])
def test_a_checksum_that_is_another_or_none_is_noticed(stored: bytes) -> None:
    with pytest.raises(ChecksumError, match="crc32c does not match"):
        check(memoryview(b"data"), stored)
    check(memoryview(b"data"), checksum(b"data"))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 30), max_size=20), st.integers(1, 40) | st.none(), st.integers(1, 6) | st.none())
def test_batches_are_as_full_as_they_may_be_and_hold_every_frame_once(natoms: list[int], atoms: int | None, frames: int | None) -> None:
    if atoms is None and frames is None:
        with pytest.raises(ConfigError, match="a batch needs a size; give batch_frames or batch_atoms"):
            cut_points(np.array(natoms), batch_frames=frames, batch_atoms=atoms)
        return
    cuts = [0, *cut_points(np.array(natoms, np.int64), batch_frames=frames, batch_atoms=atoms)]
    assert cuts[-1] == len(natoms) or not natoms
    for a, b in zip(cuts, cuts[1:]):
        assert b > a and (frames is None or b - a <= frames) and (atoms is None or sum(natoms[a:b]) <= atoms or b - a == 1)
        if b < len(natoms):  # one more would not have fitted
            assert (frames is not None and b - a == frames) or (atoms is not None and sum(natoms[a : b + 1]) > atoms)


def test_batches_are_views_of_the_frames() -> None:
    frames = make_frames(10)
    parts = list(cut_batches(frames, batch_atoms=25))
    assert sum(map(len, parts)) == 10 and all(np.shares_memory(part.positions, frames.positions) for part in parts)


def test_a_store_of_several_datasets_asks_which(tmp_path: Path) -> None:
    from lamdata.store import open_dataset

    for name in ("a", "b"):
        write_store(tmp_path, make_frames(5), name=name)
    with pytest.raises(ConfigError, match="the store holds 2 datasets; name one of a, b"):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path, "b")) == 5


@pytest.mark.parametrize("element", ["Xx", "", "cu ", 0, 119, -1])
def test_a_filter_by_what_is_no_element_is_refused(tmp_path: Path, element: str | int) -> None:
    write_store(tmp_path, make_frames(5))
    with pytest.raises((ConfigError, LamError), match="element"):
        open_store(tmp_path)["demo"].select(elements=[element])


def test_a_place_that_is_not_there_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such store or catalog"):
        list_datasets(str(tmp_path / "nowhere"))
    with pytest.raises(StoreError, match="there is no store here"):
        open_store(tmp_path / "nowhere")


def test_a_frozen_index_can_be_changed_by_a_copy_alone() -> None:
    index = Index(number=1, datasets={})
    assert replace(index, number=2).number == 2 and index.number == 1
