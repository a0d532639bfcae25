"""A bounded sample of frames to compare two models on: given files or datasets, or what the model was trained on."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from lamdata.errors import ConfigError, LamError
from lamdata.frame import Frame, Rejection
from lamdata.frames import Frames
from lamdata.store import Dataset

from ..checkpoint import Checkpoint
from ..data.mixture import open_tasks
from ..evaluation.report import what_to_test
from ..prediction.model import Model
from ..prediction.source import Source
from ..prediction.structures import refusals

MOST_ATOMS = 4096  # of a frame: more say nothing new of a table


@dataclass(slots=True)
class Sample:
    """Frames without order; `refused` counts what no head can be asked about."""

    frames: list[Frame]
    said: str
    refused: int = field(default=0)

    def for_model(self, model: Model) -> dict[str, Frames]:
        """Head -> the frames that it knows all elements of; heads that are stale, or know none of the frames, are left out."""
        whole, out = Frames.from_list(self.frames), dict[str, Frames]()
        left = set(range(len(whole)))
        for head in model.heads:
            if head in model.checkpoint.stale:
                continue
            bad = refusals(whole, elements=model.elements[head])
            if known := [frame for row, frame in enumerate(self.frames) if row not in bad]:
                out[head] = Frames.from_list(known)
                left -= set(range(len(whole))) - set(bad)
        self.refused += len(left)
        if not out:
            raise ConfigError(
                "no frame that a head of the model knows all elements of", where=self.said, hint="give frames of its elements"
            )
        return out


def sample_of_source(source: Source, count: int) -> Sample:
    """`count` frames of a source, each as likely as any other and the same at each call."""
    kept: list[Frame] = []
    seen = refused = 0
    chance = random.Random(0)
    for frame in source:
        if isinstance(frame, Rejection) or len(frame.numbers) > MOST_ATOMS:
            refused += 1
            continue
        seen += 1
        if len(kept) < count:
            kept.append(frame)
        elif (place := chance.randrange(seen)) < count:
            kept[place] = frame
    if not kept:
        raise ConfigError("no frames", where=source.said, hint="give structures like those that the model will see")
    return Sample(kept, source.said, refused)


def sample_of_training(checkpoint: Checkpoint, path: Path, count: int) -> Sample:
    """About `count` held-out frames of what the model was trained on, where its store can be reached; raises ConfigError where it cannot."""
    hint = "name files, or a store and --dataset"
    store = (checkpoint.train_config or {}).get("store")
    try:
        if store is None:
            raise ConfigError("the model does not say where its frames are", where=str(path))
        tasks = [task for task in open_tasks(what_to_test(checkpoint, path, None, None), store).tasks if task.spec.task == "energy_force"]
    except LamError as err:
        raise ConfigError(f"no frames to compare on ({err})", where=str(path), hint=hint) from None
    each = max(1, count // max(1, len(tasks)))
    found = [frame for task in tasks for frame in _some(task.validation, each) or _some(task.test, each) or _some(task.train, each)]
    if not found:
        raise ConfigError("no frames to compare on", where=store, hint=hint)
    return Sample(found, f"{', '.join(task.spec.data for task in tasks)} of {store}")


def _some(side: Dataset, count: int) -> list[Frame]:
    """The first frames: a store is shuffled, so they are a fair sample."""
    return [frame for frame in side.frames(0, count) if len(frame.numbers) <= MOST_ATOMS] if len(side) else []
