"""A training config -> what it would do: draws and effective epochs by head, time, memory and bytes, before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamdata.catalog import TaskSpec, open_mixture
from lamdata.errors import ConfigError
from lamdata.frames import Frames
from lamdata.notebook import size_of

from ..config import TrainConfig
from ..cores import usable_threads
from ..data.mixture import TrainingData, open_training_data
from ..training.products import set_products
from ..training.ranks import Ranks
from ..training.start import start_run
from ..training.state import TrainState
from ..training.trainer import arithmetic, settle_threads
from .shares import Share, in_words, published_counts, share_out
from .survey import Survey, first_atoms, imbalance, mixed, survey
from .trial import MOST_ATOMS, Costs, collate_parts, features, measure, memory_of

BUFFER_BLOCKS = 8  # of a stream: a dataset of no more blocks is read once
LOST = 0.01  # share of atoms whose lists are cut from which on it is said
FULLEST = 0.999  # of the batches are not larger than the one whose memory is foretold
FILLED = 0.9  # of a GPU's memory by a step: the rest is its driver's, and what lies between allocations
DRAWN = 2000  # batches whose sizes are dealt for it


def make_plan(config: TrainConfig, *, ranks: int = 1, device: str = "auto", trial: bool = True, quiet: bool = False) -> dict[str, Any]:
    """Everything that `lamtrain plan` says, as plain JSON. Without a store, shares by the counts of the cards alone."""
    if "://" not in config.store and not Path(config.store).exists():
        return _without_store(config, ranks)
    fitting = config.model.fitting
    data = open_training_data(config.mixture, config.store, rcond=None if fitting is None else fitting.rcond)
    with arithmetic(), Ranks(device) as here:
        set_products(config.matmul, here.device)
        state = start_run(config, data, Path(), resume="never", stream={}, ranks=here, quiet=True)
        surveys = survey(data, state.model.config, seed=config.seed)
        tasks = [task.spec for task in data.tasks]
        counts = {task.spec.dataset: (len(task.train), "the store") for task in data.tasks}
        frames = frames_a_step(config, tasks, [known.atoms for known in surveys])
        shares = share_out(tasks, draws=config.steps * frames, counts=counts, runs=config.runs(data.heads))
        batch = Step.of(config, surveys, shares, frames=frames, ranks=ranks)
        plan = {
            "train": config.train,
            "steps": config.steps,
            "ranks": ranks,
            "frames_a_step": batch.frames,
            "atoms_a_step": batch.atoms,
            "heads": [_row(share, known, batch) for share, known in zip(shares, surveys)],
            "bytes_read": _bytes_read(data, shares, ranks=ranks),
        }
        if trial:
            if here.device.type == "cpu":
                some = collate_parts(state, mixed(surveys, batch.shares, atoms=MOST_ATOMS["cpu"] // 4, seed=config.seed))
                settle_threads(state, some, here, quiet=True)
            costs = measure(state, trial_batches(surveys, batch, device=here.device.type), ranks=here, quiet=quiet)
            plan |= _cost(state, batch, costs, surveys)
    return plan | {"notes": [*in_words(shares), *_lost(shares, surveys), *_too_large(plan)]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step, over all ranks and of one of them."""

    frames: float
    atoms: float
    shares: NDArray[np.float64]  # of the datasets
    ranks: int
    imbalance: float  # atoms of the fullest rank over those of the mean
    fullest: float  # atoms of the fullest batch of a rank over those of the mean
    at_once: int | None

    @staticmethod
    def of(config: TrainConfig, surveys: Sequence[Survey], shares: Sequence[Share], *, frames: float, ranks: int) -> Step:
        """The step of a config; raises ConfigError where a batch has fewer frames than ranks."""
        probabilities = np.array([share.probability for share in shares])
        atoms = float(probabilities @ [known.atoms for known in surveys])
        _refuse_few_frames(config, frames, ranks)
        by_atoms = config.batch.frames is None
        each = max(1, round(frames / ranks))
        return Step(
            frames=frames,
            atoms=frames * atoms,
            shares=probabilities,
            ranks=ranks,
            imbalance=1.0 if ranks == 1 else imbalance(surveys, probabilities, frames=round(frames), ranks=ranks),
            fullest=1.0 if by_atoms else _fullest(surveys, probabilities, frames=each, alone=config.step.heads == "one"),
            at_once=config.batch.at_once,
        )


