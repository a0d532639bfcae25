"""Frames and the training data of a model -> which of them it was trained on, so that an error on them says nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lamdata import Card, open_dataset, store_frames
from lamdata.frame import Rejection
from lamdata.overlap import compare
from lamdata.store import Dataset

from ...data.mixture import TrainingData
from ...prediction.label import NO_CHECKS
from ...prediction.source import Source

HERE = "these frames"


def copies_of_training(data: TrainingData, head: str, source: Source) -> dict[str, Any]:
    """Counts of copies among the frames and in the training data of a head, wherever they lie, turned, mirrored or in another cell."""
    trained = {f"training of {task.spec.data}": task.train for task in data.of_head(head) if task.spec.weight}
    with _as_dataset(source) as here:
        report = compare({HERE: here, **trained}, quiet=source.quiet)
    copied, held_out = set[int](), 0
    for found in report.sets:
        if any(member.dataset in trained for member in found.members):
            mine = [member for member in found.members if member.dataset == HERE]
            copied |= {member.index for member in mine}
            held_out += sum(member.split != "train" for member in mine)
    frames = report.frames[HERE]
    said = [f"{len(copied):,} of {frames:,} frames are training frames of head {head}"]
    said += [f"{held_out:,} of them are held out here: errors on them are too low"] if held_out and source.dataset is not None else []
    said += [f"{report.copies[HERE]:,} are copies of another of these frames"]
    return {"frames": frames, "in_training": len(copied), "held_out_in_training": held_out, "copies": report.copies[HERE], "said": said}


@contextmanager
def _as_dataset(source: Source) -> Iterator[Dataset]:
    """The dataset, or files as one that is there for a while: frames are compared in any order, and need not fit into memory."""
    if source.dataset is not None:
        yield source.dataset
        return
    with tempfile.TemporaryDirectory() as folder:
        card = Card(dataset="here", title="Frames of files", checks=NO_CHECKS)
        store_frames(card, folder, (item for item in source if not isinstance(item, Rejection)), sources=source.hashes(), shuffled=False)
        yield open_dataset(folder, "here")
