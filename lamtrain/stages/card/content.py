"""A checkpoint or a run -> all that its page says, as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lamdata.card.sample import short
from lamdata.elements import SYMBOLS
from lamdata.errors import ConfigError
from lamdata.registry import licences_of_parent, problems_of

from ...checkpoint import load
from ...evaluation.modelcard import cited_by, describe
from ...evaluation.publication import parents_of
from ..cover.sketch import Sketch
from .reports import coverages, curves, predictions, test_reports

CHECKPOINTS = ("best.pt", "last.pt")  # of a run, the first that there is


def content_of(path: Path) -> dict[str, Any]:
    """What a page says of a model. Raises DataError where there is none, or a report beside it is damaged."""
    model = model_in(path)
    checkpoint, folder = load(model), model.parent
    licences = {name: row["license"] for name, row in checkpoint.lock["datasets"].items()}
    parents = parents_of(checkpoint)
    for parent in parents:
        licences |= _licences_of(parent)
    return describe(model) | {
        "train_config": checkpoint.train_config,
        "parents": parents,
        "licences": {name: {"license": licence, "problems": problems_of(licence)} for name, licence in licences.items()},
        "citations": cited_by(checkpoint),
        "curves": curves(folder),
        "tests": test_reports(folder),
        "predictions": predictions(folder),
        "coverages": coverages(folder),
        "sketches": {head: _sketch(Sketch.from_data(data)) for head, data in (checkpoint.cover or {}).items()},
    }


def model_in(path: Path) -> Path:
    """The checkpoint that a path names: a file, or the best one of a run's folder."""
    if not path.is_dir():
        return path
    found = [path / name for name in CHECKPOINTS if (path / name).is_file()]
    if not found:
        raise ConfigError("no model in this folder", where=str(path), hint="a run leaves best.pt and last.pt; name a checkpoint")
    return found[0]


def _licences_of(parent: str) -> dict[str, str | None]:
    """As the registry has them; not known where it is not at hand."""
    try:
        return licences_of_parent(parent)
    except ConfigError:
        return {f"parent {parent}": None}


def _sketch(sketch: Sketch) -> dict[str, Any]:
    """What is kept of the training of a head, as far as it can be drawn."""
    names = [[SYMBOLS[z] for z in pair] for pair in sketch.pairs.tolist()]
    return {
        "frames": sketch.frames,
        "of": sketch.of,
        "elements": dict(zip(sketch.elements, sketch.atoms.tolist())),
        "points": [[short(float(x)) for x in row] for row in np.pad(sketch.points, ((0, 0), (0, 2)))[:, :2]],
        "curve": [short(float(x)) for x in sketch.frame_curve],
        "pairs": names,
    }
