"""Report: a model and a store -> test.json, the table of the OpenLAM report, and pictures of parity and of learning."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lamdata.catalog import Mixture
from lamdata.elements import NUMBERS
from lamdata.errors import ConfigError, DataError
from lamdata.frames import Frames
from lamdata.progress import Progress
from lamdata.theory import Theory

from ..checkpoint import Checkpoint, load, to_json
from ..data.mixture import VALIDATION_DRAWS, Task, TrainingData, open_tasks, pick_head
from ..files import replace_file
from ..kernels import use_kernels
from ..model.lam import LamModel, Output
from ..tasks import kinds_of, task_kind
from .evaluate import evaluate_head, weighted
from .figures import Parity, draw_curves, draw_parity


def test_model(
    model_path: Path,
    store: str,
    *,
    output: Path,
    head: str | None = None,
    dataset: str | None = None,
    split: str = "test",
    device: torch.device | str = "cpu",
    quiet: bool = False,
) -> dict[str, Any]:
    """Measure a model on a split of its datasets in `store`; write test.json and pictures into `output`.

    `test` are frames that chose nothing; `validation` chose the best checkpoint. With `head` and `dataset`, that head on that dataset,
    whatever it was trained on.
    """
    checkpoint = load(model_path)
    data = open_tasks(what_to_test(checkpoint, model_path, head, dataset), store)
    model = use_kernels(checkpoint.build(device=device), "auto")
    _refuse_other_elements(data, model.config.elements, split=split)
    frames = {task.spec.data: len(task.side(split)) * _draws(task) for task in data.tasks}
    if not all(frames.values()):
        empty = ", ".join(name for name, count in frames.items() if not count)
        if not any(frames.values()):
            hint = "--split validation shows what chose the checkpoint; or give the cards a `split.test` and ingest again"
            hint = hint if split == "test" else "--split test"
            raise DataError(f"no {split} frames of {empty}", where=store, hint=hint)
        print(f"note: no {split} frames of {empty}", file=sys.stderr)
    heads, parities = {}, {}
    with Progress("testing", total=sum(frames.values()), unit="frames", quiet=quiet) as progress:
        for name in data.heads:
            if dataset is not None:
                _say_theory(checkpoint, data, name)
            references = _references(checkpoint, model, name)
            heads[name], parities[name] = test_head(model, data, name, progress, split=split, references=references)
            if dataset is None:
                heads[name] |= _of_start(checkpoint.heads[name], split)
            _say_unscored(data, name, heads[name], split=split, references=references)
    result = {"model": str(model_path), "step": checkpoint.step, "split": split, "heads": heads, "weighted": weighted(heads)}
    output.mkdir(parents=True, exist_ok=True)
    replace_file(output / "test.json", to_json(result).encode())
    draw_parity(parities, heads, output / "parity.png")
    metrics = model_path.parent / "metrics.csv"
    if metrics.exists():
        draw_curves(metrics, data.heads, output / "curves.png")
    return result


def _of_start(row: Mapping[str, Any], split: str) -> dict[str, Any]:
    """What a fine-tuned head could do before its first step, and whether it was left behind."""
    before = row.get("start", {}).get("before", {}).get(split)
    return ({"stale": True} if row.get("stale") else {}) | ({} if before is None else {"before": before})


def what_to_test(checkpoint: Checkpoint, path: Path, head: str | None, dataset: str | None) -> Mixture:
    """The mixture of its training, a head of it, or a head on another dataset."""
    if head is not None:
        pick_head(list(checkpoint.heads), head)
    if dataset is not None:
        fresh = [name for name in checkpoint.heads if name not in checkpoint.stale]
        head = head or (fresh[0] if len(fresh) == 1 else None)
        if head is None or checkpoint.heads[head]["task"] != "energy_force":
            raise ConfigError(
                "choose an energy/force head", where=str(path), hint=f"--head, one of: {', '.join(fresh or checkpoint.heads)}"
            )
        return Mixture.model_validate({"mixture": "test", "heads": [{"head": head, "dataset": dataset, "task": "energy_force"}]})
    if checkpoint.lock["mixture"] is None:
        raise ConfigError(
            "the model does not say what it was trained on", where=str(path), hint="name a dataset of the store with --dataset"
        )
    mixture = Mixture.model_validate(checkpoint.lock["mixture"])
    return mixture if head is None else mixture.model_copy(update={"heads": [task for task in mixture.heads if task.head == head]})


def test_head(
    model: LamModel, data: TrainingData, head: str, progress: Progress, *, split: str, references: Mapping[str, float] | None
) -> tuple[dict[str, Any], Parity]:
    """Errors of one head beside the spread of its labels, and the points of its parity plot."""
    parity = Parity(task_kind(data.heads[head]))

    def see(frames: Frames, output: Output, table: NDArray[np.float64]) -> None:
        parity.add(frames, output, references=table)
        progress.advance(len(frames))

    return evaluate_head(model, data, head, split=split, references=references, see=see), parity


def _draws(task: Task) -> int:
    """How often each frame of a task is tested."""
    return VALIDATION_DRAWS if task.spec.task == "denoise" else 1


def _references(checkpoint: Checkpoint, model: LamModel, head: str) -> dict[str, float] | None:
    """The reference energies of an energy head, as its training left them; of an imported model, those in its weights."""
    if checkpoint.heads[head]["task"] != "energy_force":
        return None
    stated = checkpoint.heads[head].get("references")
    if stated is not None:
        return dict(stated["energies"])
    return dict(zip(model.config.elements, model.energy_head(head).bias.tolist()))


def _refuse_other_elements(data: TrainingData, elements: list[str], *, split: str) -> None:
    """A frame with an element that the model has no type for has no energy and no forces, so there is nothing to measure."""
    for task in data.tasks:
        if others := [symbol for symbol in task.side(split).statistics.elements if symbol not in elements]:
            found = f"{split} frames have {', '.join(others)}, and the model knows {', '.join(elements)}"
            raise DataError(found, where=f"dataset {task.spec.dataset}", hint="measure on a dataset of those elements with --dataset")


def _say_theory(checkpoint: Checkpoint, data: TrainingData, head: str) -> None:
    """Say where the labels are of another theory than the head's: energies and forces are then not comparable."""
    for task in data.of_head(head):
        for theory in checkpoint.heads[head]["theory"]:
            if apart := Theory.model_validate(theory).differences(task.train.theory):
                print(f"note: labels of {task.spec.dataset} are of another theory than head {head}: {'; '.join(apart)}", file=sys.stderr)
                return


