"""Ranks share a stream: the batches of one process, dealt by atoms, each rank reading its part of the store."""

from __future__ import annotations

import os
import threading
from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from lamdata.augment import AugmentSpec, MaskSpec, NoiseSpec, SupercellSpec
from lamdata.errors import StoreError
from lamdata.frames import Frames
from lamdata.store import open_dataset
from lamdata.stream import Stream, StreamHead
from lamdata.stream.dealing import deal
from lamdata.stream.exchange import pack, unpack
from lamdata.stream.order import HeadOrder
from tests.lamdata.stores import make_frames, write_store
from tests.lamdata.stream.ranks import Table, dealt

SPECS = {"h1": AugmentSpec(noise=NoiseSpec(scale=0.1, probability=0.5, min_distance=0), mask=MaskSpec(number=1)), "h2": AugmentSpec(supercell=SupercellSpec(max_atoms=30))}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    url = tmp_path_factory.mktemp("store")
    for i, count in enumerate((400, 150, 90)):
        write_store(url, make_frames(count, seed=i, decimals=None if i == 1 else 6), name=f"d{i}")
    return url


def heads_of(store: Path, *, runs: tuple[int, ...] = (1, 1, 1)) -> list[StreamHead]:
    """One plain, one with noise and masks, one whose cells grow."""
    return [
        StreamHead(name=f"h{i}", dataset=open_dataset(store, f"d{i}"), weight=1.0 + i, augment=SPECS.get(f"h{i}"), run=run)
        for i, run in enumerate(runs)
    ]


def alike(ours: Frames, theirs: Frames) -> None:
    """The same frames; a rank without noised frames has no arrays of noise."""
    for field in fields(Frames):
        a, b = getattr(ours, field.name), getattr(theirs, field.name)
        a, b = (ours.clean(field.name) if a is None else a), (theirs.clean(field.name) if b is None else b)
        np.testing.assert_array_equal(a, b, err_msg=field.name)


def shared(heads: list[StreamHead], world: int, batches: int, **options) -> list[list[tuple[int, Frames]]]:
    """What each of `world` ranks gets of the first batches, with positions."""
    table = Table(world)

    def take(rank: int) -> list[tuple[int, Frames]]:
        with Stream(heads, rank=rank, world=world, exchange=table.exchange(rank), **options) as stream:
            return [(stream.position, frames) for frames, _ in zip(stream, range(batches))]

    return table.run(take)


@pytest.mark.parametrize("size", [{"batch_frames": 24}, {"batch_atoms": 300}, {"batch_atoms": 40, "batch_frames": 3}])
@pytest.mark.parametrize(("world", "threads", "buffers"), [(2, 0, 4), (3, 2, 1), (8, 1, 8)])
def test_each_gets_what_is_dealt_to_it_of_the_batches_of_one(store: Path, size: dict, world: int, threads: int, buffers: int) -> None:
    options = {"seed": 3, "buffer_blocks": buffers, **size}
    with Stream(heads_of(store), **options) as stream:
        whole = [(stream.position, frames) for frames, _ in zip(stream, range(30))]
    for rank, mine in enumerate(shared(heads_of(store), world, 30, threads=threads, **options)):
        for (position, frames), (at, batch) in zip(mine, whole, strict=True):
            assert position == at
            alike(frames, dealt(batch, rank, world))


def test_slots_of_several_frames_are_shared_frame_by_frame(store: Path) -> None:
    heads = heads_of(store, runs=(3, 1, 7))
    with Stream(heads, seed=2, batch_frames=4) as stream:
        whole = [(stream.position, frames) for frames, _ in zip(stream, range(30))]
    for rank, mine in enumerate(shared(heads, 3, 30, seed=2, batch_frames=4)):
        for (position, frames), (at, batch) in zip(mine, whole, strict=True):
            assert position == at
            alike(frames, dealt(batch, rank, 3))


def test_they_go_on_in_another_number_at_any_position(store: Path) -> None:
    options = {"seed": 3, "buffer_blocks": 2, "batch_frames": 12}
    before, after = (shared(heads_of(store), world, 20, **options) for world in (2, 3))
    later = shared(heads_of(store), 3, 10, position=120, **options)
    for rank in range(3):
        assert [p for p, _ in later[rank]] == [p for p, _ in after[rank][10:]]
        for (_, one), (_, other) in zip(later[rank], after[rank][10:]):
            alike(one, other)
    for k in range(20):
        frames = [
            sorted((int(f.head[i]), int(f.index[i])) for part in ranks for f in [part[k][1]] for i in range(len(f)))
            for ranks in (before, after)
        ]
        assert frames[0] == frames[1]


