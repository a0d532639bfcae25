"""The store: frames in a Zarr v3 group of immutable segments, listed by one commit.

survey -> layout (a plan) -> shard (written) -> commits (visible) -> dataset (opened) -> segment, load, gather (read)
"""

from .batching import cut_batches
from .choose import Worth, select
from .commits import commit, remove
from .dataset import Dataset, dataset_key
from .garbage import GarbageReport, gc
from .layout import SegmentPlan
from .shard import SegmentEntry, finished_shards, seal_segment, write_shard
from .store import Store, open_dataset, open_store
from .survey import Survey, plan_segment

__all__ = [
    "Dataset", "GarbageReport", "SegmentEntry", "SegmentPlan", "Store", "Survey", "Worth", "commit", "cut_batches", "dataset_key", "finished_shards",
    "gc", "open_dataset", "open_store", "plan_segment", "remove", "seal_segment", "select", "write_shard",
]  # fmt: skip
