"""A mixture and a store -> what there is to train on: datasets behind each head, their references, and the lock that names it all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lamdata import Mixture, Stream, StreamHead, open_mixture, open_store
from lamdata.augment import augment
from lamdata.catalog import TaskSpec
from lamdata.elements import NUMBERS
from lamdata.energies import Energies, References, fit_references, merge_energies, references_of_atoms
from lamdata.errors import ConfigError
from lamdata.frames import Frames
from lamdata.located import did_you_mean
from lamdata.statistics import Statistics, merge
from lamdata.store import Dataset, Store
from lamdata.stream.exchange import Exchange

from ..tasks import task_kind

VALIDATION_SEED = 1  # of the noise put on held-out frames: the same in every run, so that errors compare
VALIDATION_DRAWS = 4  # of noise for each held-out frame: a few displaced atoms of a frame say little


@dataclass(frozen=True, slots=True)
class Task:
    """One dataset feeding one head."""

    spec: TaskSpec
    train: Dataset
    validation: Dataset
    test: Dataset

    def side(self, split: str) -> Dataset:
        """Frames that choose (`validation`) or that show (`test`) what a model can do."""
        return self.test if split == "test" else self.validation

    def noised(self, frames: Frames, *, seed: int) -> Frames:
        """Put the task's augmentation on `frames`."""
        return frames if self.spec.augment is None else augment(frames, self.spec.augment, seed=seed)

    def held_out(self, frames: Frames) -> Iterator[Frames]:
        """Held-out frames as they are tested; those of a denoise task under several draws of noise, the same in every run."""
        if self.spec.task != "denoise":
            yield frames
            return
        for draw in range(VALIDATION_DRAWS):
            yield self.noised(frames.with_(epoch=np.full(len(frames), draw)), seed=VALIDATION_SEED)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The tasks of a mixture, opened."""

    mixture: Mixture
    tasks: tuple[Task, ...]
    stores: dict[str, Store]  # dataset -> the store it is in
    rcond: float | None = None  # of the fit of reference energies
    _references: dict[str, References | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def heads(self) -> dict[str, str]:
        """Head -> task kind, in the order of the mixture."""
        return {task.spec.head: task.spec.task for task in self.tasks}

    @property
    def weights(self) -> dict[str, float]:
        """Head -> weight, summed over its datasets."""
        out = dict.fromkeys(self.heads, 0.0)
        for task in self.tasks:
            out[task.spec.head] += task.spec.weight
        return out

    @property
    def drawn(self) -> tuple[Task, ...]:
        """The tasks that are trained: those of weight 0 are only measured."""
        return tuple(task for task in self.tasks if task.spec.weight)

    @property
    def elements(self) -> list[str]:
        """All elements of all datasets, by atomic number."""
        return sorted({symbol for task in self.tasks for symbol in task.train.elements}, key=NUMBERS.__getitem__)

    def of_head(self, head: str) -> list[Task]:
        """The tasks that feed one head."""
        return [task for task in self.tasks if task.spec.head == head]

    def statistics(self, head: str) -> Statistics:
        """Statistics of a head's training frames."""
        return merge(task.train.statistics for task in self.of_head(head))

    def energies(self, head: str) -> Energies:
        """What reference energies need of a head's training frames."""
        return merge_energies(task.train.energies for task in self.of_head(head))

    def references(self, head: str) -> References | None:
        """Reference energies of an energy/force head, fitted once to the training frames of all its datasets; None for other heads."""
        if head not in self._references:
            self._references[head] = self._find_references(head) if self.heads[head] == "energy_force" else None
        return self._references[head]

    def take_references(self, head: str, references: References) -> None:
        """Those that the head has from elsewhere, in place of a fit."""
        self._references[head] = references

    def of_isolated_atoms(self, head: str) -> bool:
        """Whether the mixture asks for the energies of isolated atoms as the head's references."""
        return any(task.spec.references == "isolated" for task in self.of_head(head))

    def _find_references(self, head: str) -> References | None:
        kinds = {task.spec.references for task in self.of_head(head)}
        if len(kinds) > 1:
            raise ConfigError(f"datasets of head {head!r} ask for both fitted and isolated references", hint="say one of them for all")
        if kinds == {"fitted"}:
            return fit_references(self.energies(head), rcond=self.rcond)
        atoms: dict[str, float] = {}
        for task in self.of_head(head):
            atoms |= task.train.isolated_atoms
        if missing := [symbol for symbol in self.statistics(head).elements if symbol not in atoms]:
            found = f"head {head!r} has no isolated atom of {', '.join(missing)}"
            raise ConfigError(found, hint="state `isolated_atoms` in the card, or use `references: fitted`")
        return references_of_atoms(self.energies(head), atoms)

    def unreferenced(self, head: str) -> list[str]:
        """Elements of an energy/force head's held-out frames that it has no reference energy for."""
        references = self.references(head)
        if references is None:
            return []
        held_out = {symbol for task in self.of_head(head) for side in (task.validation, task.test) for symbol in side.statistics.elements}
        return sorted(held_out - set(references.energies), key=NUMBERS.__getitem__)

    def origin(self, frames: Frames, f: int) -> str:
        """Where frame `f` of some frames comes from: "dataset NAME, file#index"."""
        whole = next(task.train.whole for task in self.tasks if task.train.key == int(frames.dataset[f]))
        row = int(frames.index[f])
        _, origins, _ = whole.labels(row, row + 1)
        return f"dataset {whole.name}, {origins[0]}"

    def stream(
        self,
        *,
        seed: int,
        batch_frames: int | None,
        batch_atoms: int | None,
        runs: Mapping[str, int] | None = None,
        position: int = 0,
        rank: int = 0,
        world: int = 1,
        exchange: Exchange | None = None,
    ) -> Stream:
        """The weighted stream of the tasks that are `drawn`; `Frames.head` is the index of the task among them.

        `runs`: head -> frames of each of its slots.
        """
        heads = [
            StreamHead(
                name=f"{task.spec.head}/{task.spec.data}",
                dataset=task.train,
                weight=task.spec.weight,
                augment=task.spec.augment,
                run=(runs or {}).get(task.spec.head, 1),
            )
            for task in self.drawn
        ]
        return Stream(
            heads,
            seed=seed,
            batch_frames=batch_frames,
            batch_atoms=batch_atoms,
            position=position,
            rank=rank,
            world=world,
            exchange=exchange,
        )

    def with_model_heads(self, frames: Frames) -> Frames:
        """Turn task indices in `Frames.head` into head indices."""
        names = list(self.heads)
        index = np.array([names.index(task.spec.head) for task in self.drawn], np.int32)
        return frames.with_(head=index[frames.head])

    def slots_of_heads(self, stream: Stream, first: int, last: int) -> dict[str, int]:
        """Head -> how many of the slots `first:last` are for it, over all ranks, in the order of heads; only those that have some."""
        counts, drawn = dict.fromkeys(self.heads, 0), self.drawn
        for task in stream.slots(first, last).tolist():
            counts[drawn[task].spec.head] += 1
        return {head: count for head, count in counts.items() if count}

    def lock(self) -> dict[str, Any]:
        """What was trained on, in full: content hashes, counts, licences, theories, citations. Plain JSON, equal for equal data."""
        import lamdata

        return {
            "lamdata": lamdata.__version__,
            "mixture": self.mixture.model_dump(mode="json"),
            "datasets": {task.spec.data: _lock_of(task) for task in self.tasks},
        }