def _say_unscored(data: TrainingData, head: str, row: Mapping[str, Any], *, split: str, references: Mapping[str, float] | None) -> None:
    """Name the elements for which the head has no reference energy: energies of frames with them say nothing, and are in no number."""
    if count := row.get("energies_not_scored"):
        found = {symbol for task in data.of_head(head) for symbol in task.side(split).statistics.elements}
        others = ", ".join(sorted(found - set(references or {}), key=NUMBERS.__getitem__))
        print(f"note: head {head} has no reference energy of {others}: energies of {count} frames are not scored", file=sys.stderr)


def table_of(result: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Titles and rows of the report's table, the weighted mean last; columns are those of the kinds of its heads."""
    columns = [
        column for kind in kinds_of({head: row["task"] for head, row in result["heads"].items()}).values() for column in kind.columns
    ]
    heads = result["heads"]
    logged = {name for row in heads.values() for name in task_kind(row["task"]).logged}
    past = [column for column in columns if column.key in logged] if any("before" in row for row in heads.values()) else []
    rows = [
        [f"{head} (stale)" if row.get("stale") else head, row["weight"], *(row.get(column.key) for column in columns)]
        + [row.get("before", {}).get(column.key) for column in past]
        for head, row in heads.items()
    ]
    mean = ["weighted mean", None, *(result["weighted"].get(column.key) for column in columns), *(None for _ in past)]
    return ["head", "weight", *(column.title for column in columns), *(f"before: {column.title}" for column in past)], [*rows, mean]
