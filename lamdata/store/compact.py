"""Compact: many segments of a dataset -> one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import reduce

import numpy as np

from ..frames import Frames
from .commits import commit
from .dataset import Dataset
from .shard import finished_shards, seal_segment, write_shard
from .store import open_dataset
from .survey import Survey, plan_segment

PIECE = 32 * 1024  # frames read at a time


def compact(store_url: str, dataset: str) -> int:
    """Rewrite all segments of a dataset as one, frames in the same order, and commit it; return the commit's number.

    Idempotent: a compaction that was killed goes on where it stopped. The old segments stay until `gc`.
    """
    old = open_dataset(store_url, dataset)
    path = f"{dataset}/{hashlib.sha256(old.content_hash.encode()).hexdigest()[:16]}"
    if len(old.segments) > 1:
        survey, split = _survey(old)
        plan = plan_segment(old.natoms, survey, profile=_profile(old), split=split)
        url = f"{store_url.rstrip('/')}/{path}"
        for shard in sorted(set(range(plan.shards)) - finished_shards(url)):
            rows = plan.shard_frames(shard)
            groups, origins, mine = old.labels(rows.start, rows.stop)
            write_shard(url, plan, shard, records=_double(old.frames(rows.start, rows.stop)), groups=groups, origins=origins, split=mine)
        entry = seal_segment(url, plan, path=path, attributes={"dataset": dataset})
    else:
        entry = old.segments[0].entry
    return commit(store_url, dataset, [entry], old.meta)


def _survey(old: Dataset) -> tuple[Survey, np.ndarray]:
    surveys, splits = [], []
    for start, stop in _pieces(len(old)):
        groups, origins, split = old.labels(start, stop)
        surveys.append(Survey.of(_double(old.frames(start, stop)), groups, origins))
        splits.append(split)
    return reduce(Survey.merge, surveys), np.concatenate(splits)


def _pieces(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, PIECE):
        yield start, min(start + PIECE, count)


def _profile(old: Dataset) -> str:
    return "lossless" if any(segment.plan.profile == "lossless" for segment in old.segments) else "fast"


def _double(frames: Frames) -> Frames:
    """In float64, as writers take it."""
    names = ("positions", "forces", "cell", "virial")
    return frames.with_(**{name: np.asarray(getattr(frames, name), np.float64) for name in names})
