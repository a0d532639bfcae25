"""Threads of a training: how many feed an accelerator, and, by trial, with how many a CPU's steps are fastest.

A core that another process works on is worth less than none to a step that waits for it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..cores import usable_threads
from ..data.feed import AHEAD

GAIN = 1.03  # more threads must be faster by this much: they take cores that others could use
ROUNDS = 3  # of each count, at least


@dataclass(frozen=True, slots=True, kw_only=True)
class Threads:
    """What was chosen, from what the process may use, and the median time of a step with each count that was tried."""

    count: int
    usable: int
    seconds: dict[int, float]

    def __str__(self) -> str:
        tried = ", ".join(f"{count}: {seconds:.3g} s a step" for count, seconds in self.seconds.items())
        return f"{self.count} of {self.usable} usable" + (f" ({tried})" if tried else "")


def feeding_threads(device: torch.device, *, sharing: int = 1) -> int:
    """Threads that make batches, in one of `sharing` processes on this machine.

    One on a CPU, whose cores are for the steps. For an accelerator, each usable core but the one that steps, up to one a batch in work.
    """
    return 1 if device.type == "cpu" else min(max(usable_threads() // sharing - 1, 1), AHEAD)


def choose_threads(step: Callable[[], object], *, counts: Sequence[int] | None = None, seconds: float = 3.0) -> Threads:
    """Try `step`, whose results the caller throws away, with 1, 2, 4 ... threads and all usable ones; set the count that is fastest.

    The counts take turns, so that a load that comes and goes disturbs all alike. Bits of sums depend on the count: a run that is to go
    on with the same bits sets the count that it began with.
    """
    usable = usable_threads()
    counts = _doublings(usable) if counts is None else counts
    if len(counts) == 1:
        torch.set_num_threads(counts[0])
        return Threads(count=counts[0], usable=usable, seconds={})
    taken: dict[int, list[float]] = {count: [] for count in counts}
    step()  # what is slow only once
    start = time.perf_counter()
    while len(taken[counts[-1]]) < ROUNDS or time.perf_counter() - start < seconds:
        for count in counts:
            torch.set_num_threads(count)
            begin = time.perf_counter()
            step()
            taken[count].append(time.perf_counter() - begin)
    medians = {count: statistics.median(times) for count, times in taken.items()}
    best = fewest_fast(medians)
    torch.set_num_threads(best)
    return Threads(count=best, usable=usable, seconds=medians)


def fewest_fast(seconds: dict[int, float]) -> int:
    """The fewest threads that no larger count beats by more than GAIN."""
    best, *others = sorted(seconds)
    for count in others:
        if seconds[count] * GAIN < seconds[best]:
            best = count
    return best


def _doublings(most: int) -> list[int]:
    return sorted({*(2**k for k in range(most.bit_length())), most})