def _refuse_few_frames(config: TrainConfig, frames: float, ranks: int) -> None:
    if frames < ranks:
        size = f"{config.batch.frames} frames" if config.batch.frames else f"{config.batch.atoms} atoms, about {frames:.0f} frames,"
        raise ConfigError(
            f"a batch of {size} cannot be shared by {ranks} ranks", where="--ranks", hint=f"--set batch.frames={ranks}, or fewer ranks"
        )


def _fullest(surveys: Sequence[Survey], shares: NDArray[np.float64], *, frames: int, alone: bool) -> float:
    """Atoms of the fullest of many batches of `frames` frames, over those of the mean; `alone` where a batch is of one dataset."""
    rng = np.random.default_rng(0)
    totals = np.zeros(DRAWN)
    counts = rng.multinomial(1, shares, size=DRAWN) * frames if alone else rng.multinomial(frames, shares, size=DRAWN)
    for count, known in zip(counts.T, surveys):
        for times in np.unique(count[count > 0]):
            rows = np.flatnonzero(count == times)
            totals[rows] += rng.choice(known.natoms, size=(len(rows), int(times))).sum(axis=1)
    return float(np.quantile(totals, FULLEST) / totals.mean())


def frames_a_step(config: TrainConfig, tasks: Sequence[TaskSpec], atoms: Sequence[float]) -> float:
    """Frames of a step in the mean; `atoms` of a frame of each dataset are needed where the batch is counted in them."""
    weights = np.array([task.weight for task in tasks])
    if config.batch.frames is None:
        assert config.batch.atoms is not None, "a config has one of the two"
        return config.batch.atoms / float(weights @ atoms / weights.sum())
    if config.step.heads == "mixed":
        return config.batch.frames
    runs = config.runs(task.head for task in tasks)
    return config.step.draws * float(weights @ [runs[task.head] for task in tasks] / weights.sum())