def _lock_of(task: Task) -> dict[str, Any]:
    card = task.train.card
    return {
        "content_hash": task.train.content_hash,
        "train_frames": len(task.train),
        "validation_frames": len(task.validation),
        "test_frames": len(task.test),
        "license": card.license,
        "doi": card.doi,
        "citations": list(card.citations),
        "theory": card.theory.model_dump(mode="json"),
    }


def open_training_data(mixture_file: str | Path, store: str, *, rcond: float | None = None) -> TrainingData:
    """Open every dataset that a mixture file names; a mixture that cannot be trained is an error that names the head."""
    mixture, catalog = open_mixture(mixture_file)
    mixture = _with_places(mixture, Path(mixture_file).parent)
    data = open_tasks(mixture, store, cards={name: str(path) for name, path in catalog.files.items()}, rcond=rcond)
    for task in data.drawn:
        _refuse_untrainable(task)
    return data


def open_tasks(mixture: Mixture, store: str, *, cards: dict[str, str] | None = None, rcond: float | None = None) -> TrainingData:
    """Open every dataset of a mixture in a store; `cards` are the files to ingest where one is missing."""
    opened: dict[str, Store] = {}
    stores: dict[str, Store] = {}
    for spec in mixture.heads:
        place = spec.store or store
        found = opened[place] = opened.get(place) or open_store(place)
        if spec.dataset not in list(found):
            card = (cards or {}).get(spec.dataset)
            hint = f"run `lamdata ingest {card} -o {place}`" if card else did_you_mean(spec.dataset, list(found))
            raise ConfigError(f"the store has no dataset {spec.dataset!r}", where=place, hint=hint)
        if stores.setdefault(spec.dataset, found) is not found:
            raise ConfigError(
                f"dataset {spec.dataset!r} stands with two stores", where=f"mixture {mixture.mixture}", hint="name one for all its rows"
            )
    tasks = [_open_task(spec, stores[spec.dataset]) for spec in mixture.heads]
    return TrainingData(mixture, tuple(tasks), stores, rcond)


