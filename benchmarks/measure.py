"""Read one format for a while in a process of its own and print what it took, as JSON.

python benchmarks/measure.py MODULE FOLDER SECONDS SEED
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path


def measure(module: str, folder: str, seconds: float, seed: int) -> dict[str, float]:
    """Frames per CPU-second and per second after the first batch; seconds to the first batch, imports aside; peak RSS in MB."""
    import numpy.random  # noqa: F401  what every reader needs is not part of its time to the first batch
    import torch

    torch.set_num_threads(1)
    peer = importlib.import_module(f"peers.{module}")
    start = time.perf_counter()
    batches = peer.batches(folder, seed)
    next(batches)
    first = time.perf_counter() - start
    _read(batches, min(seconds / 4, 2))  # page cache and buffers
    frames, atoms, wall, cpu = _read(batches, seconds)
    return {
        "frames_per_cpu_s": frames / cpu,
        "frames_per_s": frames / wall,
        "atoms_per_cpu_s": atoms / cpu,
        "first_batch_s": first,
        "rss_mb": peak_rss(),
    }


def peak_rss() -> float:
    """Peak resident memory of this process in MB; getrusage would report the parent's where that was larger."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def least_cpu(jobs: dict[str, Callable[[], int]], *, rounds: int) -> tuple[dict[str, int], dict[str, float]]:
    """What each job counts, and the least CPU seconds of each, taken in turn; the first of `rounds + 1` imports what all need."""
    counts, seconds = dict.fromkeys(jobs, 0), dict.fromkeys(jobs, float("inf"))
    for _ in range(rounds + 1):
        for name, job in jobs.items():
            start = time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                counts[name] = job()
            seconds[name] = min(seconds[name], time.process_time() - start)
    return counts, seconds


def _read(batches, seconds: float) -> tuple[int, int, float, float]:
    wall, cpu, frames, atoms = time.perf_counter(), time.process_time(), 0, 0
    while time.perf_counter() - wall < seconds:
        for _ in range(16):
            batch = next(batches)
            frames += batch["natoms"].numel()
            atoms += batch["numbers"].numel()
    return frames, atoms, time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    module, folder, seconds, seed = sys.argv[1:]
    print(json.dumps(measure(module, folder, float(seconds), int(seed))), flush=True)
    sys.stdout.close()
    import os

    os._exit(0)  # some peers' threads do not end