def trial_batches(surveys: list[Survey], batch: Step, *, device: str) -> list[Frames]:
    """Batches that tell the coefficients apart: the mixture at two sizes, and of each kind of head the sparsest and the densest dataset."""
    most = min(MOST_ATOMS[device], max(64, round(batch.atoms / batch.ranks)))
    chosen = [mixed(surveys, batch.shares, atoms=atoms, seed=seed) for seed, atoms in enumerate((most, most // 2, most // 8))]
    for kind in (True, False):
        same = [known for known in surveys if known.has_forces is kind]
        for known in {id(x): x for x in sorted(same, key=_density)[:: max(1, len(same) - 1)]}.values():
            chosen += [first_atoms(known.frames, atoms) for atoms in (most, most // 3)]
    return chosen


def _density(known: Survey) -> float:
    return next(iter(known.neighbors.values()))


def _cost(state: TrainState, batch: Step, costs: Costs, surveys: list[Survey]) -> dict[str, Any]:
    """Time and memory of a step of one rank, and of the run."""
    sample = mixed(surveys, batch.shares, atoms=4 * MOST_ATOMS["cpu"], seed=99)
    row = features(collate_parts(state, sample))
    per_atom = np.where(np.arange(len(row)) == 0, 0.0, row / sample.natoms.sum())
    once = np.eye(len(row))[0]
    mine = batch.atoms / batch.ranks
    computing = costs.seconds(once + per_atom * mine * batch.imbalance)
    loading = costs.collate * mine * batch.imbalance
    alone = state.device.type == "cpu" and usable_threads() == 1  # the loader's thread takes its time from the step
    seconds = computing + loading if alone else max(computing, loading)
    held = mine * batch.fullest if batch.at_once is None else min(mine * batch.fullest, batch.at_once)
    peak, memory = costs.peak(once + per_atom * held), memory_of(state.device)
    room = 0.0 if memory is None else FILLED * memory - costs.peak(once)
    hours = seconds * state.config.steps / 3600
    return {
        "device": str(state.device),
        "real_steps": costs.steps,
        "fit_worst": costs.worst,
        "seconds_a_step": seconds,
        "seconds_computing": computing,
        "seconds_loading": loading,
        "imbalance": batch.imbalance,
        "hours": hours,
        "device_hours": hours * batch.ranks,
        "peak_bytes": peak,
        "device_bytes": memory,
        "atoms_that_fit": None if memory is None else max(0, int(room / max(costs.peak(per_atom), 1.0))),
        "gradient_bytes": sum(p.numel() * p.element_size() for p in state.model.parameters() if p.requires_grad),
    }


def _row(share: Share, known: Survey, batch: Step) -> dict[str, Any]:
    frames = batch.frames * share.probability
    return asdict(share) | {
        "epochs": share.epochs,
        "frames_a_step": frames,
        "atoms_a_step": frames * known.atoms,
        "atoms_a_frame": known.atoms,
        "neighbors": known.neighbors,
        "truncated": known.truncated,
    }


def _bytes_read(data: TrainingData, shares: Sequence[Share], *, ranks: int) -> int:
    """Bytes that a rank reads from the store, of its blocks: those of a dataset of few blocks once, of others each epoch."""
    total = 0.0
    for task, share in zip(data.tasks, shares):
        once = len(task.train.block_counts) <= BUFFER_BLOCKS
        total += task.train.stored_bytes * (1.0 if once else share.epochs or 0.0)
    return math.ceil(total / ranks)


def _lost(shares: Sequence[Share], surveys: Sequence[Survey]) -> list[str]:
    """Which datasets have atoms with more neighbours than a list keeps."""
    lines = []
    for share, known in zip(shares, surveys):
        if cut := {name: part for name, part in known.truncated.items() if part >= LOST}:
            said = ", ".join(f"{part:.0%} in {name}" for name, part in cut.items())
            lines.append(f"{share.name}: atoms lose their farthest neighbours ({said}); raise nsel of these lists or lower their cutoffs")
    return lines


def _too_large(plan: Mapping[str, Any]) -> list[str]:
    """Whether a step needs more memory than its GPU has, and what would fit."""
    memory = plan.get("device_bytes")
    if memory is None or plan["peak_bytes"] <= FILLED * memory:
        return []
    atoms = plan["atoms_that_fit"]
    what = f"set batch.at_once to {atoms:,} atoms or fewer" if atoms else "take a smaller model"
    return [f"a step needs {size_of(plan['peak_bytes'])}, and {plan['device']} has {size_of(memory)}: {what}"]


def _without_store(config: TrainConfig, ranks: int) -> dict[str, Any]:
    mixture, catalog = open_mixture(config.mixture)
    if config.batch.frames is None:
        raise ConfigError("a batch of atoms needs the store to say how many frames it has", where=config.store, hint="ingest first")
    _refuse_few_frames(config, config.batch.frames, ranks)
    counts = published_counts(mixture, catalog.cards)
    frames = frames_a_step(config, mixture.heads, [])
    shares = share_out(mixture.heads, draws=config.steps * frames, counts=counts, runs=config.runs(task.head for task in mixture.heads))
    return {
        "train": config.train,
        "steps": config.steps,
        "ranks": ranks,
        "frames_a_step": frames,
        "heads": [asdict(s) | {"epochs": s.epochs, "frames_a_step": frames * s.probability} for s in shares],
        "notes": [
            *in_words(shares),
            f"there is no store {config.store} yet: frames are those of the cards, and time and memory are not known",
        ],
    }
