"""Exam: a benchmark and its store -> for each task the frames that are asked about, with their labels, and what needs no model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamdata import open_store
from lamdata.errors import ConfigError, ConfigErrors, DataError
from lamdata.exporting import text_of
from lamdata.frames import Frames
from lamdata.store import Dataset, Store

from ...files import replace_file
from ...prediction.shift import Shift
from ..transfer.scoring import errors_of, fit, shifts_of
from .benchmark import Benchmark, MeasuredSpec

CONTENTS = ("numbers", "natoms", "positions", "cell", "pbc", "energy", "forces", "virial", "has_energy", "has_forces", "has_virial")


@dataclass(frozen=True, kw_only=True)
class Exam:
    """One task. Asked are `fitted` frames, where references are fitted, then those that are `shown`."""

    spec: MeasuredSpec
    labels: tuple[str, ...]  # that count, of those that the frames have
    refits: bool  # whether references of a model are fitted
    train: Dataset
    measured: Dataset  # the whole split
    fitted: Frames
    shown: Frames
    guess: Shift | None  # energies of elements, fitted to `fitted`; None where no frame has an energy

    @property
    def name(self) -> str:
        """Of the task."""
        return self.spec.task

    @cached_property
    def asked(self) -> Frames:
        """The frames that a model predicts."""
        return Frames.concatenate([self.fitted, self.shown]) if self.refits else self.shown

    @cached_property
    def scored(self) -> NDArray[np.bool_]:
        """(F,) frames of `shown` whose energies count: that have one, of a composition that `fitted` determine. The same for every model."""
        found: NDArray[np.bool_] = self.shown.has_energy & np.isfinite(self.guessed)
        return found

    @cached_property
    def guessed(self) -> NDArray[np.float64]:
        """(F,) eV, what the composition alone says of `shown`; NaN where `fitted` do not determine it."""
        return shifts_of(self.shown, self.guess)

    @cached_property
    def guess_errors(self) -> dict[str, Any]:
        """Root mean squares of the guess, under the names of test.json."""
        return errors_of(self.shown, None, guess=self.guess)

    @cached_property
    def contents(self) -> str:
        """sha256 of the frames and labels that decide its numbers, whatever store holds them."""
        digest = hashlib.sha256()
        for frames in (self.fitted, self.shown):
            for name in CONTENTS:
                values = np.asarray(getattr(frames, name))
                plain = values.astype("<f8") if values.dtype.kind == "f" else values.astype("<i8")
                digest.update(np.ascontiguousarray(plain + 0).tobytes())  # + 0: a zero has no sign
        return digest.hexdigest()

    def write_asked(self, folder: Path) -> Path:
        """TASK.extxyz: the structures without labels, for whoever predicts them."""
        path = folder / f"{self.name}.extxyz"
        replace_file(
            path,
            "".join(
                text_of(replace(frame.bare(), origin=f"{self.name}#{i}", group=""), words={}) for i, frame in enumerate(self.asked)
            ).encode(),
        )
        return path


def open_exams(benchmark: Benchmark, *, where: str, store: str | None = None) -> list[Exam]:
    """Open every task, in `store` where it lies elsewhere; raises ConfigErrors for all that are not what the benchmark fixes."""
    opened = open_store(store or benchmark.store)
    exams, errors = [], list[ConfigError]()
    for spec in benchmark.tasks:
        try:
            exams.append(_open(spec, benchmark, opened))
        except ConfigError as err:
            errors.append(ConfigError(f"task {spec.task}: {err.message}", where=where, hint=err.hint))
    if errors:
        raise ConfigErrors(errors)
    return exams


def _open(spec: MeasuredSpec, benchmark: Benchmark, store: Store) -> Exam:
    train, measured = store.open(spec.dataset, split="train"), store.open(spec.dataset, split=spec.split)
    if spec.split == "train":
        raise ConfigError("training frames give references, and are not measured", hint="name validation or test")
    if not len(measured) or not len(train):
        side = spec.split if not len(measured) else "training"
        raise DataError(f"dataset {spec.dataset} has no {side} frames", where=store.url, hint="give its card a `split`, and ingest again")
    fitted, shown = train.frames(0, spec.fitted), measured.frames(0, spec.frames)
    has = {"energy": shown.has_energy, "force": shown.has_forces, "virial": shown.has_virial}
    labels = tuple(label for label in benchmark.labels if has[label].any())
    if not labels:
        raise DataError(f"{spec.split} frames of dataset {spec.dataset} have none of {', '.join(benchmark.labels)}", where=store.url)
    exam = Exam(
        spec=spec,
        labels=labels,
        refits=benchmark.references == "fitted" and "energy" in labels,
        train=train,
        measured=measured,
        fitted=fitted,
        shown=shown,
        guess=fit(fitted),
    )
    if spec.contents is not None and exam.contents != spec.contents:
        hint = "take the store that the benchmark was made of, or another version of the benchmark"
        raise ConfigError(f"dataset {spec.dataset} of {store.url} holds other frames: {exam.contents}, not {spec.contents}", hint=hint)
    return exam
