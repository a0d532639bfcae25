"""Sinks: the rows of metrics.csv -> TensorBoard, Weights & Biases or MLflow, by name; and a table on the terminal.

The csv stays the record. A sink gets its whole rows again when a run goes on, and passes over what it has, so that all show one curve.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from lamdata.errors import need

from ..config import TrainConfig
from ..files import replace_file

Row = Mapping[str, Any]


class Sink(Protocol):
    """Where rows go."""

    def write(self, row: Row) -> None:
        """Take in one row of metrics.csv; what is absent or empty has no value."""


def open_sinks(config: TrainConfig, out: Path, rows: Iterable[Row]) -> list[Sink]:
    """The sinks that a config asks for, with the `rows` that there are already; SetupError where a library is not installed."""
    rows, sinks = list(rows), []
    for name in config.log_to:
        need(name, extra=name)
        sinks.append(SINKS[name](config, out))
        for row in rows:
            sinks[-1].write(row)
    return sinks


def numbers(row: Row) -> Iterator[tuple[str, float]]:
    """The values of a row by name, as HEAD/validation/ERROR, without its step."""
    for name, value in row.items():
        if name != "step" and value is not None and value != "":
            yield name.replace(".", "/"), float(value)


class TensorBoard:
    """Event files below `tensorboard/` in the run's folder; written anew when a run goes on, so that no curve turns back."""

    def __init__(self, config: TrainConfig, out: Path):
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(out / "tensorboard", ignore_errors=True)
        self._writer: Any = SummaryWriter(str(out / "tensorboard"))

    def write(self, row: Row) -> None:
        """One point of each curve."""
        for name, value in numbers(row):
            self._writer.add_scalar(name, value, int(row["step"]))
        self._writer.flush()


class WandB:
    """A run of Weights & Biases with the name of ours; project, entity and mode are what its environment variables say."""

    def __init__(self, config: TrainConfig, out: Path):
        import wandb

        settings = {"name": config.train, "dir": str(out), "config": config.model_dump(mode="json"), "resume": "allow"}
        self._run: Any = wandb.init(id=_kept(out / "wandb.id", lambda: uuid.uuid4().hex[:12]), **settings)
        self._run.define_metric("*", step_metric="step")
        self._last = int(self._run.summary.get("step", -1) or -1)

    def write(self, row: Row) -> None:
        """One point of each curve; a row that was sent before has the same numbers."""
        if int(row["step"]) > self._last:
            self._last = int(row["step"])
            self._run.log({"step": self._last, **dict(numbers(row))})


class MLflow:
    """A run of MLflow with the name of ours, where MLFLOW_TRACKING_URI says, else below `mlruns/` in the run's folder."""

    def __init__(self, config: TrainConfig, out: Path):
        import os

        from mlflow.tracking import MlflowClient

        place = None if os.environ.get("MLFLOW_TRACKING_URI") else (out / "mlruns").resolve().as_uri()
        self._client: Any = MlflowClient(tracking_uri=place)
        self._id = _kept(out / "mlflow.id", lambda: self._begin(config))
        self._last = max([point.step for point in self._client.get_metric_history(self._id, "learning_rate")], default=-1)

    def _begin(self, config: TrainConfig) -> str:
        name = "lamtrain"
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found is not None else self._client.create_experiment(name)
        return str(self._client.create_run(experiment, run_name=config.train).info.run_id)

    def write(self, row: Row) -> None:
        """One point of each curve; a row that was sent before has the same numbers."""
        import time

        from mlflow.entities import Metric

        step = int(row["step"])
        if step > self._last:
            self._last, now = step, int(time.time() * 1000)
            self._client.log_batch(self._id, metrics=[Metric(_plain(name), value, now, step) for name, value in numbers(row)])


def _plain(name: str) -> str:
    """With what MLflow allows in a name."""
    return re.sub(r"[^\w\-./ ]", "_", name)


def _kept(path: Path, make: Callable[[], str]) -> str:
    """The id in a file, or a new one, which is kept there."""
    if not path.exists():
        replace_file(path, make().encode())
    return path.read_text()


SINKS: Mapping[str, Callable[[TrainConfig, Path], Sink]] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}
