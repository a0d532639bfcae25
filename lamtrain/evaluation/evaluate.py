"""Evaluate: a model and held-out frames -> the report's table: errors of each head beside what they are to be measured against."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamdata.elements import NUMBERS
from lamdata.frames import Frames
from lamdata.store import cut_batches

from ..data.batch import Batch, collate
from ..data.feed import do_ahead
from ..data.mixture import Task, TrainingData
from ..model.lam import LamModel, Output
from ..tasks import task_kind
from .metrics import Metrics

BATCH_ATOMS = 1024
See = Callable[[Frames, Output, NDArray[np.float64]], None]


@dataclass(slots=True)
class Together:
    """Processes that evaluate together: each takes every `world`-th batch of all heads, and `total` adds up what all saw."""

    rank: int = 0
    world: int = 1
    total: Callable[[Metrics], None] = lambda metrics: None
    turn: int = 0

    def mine(self) -> bool:
        """Whether the next batch is this process's."""
        self.turn += 1
        return self.turn % self.world == self.rank


def evaluate(
    model: LamModel, data: TrainingData, *, frames: int | None = None, at_once: int | None = None, together: Together | None = None
) -> dict[str, dict[str, Any]]:
    """Return head -> errors and label spreads on held-out frames, `frames` of each dataset and `at_once` atoms at a time at most."""
    return {head: evaluate_head(model, data, head, frames=frames, at_once=at_once, together=together) for head in data.heads}


def evaluate_head(
    model: LamModel,
    data: TrainingData,
    head: str,
    *,
    split: str = "validation",
    frames: int | None = None,
    at_once: int | None = None,
    references: Mapping[str, float] | None = None,
    see: See | None = None,
    together: Together | None = None,
) -> dict[str, Any]:
    """Errors of one head on a split, beside the spread of its labels; `see` is shown each batch, its output, and the references (256,) in eV.

    The energy of a frame with an element that the head has no reference energy for says nothing: it is counted as `energies_not_scored`.
    Of processes that evaluate `together`, each shows its own batches to `see`.
    `references` are those of the head, element -> eV; by default those that `data` gives.
    """
    together = together or Together()
    statistics, fitted = data.statistics(head), data.references(head) if references is None else None
    references = fitted.energies if fitted is not None else references
    table, known = reference_table(references or {}), [NUMBERS[symbol] for symbol in references or {}]
    metrics, spread = Metrics(model.config.heads), task_kind(data.heads[head]).spread(table, statistics)
    index, parameter, unscored = list(model.config.heads).index(head), next(model.parameters()), 0

    def prepare(part: Frames) -> tuple[Frames, int, Batch | None]:
        part = part.with_(head=np.full(len(part), index, np.int32))
        strange = np.zeros(len(part), bool) if references is None else part.has_energy & has_others(part, known)
        part = part.with_(has_energy=part.has_energy & ~strange)
        batch = collate(part, model.config, dtype=parameter.dtype, chunk_atoms=model.chunk_atoms) if together.mine() else None
        return part, int(strange.sum()), batch

    parts = (
        part
        for task in data.of_head(head)
        for part in held_out_batches(task, split, frames, atoms=min(BATCH_ATOMS, at_once or BATCH_ATOMS))
    )
    for part, strange, batch in do_ahead(prepare, parts):
        spread.add(part)
        unscored += strange
        if batch is None:
            continue
        batch = batch.to(parameter.device, non_blocking=True)
        output = model(batch, create_graph=False)
        metrics.add(output, batch)
        if see is not None:
            see(part, output, table)
    together.total(metrics)
    more = {"energies_not_scored": unscored} if unscored else {}
    return {"task": data.heads[head], "weight": data.weights[head], **metrics.table()[head], **spread.table(), **more}


def has_others(frames: Frames, known: Collection[int]) -> NDArray[np.bool_]:
    """(F,) whether a frame has an element whose atomic number is not among `known`."""
    numbers = frames.numbers if frames.clean_numbers is None else frames.clean_numbers
    others = ~np.isin(numbers, list(known))
    return np.logical_or.reduceat(others, frames.starts[:-1]) if len(frames) else np.zeros(0, bool)


def held_out_batches(task: Task, split: str, frames: int | None, *, atoms: int = BATCH_ATOMS) -> Iterable[Frames]:
    """Frames of a split of a task in batches of `atoms`; `frames` of them at most: a store is shuffled, its first are a fair sample."""
    dataset = task.side(split)
    if len(dataset) == 0:
        return
    some = frames is not None and frames < len(dataset)
    parts = cut_batches(dataset.frames(0, frames), batch_atoms=atoms) if some else dataset.batches(batch_atoms=atoms)
    for part in parts:
        yield from task.held_out(part)


def reference_table(energies: Mapping[str, float]) -> NDArray[np.float64]:
    """(256,) reference energies in eV by atomic number; 0 where there is none."""
    table = np.zeros(256)
    for symbol, energy in energies.items():
        table[NUMBERS[symbol]] = energy
    return table


def weighted(table: dict[str, dict[str, Any]]) -> dict[str, float]:
    """The report's last line: sum_h w_h x_h / sum_h w_h over the energy/force heads."""
    out = {}
    for name in ("energy_rmse_mev_per_atom", "force_rmse_mev_per_angstrom"):
        rows = [(row["weight"], row[name]) for row in table.values() if name in row]
        if rows:
            out[name] = sum(w * x for w, x in rows) / sum(w for w, _ in rows)
    return out


def score(table: dict[str, dict[str, Any]]) -> float:
    """One number to choose a checkpoint by: the weighted mean over heads of errors relative to their spreads; lower is better."""
    total = weights = 0.0
    for row in table.values():
        ratios = [row[a] / row[b] for a, b in task_kind(row["task"]).relative if a in row and row.get(b)]
        if ratios:
            total += row["weight"] * sum(ratios) / len(ratios)
            weights += row["weight"]
    return total / weights if weights else math.inf
