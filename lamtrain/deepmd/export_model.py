"""Export: a checkpoint and frames of a store -> a DeePMD-kit file that was shown to give the same numbers."""

from __future__ import annotations

from pathlib import Path

from lamdata.errors import DataError
from lamdata.frames import Frames

from ..checkpoint import load
from ..data.mixture import open_tasks
from ..evaluation.report import what_to_test
from . import Deviation
from . import export as write_compared


def export_model(model_path: Path, store: str, output: Path, *, head: str | None, frames: int) -> list[Deviation]:
    """Write `output` after comparing model and file on up to `frames` held-out frames of each dataset of the heads written."""
    checkpoint = load(model_path)
    data = open_tasks(what_to_test(checkpoint, model_path, head, None), store)
    tasks = [task for task in data.tasks if task.spec.task == "energy_force" and len(task.validation) + len(task.test)]
    if not tasks:
        raise DataError("no held-out energy/force frames to compare on", where=store)
    sample = Frames.concatenate([(task.validation if len(task.validation) else task.test).frames(0, frames) for task in tasks])
    return write_compared(checkpoint.build(precision="float64"), sample, output, head=head)
