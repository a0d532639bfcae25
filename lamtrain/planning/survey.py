"""A few frames of each dataset, as training sees them -> atoms, neighbours, how many are lost, what kind of step they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamdata.frames import Frames
from lamdata.stream.dealing import deal

from ..data.batch import collate
from ..data.mixture import Task, TrainingData
from ..model.config import ModelConfig
from ..model.heads import head_kind

SAMPLE_FRAMES, SAMPLE_ATOMS = 200, 2000  # of each dataset; a store is shuffled, so that its first frames are a fair sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What is known of one dataset of a mixture."""

    frames: Frames  # a sample, noise and all, for the model's heads
    natoms: NDArray[np.int64]  # of its training frames, or of the sample where cells are repeated
    has_forces: bool  # of the head
    neighbors: dict[str, float]  # list -> neighbours an atom that are kept, on average
    truncated: dict[str, float]  # list -> share of the atoms that lose some

    @property
    def atoms(self) -> float:
        """Atoms of a frame, on average."""
        return float(self.natoms.mean())


def survey(data: TrainingData, config: ModelConfig, *, seed: int) -> list[Survey]:
    """Look at each dataset of a mixture."""
    return [_of_task(task, list(data.heads).index(task.spec.head), config, seed=seed) for task in data.tasks]


def _of_task(task: Task, head: int, config: ModelConfig, *, seed: int) -> Survey:
    frames = task.noised(task.train.frames(0, SAMPLE_FRAMES), seed=seed)
    frames = frames.with_(head=np.full(len(frames), head, np.int32))
    repeated = task.spec.augment is not None and task.spec.augment.supercell is not None
    some = first_atoms(frames, SAMPLE_ATOMS)
    batch = collate(some, config)
    atoms = batch.natoms_total
    inside = dict.fromkeys(config.descriptor.lists, 0)
    for chunk in batch.chunks:
        distance = chunk.vectors.norm(dim=-1)
        for name, wanted in config.descriptor.lists.items():
            inside[name] += int((distance < wanted.rcut).sum(1).clamp(max=wanted.nsel).sum())
    return Survey(
        frames=frames,
        natoms=(frames.natoms if repeated else task.train.natoms).astype(np.int64),
        has_forces=head_kind(task.spec.task).has_forces,
        neighbors={name: count / atoms for name, count in inside.items()},
        truncated={name: count / atoms for name, count in batch.truncated.items()},
    )


def first_atoms(frames: Frames, atoms: int) -> Frames:
    """The first frames that have `atoms` atoms at most, or the first alone."""
    return frames.part(0, max(1, int(np.searchsorted(frames.starts, atoms, side="right")) - 1))


def mixed(surveys: Sequence[Survey], shares: NDArray[np.float64], *, atoms: int, seed: int) -> Frames:
    """Frames of all datasets by their shares, with `atoms` atoms at most."""
    rng = np.random.default_rng(seed)
    picked: list[Frames] = []
    total = 0
    while total < atoms and len(picked) < 10_000:
        frames = surveys[rng.choice(len(surveys), p=shares)].frames
        picked.append(frames.take(np.array([rng.integers(len(frames))])))
        total += int(picked[-1].natoms.sum())
    return first_atoms(Frames.concatenate(picked), atoms)


def imbalance(surveys: Sequence[Survey], shares: NDArray[np.float64], *, frames: int, ranks: int, seed: int = 0, draws: int = 20) -> float:
    """Atoms of the fullest rank over those of the mean, where `frames` of a batch are dealt to `ranks` by atoms."""
    rng, ratios = np.random.default_rng(seed), []
    for _ in range(draws):
        of = rng.choice(len(surveys), size=frames, p=shares)
        natoms = np.zeros(frames, np.int64)
        for i, known in enumerate(surveys):
            mine = of == i
            natoms[mine] = rng.choice(known.natoms, size=int(mine.sum()))
        held = np.bincount(deal(natoms, [frames], ranks), weights=natoms, minlength=ranks)
        ratios.append(held.max() / held.mean())
    return float(np.mean(ratios))
