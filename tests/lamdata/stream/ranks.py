"""Ranks in one process: what is dealt to each, and a table over which they hand frames to each other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lamdata.frames import Frames
from lamdata.stream.dealing import deal


def dealt(batch: Frames, rank: int, world: int) -> Frames:
    """The frames of a batch that a rank is to have."""
    return batch.take(np.flatnonzero(deal(batch.natoms, [len(batch)], world) == rank))


class Table:
    """Ranks that are threads: each lays its parts down, and takes up what is for it when all have."""

    def __init__(self, world: int):
        self.world = world
        self.barrier = threading.Barrier(world, timeout=60)
        self.parts: list[Sequence[np.ndarray]] = [()] * world
        self.sent = np.zeros(world, np.int64)  # bytes of each, to others

    def exchange(self, rank: int) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
        """That of a rank."""

        def swap(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
            self.parts[rank] = parts
            self.sent[rank] += sum(len(part) for other, part in enumerate(parts) if other != rank)
            self.barrier.wait()
            mine = [their[rank] for their in self.parts]
            self.barrier.wait()
            return mine

        return swap

    def run(self, work: Callable[[int], Any]) -> list[Any]:
        """What `work` of each rank gives, all at the same time."""
        results: list[Any] = [None] * self.world
        errors: list[BaseException] = []

        def one(rank: int) -> None:
            try:
                results[rank] = work(rank)
            except BaseException as err:
                errors.append(err)
                self.barrier.abort()

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.world)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return results
