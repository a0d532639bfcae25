"""Evaluate: a model and held-out frames -> the report's table: errors of each head beside what they are to be measured against."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

from lamdata.elements import NUMBERS, SYMBOLS
from lamdata.frames import Frames
from lamdata.statistics import References, Statistics
from lamdata.store import cut_batches

from ..data.batch import collate
from ..data.mixture import Task, TrainingData
from ..model.lam import LamModel, Output
from .metrics import MILLI, Metrics

BATCH_ATOMS = 1024
See = Callable[[Frames, Output, np.ndarray], None]


def evaluate(model: LamModel, data: TrainingData, *, frames: int | None = None) -> dict[str, dict[str, Any]]:
    """Return head -> errors and label spreads on held-out frames (`frames` of each dataset at most)."""
    return {head: evaluate_head(model, data, head, frames=frames) for head in data.heads}


def evaluate_head(model: LamModel, data: TrainingData, head: str, *, frames: int | None = None, see: See | None = None) -> dict[str, Any]:
    """Errors of one head beside the spread of its labels; `see` is shown each batch, its output, and the references (256,) in eV."""
    metrics, spread = Metrics(list(model.config.heads)), LabelSpread(data.references(head), data.statistics(head))
    index = list(model.config.heads).index(head)
    for task in data.of_head(head):
        for part in held_out_batches(task, frames):
            part = part.with_(head=np.full(len(part), index, np.int32))
            output = evaluate_batch(model, part, metrics)
            spread.add(part)
            if see is not None:
                see(part, output, spread.references)
    return {"task": data.heads[head], "weight": data.weights[head], **metrics.table()[head], **spread.table()}


def held_out_batches(task: Task, frames: int | None) -> Iterable[Frames]:
    """Held-out frames of a task in batches; `frames` of them at most: a store is shuffled, its first frames are a fair sample."""
    dataset = task.validation
    if len(dataset) == 0:
        return
    some = frames is not None and frames < len(dataset)
    parts = cut_batches(dataset.frames(0, frames), batch_atoms=BATCH_ATOMS) if some else dataset.batches(batch_atoms=BATCH_ATOMS)
    for part in parts:
        yield from task.held_out(part)


def evaluate_batch(model: LamModel, frames: Frames, metrics: Metrics) -> Output:
    """Run the model on frames and take in its errors; return the output."""
    parameter = next(model.parameters())
    batch = collate(frames, model.config, dtype=parameter.dtype, chunk_atoms=model.chunk_atoms).to(parameter.device)
    output = model(batch, create_graph=False)
    metrics.add(output, batch)
    return output


class LabelSpread:
    """What errors are to be compared with: the spread of the labels, and guesses that need no model."""

    def __init__(self, references: References | None, statistics: Statistics):
        self.references = np.zeros(256)
        for symbol, energy in (references.energies if references else {}).items():
            self.references[NUMBERS[symbol]] = energy
        counts = np.array([statistics.element_atoms.get(symbol, 0) for symbol in SYMBOLS], np.float64)
        self.frequency = counts / max(counts.sum(), 1.0)
        self.energy: list[float] = []
        self.force_sum = self.force_count = self.entropy = self.masked = 0.0

    def add(self, frames: Frames) -> None:
        """Take in the labels of some frames."""
        starts = frames.starts[:-1]
        if len(frames):
            left = (frames.energy - np.add.reduceat(self.references[frames.numbers], starts)) / frames.natoms
            self.energy += left[frames.has_energy].tolist()
        labelled = np.repeat(frames.has_forces, frames.natoms)
        self.force_sum += float(np.square(frames.forces[labelled], dtype=np.float64).sum())
        self.force_count += 3 * int(labelled.sum())
        if frames.clean_numbers is not None:
            hidden = frames.clean_numbers[frames.numbers == 0]
            seen = np.maximum(self.frequency[hidden], 1e-12)  # an element never seen in training would cost infinitely much
            self.entropy -= float(np.log(seen).sum())
            self.masked += len(hidden)

    def table(self) -> dict[str, float]:
        """Standard deviations and entropies under the names that stand beside the errors."""
        out = {}
        if self.energy:
            out["energy_std_mev_per_atom"] = float(np.std(self.energy)) * MILLI
        if self.force_count:
            out["force_std_mev_per_angstrom"] = math.sqrt(self.force_sum / self.force_count) * MILLI
        if self.masked:
            out["type_frequency_entropy"] = self.entropy / self.masked
        return out


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
        ratios = [row[a] / row[b] for a, b in RELATIVE if a in row and row.get(b)]
        if ratios:
            total += row["weight"] * sum(ratios) / len(ratios)
            weights += row["weight"]
    return total / weights if weights else math.inf


RELATIVE = (
    ("energy_rmse_mev_per_atom", "energy_std_mev_per_atom"),
    ("force_rmse_mev_per_angstrom", "force_std_mev_per_angstrom"),
    ("displacement_rmse_angstrom", "displacement_zero_rmse_angstrom"),
    ("type_cross_entropy", "type_frequency_entropy"),
)


def device_of(name: str = "auto") -> torch.device:
    """ "auto" is CUDA where there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
