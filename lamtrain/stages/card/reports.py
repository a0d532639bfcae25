"""What commands left beside a model -> plain data: curves of the training, errors on held-out frames, errors by element, coverage."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lamdata.errors import DataError

from ...runlog import read_metrics

LARGEST = 16 << 20  # bytes of a report: more is none of ours
MOST = 24  # reports of a kind
POINTS = 300  # of a curve
Number = Annotated[float, Field(allow_inf_nan=False)]


class Row(BaseModel):
    """Errors of a head, under their names."""

    model_config = ConfigDict(extra="allow")
    task: str
    weight: Number
    before: dict[str, Any] = {}


class Test(BaseModel):
    """What a page takes from test.json; the files of a run are data of others."""

    split: str
    step: int
    heads: dict[str, Row]
    weighted: dict[str, Number]


class Summary(BaseModel):
    """From the summary of a prediction."""

    head: str
    source: list[str]
    scored: int
    by_element: dict[str, dict[str, Number]]


class Coverage(BaseModel):
    """From cover.json."""

    source_said: str
    head: str
    verdict: str
    reasons: list[str]


Known = TypeVar("Known", Test, Summary, Coverage)


def curves(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Column of metrics.csv -> (step, value), every so-manieth row of a long training and the last; {} where there is no such file.

    What is no number, as the loss of a step that went wrong, has no place on a curve.
    """
    path = folder / "metrics.csv"
    rows = read_metrics(path) if path.is_file() else []
    found: dict[str, list[tuple[float, float]]] = {}
    try:
        for row in rows:
            for name, value in row.items():
                if name not in ("step", "learning_rate", "truncated") and value and math.isfinite(number := float(value)):
                    found.setdefault(name, []).append((int(row["step"]), number))
    except ValueError as err:
        raise DataError(f"not a table of a training ({err})", where=str(path)) from None
    return {name: _thinned(line) for name, line in found.items()}


def _thinned(line: list[tuple[float, float]]) -> list[tuple[float, float]]:
    every = -(-len(line) // POINTS)
    return [*line[:-1:every], line[-1]]


def test_reports(folder: Path) -> dict[str, dict[str, Any]]:
    """File -> what `lamtrain test` wrote into the folder of the model, or into folders in it."""
    return {name: test.model_dump(exclude_unset=True) for name, test in _reports(folder, ("test.json", "*/test.json"), Test)}


def predictions(folder: Path) -> dict[str, dict[str, Any]]:
    """File -> summaries of `lamtrain predict` that stand beside the model and have errors by element."""
    return {name: summary.model_dump() for name, summary in _reports(folder, ("*.json",), Summary) if summary.by_element}


def coverages(folder: Path) -> dict[str, dict[str, Any]]:
    """File -> what `lamtrain cover` found."""
    return {name: found.model_dump() for name, found in _reports(folder, ("*/cover.json",), Coverage)}


def _reports(folder: Path, patterns: tuple[str, ...], kind: type[Known]) -> Iterator[tuple[str, Known]]:
    """Documents of a kind, by their names below the folder; those that say another thing are passed over."""
    paths = islice((path for pattern in patterns for path in sorted(folder.glob(pattern))), MOST)
    for path in paths:
        if not path.is_file() or path.stat().st_size > LARGEST:
            continue
        with suppress(ValidationError):
            yield path.relative_to(folder).as_posix(), kind.model_validate(_document(path))


def _document(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as err:
        raise DataError(f"not JSON ({err})", where=str(path), hint="write the report again, or move the file away") from None
