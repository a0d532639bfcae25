"""What commands left beside a model -> plain data: curves of the training, errors on held-out frames, errors by element, coverage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from lamdata.errors import DataError

from ...runlog import read_metrics

LARGEST = 16 << 20  # bytes of a report: more is none of ours
MOST = 24  # reports of a kind
POINTS = 300  # of a curve


def curves(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Column of metrics.csv -> (step, value), every so-manieth row of a long training and the last; {} where there is no such file."""
    path = folder / "metrics.csv"
    rows = read_metrics(path) if path.is_file() else []
    found: dict[str, list[tuple[float, float]]] = {}
    try:
        for row in rows:
            for name, value in row.items():
                if name not in ("step", "learning_rate", "truncated") and value:
                    found.setdefault(name, []).append((int(row["step"]), float(value)))
    except ValueError as err:
        raise DataError(f"not a table of a training ({err})", where=str(path)) from None
    return {name: _thinned(line) for name, line in found.items()}


def _thinned(line: list[tuple[float, float]]) -> list[tuple[float, float]]:
    every = -(-len(line) // POINTS)
    return [*line[:-1:every], line[-1]]


def test_reports(folder: Path) -> dict[str, dict[str, Any]]:
    """File -> what `lamtrain test` wrote into the folder of the model, or into folders in it."""
    return _reports(folder, ("test.json", "*/test.json"), ("heads", "split", "step"))


def predictions(folder: Path) -> dict[str, dict[str, Any]]:
    """File -> summaries of `lamtrain predict` that stand beside the model and have errors by element."""
    return _reports(folder, ("*.json",), ("by_element", "errors", "head"))


def coverages(folder: Path) -> dict[str, dict[str, Any]]:
    """File -> what `lamtrain cover` found."""
    return _reports(folder, ("*/cover.json",), ("verdict", "reasons", "source_said"))


def _reports(folder: Path, patterns: tuple[str, ...], keys: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Documents that have these keys, by their names below the folder."""
    paths = islice((path for pattern in patterns for path in sorted(folder.glob(pattern))), 10 * MOST)
    found = {path.relative_to(folder).as_posix(): data for path in paths for data in _document(path) if all(key in data for key in keys)}
    return dict(islice(found.items(), MOST))


def _document(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file() or path.stat().st_size > LARGEST:
        return
    try:
        data = json.loads(path.read_bytes())
    except ValueError as err:
        raise DataError(f"not JSON ({err})", where=str(path), hint="write the report again, or move the file away") from None
    if isinstance(data, dict):
        yield data