def test_a_rank_reads_its_part_of_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted at the store, arrays of frames alone; the index is read by all."""
    write_store(tmp_path, make_frames(1600, seed=1, smallest=20, largest=30), name="d0", block_frames=25)
    read: Counter[int] = Counter()
    plain = os.preadv

    def counted(handle, targets, start):
        read[threading.get_ident()] += sum(map(len, targets))
        return plain(handle, targets, start)

    monkeypatch.setattr("lamdata.places.local.os.preadv", counted)

    def bytes_of(world: int) -> list[int]:
        table = Table(world)

        def take(rank: int) -> int:
            head = StreamHead(name="h", dataset=open_dataset(tmp_path, "d0"))
            before = read[threading.get_ident()]
            with Stream([head], rank=rank, world=world, exchange=table.exchange(rank), seed=1, batch_frames=32, threads=0) as stream:
                for _ in zip(stream, range(50)):
                    pass
            return read[threading.get_ident()] - before

        return table.run(take)

    (whole,) = bytes_of(1)
    for world in (2, 4, 8):
        parts = bytes_of(world)
        assert sum(parts) == pytest.approx(whole, rel=0.05)  # requests have borders
        assert max(parts) < 1.3 * whole / world


def test_frames_go_over_as_bytes_and_come_back(store: Path) -> None:
    with Stream(heads_of(store), seed=3, batch_frames=20) as stream:
        frames = next(iter(stream))
    back = unpack(pack(frames))
    for field in fields(Frames):
        one, other = getattr(frames, field.name), getattr(back, field.name)
        assert one.dtype == other.dtype and one.shape == other.shape and (one == other).all()
    assert len(pack(Frames.empty())) == 0 and len(unpack(pack(Frames.empty()))) == 0
    plain = frames.with_(noise=None, noised=None, clean_numbers=None)
    assert unpack(pack(plain)).noise is None


@pytest.mark.parametrize("world", [2, 8, 64])
def test_ranks_have_about_as_many_atoms(world: int) -> None:
    """Sizes as in a mixture of molecules and slabs; 8 frames a rank."""
    rng = np.random.default_rng(0)
    ratios, in_turn = [], []
    for _ in range(50):
        natoms = np.concatenate([rng.integers(2, 30, 5 * world), rng.integers(60, 230, 3 * world)])
        rng.shuffle(natoms)
        loads = np.bincount(deal(natoms, [len(natoms)], world), natoms, minlength=world)
        ratios.append(loads.max() / loads.mean())
        in_turn.append(max(natoms[r::world].sum() for r in range(world)) / loads.mean())
    assert np.mean(ratios) < 1.1 < 1.15 < np.mean(in_turn)


def test_every_frame_of_every_batch_is_dealt_once_and_no_rank_is_left_out() -> None:
    natoms = np.random.default_rng(1).integers(1, 50, 40)
    ranks = deal(natoms, [5, 20, 33], 5)
    assert (ranks[33:] == -1).all()
    for first, stop in ((0, 5), (5, 20), (20, 33)):
        assert set(ranks[first:stop]) == set(range(5))


def test_one_of_1024_ranks_plans_reads_and_balances_its_share() -> None:
    """The shares of all, for a dataset of 16,384 blocks: what each decodes in an epoch, and 8 frames for each of a batch."""
    world, blocks = 1024, 16384
    order = HeadOrder(np.full(blocks, 64), seed=1, head="h", buffer_blocks=8)
    decoded = np.zeros(world, np.int64)
    for buffer in range(len(order.epoch(0).buffers)):
        decoded += np.bincount(order.owners(0, buffer, world).frame, minlength=world)
    assert decoded.sum() == 64 * blocks and decoded.max() == decoded.min() == 64 * blocks // world
    natoms = np.random.default_rng(2).integers(2, 230, 8 * world)
    loads = np.bincount(deal(natoms, [len(natoms)], world), natoms, minlength=world)
    assert loads.max() / loads.mean() < 1.1


def test_256_ranks_share_a_stream(tmp_path: Path) -> None:
    """All of them, as threads: each gets its frames of a batch of 4,096, and reads its blocks."""
    write_store(tmp_path, make_frames(4096, seed=1, largest=9), name="d0", block_frames=4)
    dataset, world = open_dataset(tmp_path, "d0"), 256
    heads = [StreamHead(name="h", dataset=dataset)]
    with Stream(heads, seed=1, batch_frames=4096, threads=0, buffer_blocks=1024) as stream:
        batch = next(iter(stream))
    seen: list[int] = []
    loads = []
    for ((_, frames),) in shared(heads, world, 1, seed=1, batch_frames=4096, threads=0, buffer_blocks=1024):
        seen += frames.index.tolist()
        loads.append(int(frames.natoms.sum()))
    assert sorted(seen) == sorted(batch.index.tolist())
    assert max(loads) / np.mean(loads) < 1.1


def test_a_rank_that_cannot_read_its_block_says_so(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(2)
    table.barrier = type(table.barrier)(2, timeout=1)

    def take(rank: int) -> None:
        with Stream(heads_of(store), rank=rank, world=2, exchange=table.exchange(rank), seed=3, batch_frames=8, threads=0) as stream:
            if rank == 1:
                monkeypatch.setattr(stream, "_gather", lambda pieces: (_ for _ in ()).throw(StoreError("a block is damaged", where="d0")))
            next(iter(stream))

    with pytest.raises(StoreError, match="a block is damaged"):
        table.run(take)