def _with_places(mixture: Mixture, folder: Path) -> Mixture:
    """The same with stores that are found from anywhere."""

    def placed(spec: TaskSpec) -> TaskSpec:
        here = spec.store is None or "://" in spec.store
        return spec if here else spec.model_copy(update={"store": os.path.abspath(folder / str(spec.store))})

    return mixture.model_copy(update={"heads": [placed(spec) for spec in mixture.heads]})


def _open_task(spec: TaskSpec, store: Store) -> Task:
    """The three splits of a dataset, or of its view, that pass the filter of the task."""
    if spec.view is not None:
        hint = f"`lamdata select {store.url} {spec.dataset} --name {spec.view} ...` makes one"
        if spec.view not in store.views:
            raise ConfigError(f"the store has no view {spec.view!r}", where=store.url, hint=hint)
        if (of := store.views[spec.view]["of"]) != spec.dataset:
            raise ConfigError(f"view {spec.view!r} is of dataset {of}, not of {spec.dataset}", where=store.url, hint=hint)
    kept = {} if spec.keep is None else {name: getattr(spec.keep, name) for name in type(spec.keep).model_fields}
    opened = store.open(spec.view or spec.dataset)
    return Task(spec, *(opened.select(split=side, **kept) for side in ("train", "validation", "test")))


def _refuse_untrainable(task: Task) -> None:
    name, needed = task.spec.data, task_kind(task.spec.task).needs
    if len(task.train) == 0:
        hint = f"leave it out, `lamtrain test --dataset {name}` measures on it; or hold less of it out in its card, and ingest again"
        raise ConfigError(f"dataset {name!r} has no training frames", where=f"head {task.spec.head}", hint=hint)
    if needed and not any(task.train.statistics.labels.get(label) for label in needed):
        raise ConfigError(f"dataset {name!r} has no {' and no '.join(needed)}", where=f"head {task.spec.head}", hint="use `task: denoise`")


def pick_head(heads: Sequence[str], head: str) -> str:
    """Check that a head exists."""
    if head not in heads:
        raise ConfigError(f"no head {head!r}", hint=did_you_mean(head, list(heads)))
    return head
