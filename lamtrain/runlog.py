"""metrics.csv: one row for each look at a run. A resumed run drops what it will do again, so the file ends the same to the last bit."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from .files import replace_file
from .tasks import task_kind


def columns(heads: dict[str, str], *, shares: bool = False) -> list[str]:
    """Column names: step, learning rate, loss, the share of atoms whose neighbour list was cut, then `HEAD.train.ERROR` and `HEAD.validation.ERROR`;
    units are in the names. With `shares`, `HEAD.train.share` of the gradient of the descriptor."""
    out = ["step", "learning_rate", "loss", "truncated"]
    for head, task in heads.items():
        for side in ("train", "validation"):
            out += [f"{head}.{side}.{name}" for name in task_kind(task).logged]
    return out + [f"{head}.train.share" for head in heads if shares]


class Rows(Protocol):
    """Something else that wants the rows."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Take in one row."""


class MetricsFile:
    """Appends rows to a CSV file, then gives them to its `sinks`."""

    def __init__(self, path: Path, heads: dict[str, str], *, after: int, shares: bool = False):
        """Open `path`, keeping whole rows up to step `after`; columns of shares that it has stay."""
        self.sinks: list[Rows] = []
        rows = [row for row in read_metrics(path) if int(row["step"]) <= after] if path.exists() and after else []
        self.path, self.columns = path, columns(heads, shares=shares or any(name.endswith(".train.share") for name in (rows or [{}])[0]))
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        replace_file(path, text.getvalue().encode())

    def append(self, row: dict[str, object]) -> None:
        """Add a row; values absent stay empty."""
        text = io.StringIO()
        values = {name: repr(value) if isinstance(value, float) else value for name, value in row.items() if value is not None}
        csv.DictWriter(text, self.columns, lineterminator="\n").writerow(values)
        with open(self.path, "a") as file:
            file.write(text.getvalue())
        for sink in self.sinks:
            sink.write(row)


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Rows of a metrics file; a last row that was cut off is left out."""
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    return [row for row in csv.DictReader(io.StringIO(whole)) if row["step"] and None not in row.values()]


def flatten(table: Mapping[str, Mapping[str, Any]], side: str, heads: Mapping[str, str]) -> dict[str, Any]:
    """Errors of each head (head -> kind of task) as columns of one side."""
    return {
        f"{head}.{side}.{name}": errors[name] for head, errors in table.items() for name in task_kind(heads[head]).logged if name in errors
    }
