"""Comment lines of a file -> what its keys say beside labels: groups, a published split. For a proposed card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lamdata.fields import SplitName

from .label_names import KEYS

SPLIT_KEYS = ("split", "subset", "data_split", "dataset_split", "partition", "set")
SPLITS: dict[str, SplitName] = {  # what a value of such a key stands for
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
ENOUGH = 10_000  # different values of one key: more are not counted


@dataclass(slots=True)
class CommentSurvey:
    """What the comments of the frames that were looked at say."""

    frames: int = 0
    groups: dict[str, int] = field(default_factory=dict)  # key that names a group -> how many groups, the usual names first
    splits: dict[str, dict[str, int]] = field(default_factory=dict)  # key that names a split -> {value as written: frames}


def survey_comments(comments: Iterable[Mapping[str, str]]) -> CommentSurvey:
    """Look at the pairs of the comments of frames. A key that differs in every frame names no group, one with other words no split."""
    out, groups = CommentSurvey(), {key: Counter[str]() for key in KEYS["group"]}
    splits = {key: Counter[str]() for key in SPLIT_KEYS}
    for info in comments:
        out.frames += 1
        for table in (groups, splits):
            for key, counts in table.items():
                if key in info and len(counts) < ENOUGH:
                    counts[info[key]] += 1
    out.groups = {key: len(counts) for key, counts in groups.items() if counts and len(counts) < max(2, counts.total())}
    out.splits = {key: dict(counts) for key, counts in splits.items() if counts and all(value.lower() in SPLITS for value in counts)}
    return out
