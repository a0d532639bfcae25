"""Submission: the small YAML file beside predictions that says whose they are, what they come from, and what is claimed of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from lamdata.fields import Name
from lamdata.located import Spec

from ..submitted import check_inside
from .names import check_metrics

FORMATS = (".extxyz", ".xyz", ".zarr")


def _check_predictions(files: dict[str, str]) -> dict[str, str]:
    for task, name in files.items():
        check_inside(name)
        if not name.endswith(FORMATS):
            raise ValueError(f"{task}: predictions are extended XYZ or a store, as `lamtrain predict` writes: {', '.join(FORMATS)}")
    return files


class TrainedOn(Spec):
    """A dataset that a model was trained on."""

    dataset: str
    """Its name."""
    content_hash: str | None = None
    """sha256 of its contents, as a checkpoint records it and `lamdata show` prints it; without it the dataset is looked for by name."""

    later = ("content_hash",)


class Claims(Spec):
    """What the submission says of itself. It changes nothing; where it is not what is found, that is said."""

    score: float | None = None
    """The normalised score."""
    tasks: Annotated[dict[str, dict[str, float]], AfterValidator(check_metrics)] = {}
    """Task -> name of an error -> its value."""


class Submission(Spec):
    """Predictions on a benchmark. Paths are inside its folder."""

    submission: Name
    """Its name in the table."""
    model: str
    """What made the predictions, in a line."""
    authors: list[str] = []
    """Who."""
    trained_on: list[TrainedOn] | None = None
    """What the model was trained on; null where that is not known."""
    predictions: Annotated[dict[str, str], Field(min_length=1), AfterValidator(_check_predictions)]
    """Task -> file, as TASK.extxyz or TASK.zarr, with energies, forces and virials of the frames that were asked for, in any order."""
    claims: Claims = Claims()
    """What it is said to be worth."""
    heads: dict[str, str] = {}
    """Task -> head of the model that was asked, where it has several."""
    checkpoint: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """sha256 of the model's file, where there is one."""

    later = ("claims", "heads", "checkpoint", "authors")
