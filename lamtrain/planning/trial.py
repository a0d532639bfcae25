"""Short real steps on the device at hand -> what a step of any size and mix costs, in seconds and in bytes.

    cost = a + sum over kinds of heads (b atoms + c slots of the longest neighbour list + d slots of the shortest)

with coefficients that are not negative, fitted to the steps by relative error. Heads with forces are differentiated twice, so they cost
several times as much as those without. On a CPU bytes are the peak resident memory of the process, on a GPU what PyTorch allocates.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lamdata.frames import Frames
from lamdata.progress import track

from ..data.batch import Batch, collate
from ..data.feed import split, split_by_head
from ..training.memory import is_out_of_memory
from ..training.ranks import Ranks
from ..training.state import TrainState
from ..training.step import train_step

MOST_ATOMS = {"cpu": 1024, "cuda": 16384}  # of a trial
SECONDS = 40.0  # for all trials together, about
REPEATS = 3

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Coefficients of the two sums, over the entries of `features`."""

    time: F64
    """s"""
    memory: F64
    """bytes, of the whole process on a CPU"""
    collate: float
    """s an atom, of the loader's thread"""
    steps: int
    """real steps that were measured"""
    worst: float
    """largest relative error of a time that was fitted"""

    def seconds(self, features: F64) -> float:
        """Time of a step."""
        return float(features @ self.time)

    def peak(self, features: F64) -> float:
        """Peak memory of a step, or of the part of it that these are the features of."""
        return float(features @ self.memory)


def features(parts: Sequence[Batch]) -> F64:
    """(7,) one, then atoms, slots of the longest and of the shortest list: of rows with forces, and of rows without."""
    out = np.zeros(7)
    out[0] = 1.0
    for part in parts:
        for chunk in part.chunks:
            atoms, widths = chunk.stop - chunk.start, list(chunk.widths.values())
            first = 1 if chunk.with_forces else 4
            out[first : first + 3] += atoms, atoms * widths[0], atoms * widths[-1]
    return out


@dataclass(slots=True)
class _Measured:
    """Trials so far."""

    features: list[F64] = field(default_factory=list)
    largest: list[F64] = field(default_factory=list)  # features of the largest part
    seconds: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    collate: list[float] = field(default_factory=list)  # s an atom
    steps: int = 0


def collate_parts(state: TrainState, frames: Frames) -> list[Batch]:
    """The batch of some frames, in the parts that the config asks for."""
    model, at_once = state.model, state.config.batch.at_once
    parts = split_by_head(frames, at_once=at_once) if state.config.step.clip == "per_head" else split(frames, at_once=at_once)
    return [collate(part, model.config, dtype=state.dtype, chunk_atoms=model.chunk_atoms) for part in parts]


def measure(
    state: TrainState,
    batches: Sequence[Frames],
    *,
    ranks: Ranks,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.perf_counter,
    quiet: bool = False,
) -> Costs:
    """Take real steps on `batches`, which should differ in size, kind and density; the smallest first, as what is freed stays resident."""
    found, begin = _Measured(), time.perf_counter()
    ordered = sorted(batches, key=lambda some: int(some.natoms.sum()))
    for frames in track(ordered, "planning", total=len(ordered), unit="trials", quiet=quiet):
        over = time.perf_counter() - begin > seconds
        try:
            _try(state, frames, found, ranks=ranks, repeats=1 if over else REPEATS, clock=clock)
        except (RuntimeError, MemoryError) as err:
            if not is_out_of_memory(err) or not found.seconds:
                raise
            print(f"note: a trial of {int(frames.natoms.sum())} atoms found no memory; what is larger is extrapolated", file=sys.stderr)
            break
    times, rows = np.array(found.seconds), np.array(found.features)
    cost = fit(rows, times)
    return Costs(
        time=cost,
        memory=fit(np.array(found.largest), np.array(found.peaks)),
        collate=float(np.median(found.collate)),
        steps=found.steps,
        worst=float(np.abs(rows @ cost / times - 1).max()),
    )


def fit(rows: F64, values: F64) -> F64:
    """Coefficients, not negative, that make `rows` (n, 7) give `values` (n,) with the least relative errors."""
    from scipy.optimize import nnls

    scale = np.where(rows.max(axis=0) > 0, rows.max(axis=0), 1.0)
    solution, _ = nnls(rows / scale / values[:, None], np.ones(len(values)))
    return np.asarray(solution / scale)


def _try(state: TrainState, frames: Frames, found: _Measured, *, ranks: Ranks, repeats: int, clock: Callable[[], float]) -> None:
    atoms, names = int(frames.natoms.sum()), list(state.data.heads)
    begin = clock()
    parts = collate_parts(state, frames)
    found.collate.append((clock() - begin) / atoms)
    seconds, peaks = [], []
    drawn = Counter(names[head] for head in frames.head.tolist()) if state.config.step.clip == "per_head" else None
    for _ in range(repeats):
        with peak_memory(state.device) as peak:
            begin = clock()
            train_step(state, parts, frames=len(frames), ranks=ranks, drawn=drawn)
            if state.device.type == "cuda":
                torch.cuda.synchronize(state.device)
            seconds.append(clock() - begin)
        peaks.append(peak[0])
        found.steps += 1
    found.features.append(features(parts))
    found.largest.append(max((features([part]) for part in parts), key=lambda row: float(row.sum())))
    found.seconds.append(min(seconds))
    found.peaks.append(max(peaks))


def memory_of(device: torch.device) -> int | None:
    """Bytes that a GPU has; None for a CPU, whose memory is shared with whatever else runs."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


@contextmanager
def peak_memory(device: torch.device) -> Iterator[list[float]]:
    """A list that holds, once the context is left, the peak of the memory in it, bytes."""
    out: list[float] = []
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    yield out
    out.append(float(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else resident_peak())


def resident_peak() -> float:
    """Peak resident memory of this process since it was last reset, bytes."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:  # no Linux
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)
    return 1024.0 * float(next(line for line in text.splitlines() if line.startswith("VmHWM")).split()[1])
