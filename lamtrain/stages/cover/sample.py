"""Training frames of any number -> a few that stand for them: the same whatever their order, and however often each is there.

Frames are ranked by a hash of what they are, so copies are one frame, and the first of a ranking are a fair draw without repetition (a bottom-k
sketch). Each element has a ranking of its own, so that a rare one is not lost among common ones.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement

import numpy as np

from lamdata.frame import Frame
from lamdata.frames import Frames
from lamdata.store import Dataset

from ...prediction.structures import content_of

Rank = int
Kind = tuple[int, ...]  # an element, or two that are in one frame, by atomic number

ATOMS = 20_000  # of a sample, about
READ = 100_000  # frames of a dataset that are ranked: a store is shuffled, so the first are a fair part of more
OF_ELEMENT, OF_PAIR = 256, 2  # frames that are kept of each ranking


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What stands for the training frames of a head."""

    frames: list[Frame]  # for the descriptors, in the order of their ranks
    paired: list[Frame]  # others in which pairs of elements may be near that are rare
    ranked: int  # frames that were read
    frames_of_all: int  # that there are


def draw_sample(datasets: Sequence[Dataset], *, seed: int = 0, atoms: int = ATOMS) -> Sample:
    """Draw frames with about `atoms` atoms; each element, then each next frame of its ranking, in turn."""
    rankings = _Rankings()
    for number, dataset in enumerate(datasets):
        for row, frame in enumerate(_first(dataset)):
            rankings.add(rank_of(frame, seed=seed), np.unique(frame.numbers).tolist(), (number, row, len(frame.numbers)))
    turn = rankings.turns()
    chosen, total = list[Rank](), 0
    for rank in sorted(turn, key=lambda rank: (turn[rank], rank)):
        if total >= atoms:
            break
        chosen.append(rank)
        total += rankings.places[rank][2]
    others = rankings.of_pairs() - set(chosen)
    return Sample(
        frames=list(_fetch(datasets, [rankings.places[rank] for rank in sorted(chosen)])),
        paired=list(_fetch(datasets, [rankings.places[rank] for rank in sorted(others)])),
        ranked=sum(min(len(dataset), READ) for dataset in datasets),
        frames_of_all=sum(map(len, datasets)),
    )


def rank_of(frame: Frame, *, seed: int) -> Rank:
    """A number that only depends on what the structure is, and on the seed."""
    return int.from_bytes(hashlib.blake2b(content_of(frame), digest_size=8, key=str(seed).encode()).digest())


def _first(dataset: Dataset) -> Iterator[Frame]:
    left = READ
    for part in dataset.batches(batch_frames=1024):
        some: Frames = part.part(0, min(left, len(part)))
        yield from some
        left -= len(some)
        if not left:
            return


Place = tuple[int, int, int]  # number of the dataset, row in it, atoms


@dataclass(slots=True)
class _Rankings:
    """The first few of each ranking."""

    kinds: dict[Kind, list[int]] = field(default_factory=dict)  # kind -> heap of negative ranks
    places: dict[Rank, Place] = field(default_factory=dict)
    uses: dict[Rank, int] = field(default_factory=dict)  # rankings that a frame is in

    def add(self, rank: Rank, elements: Sequence[int], place: Place) -> None:
        """Take in a frame; one that was there before changes nothing."""
        if rank in self.places:
            self.places[rank] = min(self.places[rank], place)
            return
        kinds = [((z,), OF_ELEMENT) for z in elements] + [(pair, OF_PAIR) for pair in combinations_with_replacement(elements, 2)]
        for kind, most in kinds:
            heap = self.kinds.setdefault(kind, [])
            if len(heap) == most and -rank <= heap[0]:
                continue
            self.places[rank] = place
            self.uses[rank] = self.uses.get(rank, 0) + 1
            heapq.heappush(heap, -rank)
            if len(heap) > most:
                self._forget(-heapq.heappop(heap))

    def _forget(self, rank: Rank) -> None:
        self.uses[rank] -= 1
        if not self.uses[rank]:
            del self.uses[rank], self.places[rank]

    def turns(self) -> dict[Rank, int]:
        """Frame -> the first turn in which one of its elements draws it."""
        turns: dict[Rank, int] = {}
        for kind, heap in self.kinds.items():
            if len(kind) == 1:
                for turn, rank in enumerate(sorted(-negative for negative in heap)):
                    turns[rank] = min(turn, turns.get(rank, turn))
        return turns

    def of_pairs(self) -> set[Rank]:
        """Frames that are among the first of a pair."""
        return {-negative for kind, heap in self.kinds.items() if len(kind) == 2 for negative in heap}


def _fetch(datasets: Sequence[Dataset], places: Sequence[Place]) -> Iterator[Frame]:
    """The frames at some places, in their order; each block that holds any is read once."""
    found: dict[tuple[int, int], Frame] = {}
    for number, dataset in enumerate(datasets):
        rows = [row for of, row, _ in places if of == number]
        found |= {(number, row): frame for row, frame in zip(rows, dataset[rows])}
    yield from (found[of, row] for of, row, _ in places)
