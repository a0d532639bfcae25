"""Target: a dataset of a store -> the frames that models are fitted to, and those that they are measured on, with the errors of the guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamdata import open_dataset
from lamdata.errors import DataError
from lamdata.frame import Frame
from lamdata.frames import Frames
from lamdata.store import Dataset

from ...prediction.shift import Shift
from ...training.before import TEST_FRAMES
from ...training.references import FIT_FRAMES
from .scoring import fit, shifts_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A dataset that a model is taken to. A store is shuffled: the first frames of a split are a fair sample."""

    name: str
    train: Dataset
    validation: Dataset
    test: Dataset
    held_in: Frames  # training frames that references are fitted to
    shown: Frames  # test frames that are measured
    guess: Shift | None  # of the composition alone, fitted to `held_in`; None where no frame has an energy

    @property
    def elements(self) -> list[str]:
        """Of all its frames, by atomic number."""
        return self.train.elements

    def about(self) -> dict[str, Any]:
        """Counts, as plain data."""
        return {
            "content_hash": self.train.content_hash,
            "elements": self.elements,
            "train_frames": len(self.train),
            "validation_frames": len(self.validation),
            "test_frames": len(self.test),
            "frames_fitted": len(self.held_in),
            "frames_measured": len(self.shown),
        }

    def lowest(self) -> dict[str, Frame]:
        """Its origin -> the crystal among the measured frames whose energy by atom is lowest above the guess; {} where there is none."""
        frames = self.shown
        above = (frames.energy - shifts_of(frames, self.guess)) / frames.natoms
        above = np.where(frames.pbc.all(1) & frames.has_energy & np.isfinite(above), above, np.inf)
        row = int(np.argmin(above))
        if not np.isfinite(above[row]):
            return {}
        return {f"dataset {self.name}, {self.test.labels(row, row + 1)[1][0]}": next(iter(frames.part(row, row + 1)))}


def open_target(store: str, name: str) -> Target:
    """Open a dataset, or a view of one; raises DataError where it has nothing to fit to, or nothing to measure on."""
    sides = {side: open_dataset(store, name, split=side) for side in ("train", "validation", "test")}
    for side, why in (("train", "to fit references to"), ("test", "to measure on")):
        if not len(sides[side]):
            hint = "what is measured must not be what is fitted: give the card a `split`, and ingest again"
            raise DataError(f"dataset {name} has no {side} frames {why}", where=store, hint=hint)
    held_in, shown = sides["train"].frames(0, FIT_FRAMES), sides["test"].frames(0, TEST_FRAMES)
    if not (shown.has_energy.any() or shown.has_forces.any()):
        raise DataError(f"test frames of dataset {name} have neither energies nor forces", where=store)
    return Target(name=name, held_in=held_in, shown=shown, guess=fit(held_in), **sides)


def seen_before(target: Target, lock: Mapping[str, Any]) -> list[str]:
    """Datasets that a model was trained on and that hold these frames, by content."""
    whole = {target.train.content_hash, target.train.whole.content_hash}
    return [name for name, row in lock["datasets"].items() if row.get("content_hash") in whole]
