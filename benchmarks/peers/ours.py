"""This project's store and stream."""

from __future__ import annotations

from operator import attrgetter

import numpy as np
import torch

from lamdata.frames import Frames
from lamdata.store import Survey, commit, open_dataset, plan_segment, seal_segment, write_shard
from lamdata.store.gather import reorder
from lamdata.stream import Stream, StreamHead
from lamdata.stream.order import balanced_order

from . import BATCH, KEYS


def write(data, folder: str, *, profile: str) -> None:
    """Through the public calls, shard after shard."""
    frames = _frames(data)
    count = len(frames)
    order = balanced_order(data["natoms"], np.zeros(count, np.uint8), "benchmark")
    frames = reorder(frames, order)
    groups = [f"system-{s}" for s in data["system"][order].tolist()]
    origins = [f"system-{s}/OUTCAR.gz#{i}" for s, i in zip(data["system"][order].tolist(), order.tolist())]
    plan = plan_segment(
        frames.natoms, Survey.of(frames, groups, origins, profile=profile), profile=profile, split=np.zeros(count, np.uint8)
    )
    url, offsets = f"{folder}/ragged/segment", frames.starts
    for shard in range(plan.shards):
        rows = plan.shard_frames(shard)
        part = frames.cut(rows.start, rows.stop, offsets[rows.start], offsets[rows.stop])
        texts = {"groups": groups[rows.start : rows.stop], "origins": origins[rows.start : rows.stop]}
        write_shard(url, plan, shard, records=part, split=np.zeros(len(rows), np.uint8), **texts)
    commit(folder, "ragged", [seal_segment(url, plan, path="ragged/segment", attributes={})], {})


def batches(folder: str, seed: int):
    """A shuffled stream of one head; a disk is read where batches are used, as by the peers, a bucket by threads far ahead."""
    threads = 2 if "://" in folder else 0
    arrays = attrgetter(*KEYS)
    with Stream([StreamHead(name="ragged", dataset=open_dataset(folder))], seed=seed, batch_frames=BATCH, threads=threads) as stream:
        for batch in stream:
            yield dict(zip(KEYS, map(torch.from_numpy, arrays(batch))))


def _frames(data) -> Frames:
    count = len(data["natoms"])
    yes = np.ones(count, bool)
    return Frames(
        **{name: data[name] for name in KEYS},
        pbc=np.ones((count, 3), bool),
        has_energy=yes,
        has_forces=yes,
        has_virial=yes,
        charge=np.zeros(count, np.int16),
        multiplicity=np.zeros(count, np.int16),
        weight=np.ones(count),
        shortest=np.random.default_rng(1).uniform(0.7, 2, count).astype(np.float32),
        head=np.zeros(count, np.int32),
        dataset=np.zeros(count, np.uint64),
        index=np.arange(count),
        epoch=np.zeros(count, np.int64),
    )
