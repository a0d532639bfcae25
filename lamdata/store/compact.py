"""Compact: many segments of a dataset -> one, and the removal of segments that nothing names any more."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from ..frames import Frames
from ..places import open_place
from .commits import commit, referenced_segments
from .dataset import Dataset, open_dataset
from .shard import MANIFEST, finished_shards, seal_segment, write_shard
from .survey import Survey, plan_segment

PIECE = 32 * 1024  # frames read at a time


def compact(store_url: str, dataset: str) -> int:
    """Rewrite all segments of a dataset as one, frames in the same order, and commit it; return the commit's number.

    Idempotent: a compaction that was killed goes on where it stopped. The old segments stay until `clean`.
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


def clean(store_url: str) -> list[str]:
    """Delete segments that no kept commit names, and return their paths. Not while a writer is at work: its segment has no name yet."""
    place = open_place(store_url)
    named, removed = referenced_segments(store_url), []
    for dataset in set(place.list("")) - {"commits", "zarr.json"}:
        for segment in place.list(dataset):
            path = f"{dataset}/{segment}"
            if path not in named and place.size(f"{path}/{MANIFEST}") is not None:
                place.remove(path)
                removed.append(path)
    return sorted(removed)


def _survey(old: Dataset) -> tuple[Survey, np.ndarray]:
    survey, splits = None, []
    for start, stop in _pieces(len(old)):
        groups, origins, split = old.labels(start, stop)
        piece = Survey.of(_double(old.frames(start, stop)), groups, origins)
        survey = piece if survey is None else survey.merge(piece)
        splits.append(split)
    return survey, np.concatenate(splits)


def _pieces(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, PIECE):
        yield start, min(start + PIECE, count)


def _profile(old: Dataset) -> str:
    return "lossless" if any(segment.plan.profile == "lossless" for segment in old.segments) else "fast"


def _double(frames: Frames) -> Frames:
    """In float64, as writers take it."""
    names = ("positions", "forces", "cell", "virial")
    return frames.with_(**{name: np.asarray(getattr(frames, name), np.float64) for name in names})
