"""Run: the folder of a training -> its config, its errors step by step, and the models that it left, in a notebook or a script."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lamdata.errors import DataError
from lamdata.located import read_yaml
from lamdata.notebook import facts_table, html_table, listed, sentence

from .runlog import read_metrics
from .tasks import task_kind

if TYPE_CHECKING:
    from .prediction.model import Model

WHEN = ("train", "validation", "test")


def open_run(folder: str | Path) -> Run:
    """The run in a folder that `lamtrain train` wrote. It may still be at work: what it has written so far is read when it is asked for.

    >>> run = open_run("runs/copper")  # doctest: +SKIP
    >>> run.metrics[-1]["loss"], run.model().predict(atoms)  # doctest: +SKIP
    """
    path = Path(folder)
    if not (path / "config.yaml").is_file() or not (path / "catalog.lock").is_file():
        raise DataError("is no folder of a run", where=str(folder), hint="`lamtrain train` leaves one in runs/NAME")
    return Run(path)


class Run:
    """A training and what it left."""

    def __init__(self, folder: Path):
        self.folder = folder

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its config, as plain data."""
        data, _ = read_yaml(self.folder / "config.yaml")
        return dict(data)

    @cached_property
    def lock(self) -> dict[str, Any]:
        """What it trained on: datasets with content hashes, frames, licences and theories."""
        lock: dict[str, Any] = json.loads((self.folder / "catalog.lock").read_text(encoding="utf-8"))
        return lock

    @property
    def heads(self) -> dict[str, str]:
        """Head -> kind of task."""
        return {row["head"]: row["task"] for row in self.lock["mixture"]["heads"]}

    @property
    def metrics(self) -> list[dict[str, float | None]]:
        """Rows of metrics.csv: `step`, `loss`, `HEAD.train.ERROR`, ...; None where a row has no such number."""
        path = self.folder / "metrics.csv"
        rows = read_metrics(path) if path.is_file() else []
        return [{name: float(value) if value else None for name, value in row.items()} for row in rows]

    @property
    def tested(self) -> dict[str, dict[str, Any]]:
        """Head -> errors on test groups, as `lamtrain test` wrote them beside the model; {} before."""
        path = self.folder / "test.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))["heads"]) if path.is_file() else {}

    def model(self, which: Literal["best", "last"] = "best", **options: Any) -> Model:
        """The model that was best on validation groups, or the last one, loaded with the options of `load_model`."""
        from .prediction.model import load_model

        return load_model(self.folder / f"{which}.pt", **options)

    def errors(self) -> list[tuple[str, str, float | None, float | None, float | None]]:
        """(head, error, latest of training, latest of validation, of test); None where it was not measured yet."""
        metrics, tested = self.metrics, self.tested
        out = []
        for head, kind in self.heads.items():
            for name in task_kind(kind).logged:
                train, validation = (_latest(metrics, f"{head}.{side}.{name}") for side in WHEN[:2])
                test = tested.get(head, {}).get(name)
                if (train, validation, test) != (None, None, None):
                    out.append((head, name, train, validation, test))
        return out

    def _facts(self) -> dict[str, Any]:
        metrics = self.metrics
        step = int(metrics[-1]["step"] or 0) if metrics else 0
        return {
            "steps": f"{step:,} of {self.config['steps']:,}",
            "heads": listed([f"{head} ({kind})" for head, kind in self.heads.items()]),
            "loss": f"{loss:.4g}" if (loss := _latest(metrics, "loss")) is not None else None,
            "tested": "yes" if self.tested else "no",
        }

    def __repr__(self) -> str:
        return sentence(f"Run {self.folder}", self._facts())

    def _repr_html_(self) -> str:
        rows = [(head, name, *("-" if x is None else f"{x:.4g}" for x in values)) for head, name, *values in self.errors()]
        return facts_table(f"Run {self.folder}", self._facts()) + (html_table("Errors", ("head", "error", *WHEN), rows) if rows else "")


def _latest(metrics: list[dict[str, float | None]], name: str) -> float | None:
    return next((value for row in reversed(metrics) if (value := row.get(name)) is not None), None)
