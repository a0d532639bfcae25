"""What two models cost on the same frames: time in turn, and memory."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lamdata.frames import Frames
from lamdata.store import cut_batches

from ..checkpoint import Checkpoint
from ..evaluation.evaluate import BATCH_ATOMS
from ..prediction.model import Model

ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of a model in its own precision on this machine, with the kernels that it has and as many threads as torch was given."""

    microseconds_per_atom: float  # energies, forces and virials, neighbour lists included
    peak_bytes_per_atom: int | None  # memory that a batch adds to the process at most; None where the system does not say
    weights_bytes: int
    threads: int


def compare_costs(before: Checkpoint, after: Checkpoint, asked: dict[str, Frames]) -> list[Cost]:
    """Of both on the first batch of the head with the most frames, in turn."""
    head, frames = max(asked.items(), key=lambda item: len(item[1]))
    batch = next(iter(cut_batches(frames, batch_atoms=BATCH_ATOMS)))
    atoms = int(batch.natoms.sum())
    models = [Model(one, path="", device=torch.device("cpu"), dtype=None, kernels="auto") for one in (before, after)]
    works: list[Callable[[], object]] = [lambda model=model: model.evaluate(batch, head=head) for model in models]  # type: ignore[misc]
    peaks = [peak_of(work) for work in works]
    spent: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for work, times in zip(works, spent):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
    return [
        Cost(
            microseconds_per_atom=1e6 * statistics.median(times) / atoms,
            peak_bytes_per_atom=None if peak is None else peak // atoms,
            weights_bytes=sum(value.numel() * value.element_size() for value in model.net.state_dict().values()),
            threads=torch.get_num_threads(),
        )
        for model, times, peak in zip(models, spent, peaks)
    ]


def peak_of(work: Callable[[], object]) -> int | None:
    """Bytes that `work` adds to the process at most, the second time that it is done; None where Linux does not say."""
    work()
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what the allocator keeps of earlier work would hide what this one takes
        reset.write_text("5")  # VmHWM is then what is resident now
        before = _kilobytes(status.read_text(), "VmRSS")
        work()
        return 1024 * max(0, _kilobytes(status.read_text(), "VmHWM") - before)
    except (OSError, AttributeError, ValueError):
        return None


def _kilobytes(status: str, name: str) -> int:
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1])
