"""Curves: parts of a dataset, seeds and arms -> how far each gets with how many frames, at equal steps and once more steps help no more."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from lamdata.progress import Progress

from ...checkpoint import Checkpoint
from ...config import read_config
from ...training.stop import Interrupted, Stop
from .arms import ARMS, arm_config, network_of, write_run
from .ladder import Exam, climb, do_run, read_found, rungs_of
from .subsets import VALIDATION, store_subset
from .target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be run for every dataset."""

    sizes: Sequence[int]  # frames
    seeds: Sequence[int]  # each draws frames, weights and batches of its own
    steps: int  # of the first run of each
    most_steps: int
    overrides: Sequence[str] = ()  # key.path=value of the training configs
    threads: int = 1
    device: str = "auto"

    @property
    def total(self) -> int:
        """Steps at most, of one dataset."""
        return len(self.sizes) * len(self.seeds) * len(ARMS) * sum(rungs_of(self.steps, self.most_steps))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The model that is taken over."""

    path: Path
    checkpoint: Checkpoint
    source: str  # its head, or `new`


def do_curves(target: Target, parent: Parent, plan: Plan, folder: Path, *, bar: Progress, stop: Stop) -> list[dict[str, Any]]:
    """Do what is missing, below `folder`; a row for each arm, size and seed. `bar` counts steps, and has what convergence saves taken off.

    Raises Interrupted between two runs, as `train` does between two steps, once `stop` is asked for.
    """
    rungs = rungs_of(plan.steps, plan.most_steps)
    rows = []
    for size, seed, arm in product(plan.sizes, plan.seeds, ARMS):
        part = Part(target=target, parent=parent, plan=plan, folder=folder, size=size, seed=seed, arm=arm)
        ladder = climb(rungs, lambda steps, part=part: part.run(steps, bar, stop))  # type: ignore[misc]
        bar.total -= sum(rungs[len(ladder["runs"]) :])
        rows.append({"arm": arm, "frames": size, "seed": seed, **ladder})
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """An arm on so many frames, with a seed."""

    target: Target
    parent: Parent
    plan: Plan
    folder: Path
    size: int
    seed: int
    arm: str

    def run(self, steps: int, bar: Progress, stop: Stop) -> dict[str, Any]:
        """Do one run, or read what it found."""
        if stop.asked:
            raise Interrupted(f"{stop.reason} between two runs", hint="the same command goes on from there")
        target, plan, store = self.target, self.plan, self.folder / "frames.zarr"
        place, name = self.folder / f"n{self.size}-s{self.seed}", f"{self.arm}-{steps}"
        about = {"run": str((place / name).relative_to(self.folder.parent))}
        if known := read_found(place / name):
            bar.total -= steps
            return about | known
        card = store_subset(store, target.train, target.validation, size=self.size, seed=self.seed)
        path = write_run(place, name, self._values(steps), card=card, head=target.name, store=os.path.relpath(store, place))
        bar.note, done = f"{target.name}: {self.size} frames, seed {self.seed}, {name}", bar.done
        exam = Exam(head=target.name, frames=target.shown, guess=target.guess, device=plan.device)
        found = do_run(read_config(path, overrides=list(plan.overrides)), place / name, exam, step=bar.advance)
        bar.total -= steps - (bar.done - done)  # those that were done before
        return about | found

    def _values(self, steps: int) -> dict[str, Any]:
        parent = self.parent
        start = {"model": str(parent.path.resolve()), "heads": {self.target.name: parent.source}}
        network = network_of(parent.checkpoint.model_config, self.target.elements)
        return arm_config(self.arm, steps=steps, network=network, start=start) | {
            "seed": self.seed,
            "validation": {"every": steps, "frames": VALIDATION},
            "checkpoint_every": min(max(steps // 4, 25), 1000),
            "checkpoint_keep": 1,
            "log_every": max(steps // 20, 1),
            "threads": self.plan.threads,
        }


def taken(rows: Sequence[Mapping[str, Any]], *, arm: str, when: str) -> dict[int, list[dict[str, Any]]]:
    """Frames -> the runs of an arm, one a seed: `equal`, those of the first steps, or `converged`, those that were chosen."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        if row["arm"] == arm:
            found.setdefault(row["frames"], []).append(row["runs"][0 if when == "equal" else row["chosen"]])
    return found
