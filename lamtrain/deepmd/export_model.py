"""Export: a checkpoint and frames of a store -> a DeePMD-kit file that was shown to give the same numbers."""

from __future__ import annotations

from pathlib import Path

from lamdata.errors import DataError
from lamdata.frames import Frames

from ..checkpoint import Checkpoint, load
from ..data.mixture import open_tasks
from ..evaluation.report import what_to_test
from . import Deviation
from . import export as write_compared


def export_model(model_path: Path, store: str, output: Path, *, head: str | None, frames: int) -> list[Deviation]:
    """Write `output` after comparing model and file on up to `frames` held-out frames of each dataset of the heads written."""
    checkpoint = load(model_path)
    checkpoint.refuse_compressed(where=str(model_path), done="exported")
    _refuse_stale(checkpoint, head, where=str(model_path))
    data = open_tasks(what_to_test(checkpoint, model_path, head, None), store)
    tasks = [task for task in data.tasks if task.spec.task == "energy_force" and len(task.validation) + len(task.test)]
    if not tasks:
        raise DataError("no held-out energy/force frames to compare on", where=store)
    sample = Frames.concatenate([(task.validation if len(task.validation) else task.test).frames(0, frames) for task in tasks])
    return write_compared(checkpoint.build(precision="float64"), sample, output, head=head)


def _refuse_stale(checkpoint: Checkpoint, head: str | None, *, where: str) -> None:
    """A head that was left behind by its descriptor gives numbers that nobody trained."""
    energy = {name: bool(row.get("stale")) for name, row in checkpoint.heads.items() if row["task"] == "energy_force"}
    if stale := [name for name, is_stale in energy.items() if is_stale and head in (None, name)]:
        fresh = [name for name, is_stale in energy.items() if not is_stale]
        found = f"stale: the descriptor moved after {', '.join(stale)} {'was' if len(stale) == 1 else 'were'} last trained"
        raise DataError(found, where=where, hint=f"--head, one of: {', '.join(fresh)}" if fresh else "export the model that it came from")
