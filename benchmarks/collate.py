"""Frames to batches: the compiled search and layout against vesin and NumPy, in turn, on one core and on several threads; prints JSON.

python benchmarks/collate.py [--size small] [--chunk-atoms 96] [--heads 1] [--rounds 5] [--threads 1,2,4,8]

Times are CPU times of the threads that collate, so that other work on the machine counts little. `same_bits` compares all tensors of both ways.
With the interpreter's lock a thread spends `locked_us` of an atom's time, which only one thread can at once: all together make no more than
`ceiling` atoms/s. On fewer cores than threads, `atoms_a_second_a_core` says whether threads cost each other anything.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from calculator import water
from processor import processor

from lamdata.frame import Frame
from lamdata.frames import Frames
from lamtrain.data import edge_table
from lamtrain.data.batch import Batch, collate
from lamtrain.model.config import ModelConfig
from lamtrain.model.inputs import tensors_of

BATCHES = 8  # of each thread


def batch_of(atoms: Atoms, count: int, heads: int) -> Frames:
    """The structure `count` times, each pushed about by 0.05 Å."""
    rng, numbers = np.random.default_rng(0), atoms.numbers.astype(np.uint8)
    points = (atoms.positions + rng.normal(scale=0.05, size=atoms.positions.shape) for _ in range(count))
    frames = Frames.from_list([Frame(numbers=numbers, positions=at, cell=np.array(atoms.cell), pbc=(True,) * 3) for at in points])
    return frames.with_(head=(np.arange(count) % heads).astype(np.int32))


def cases(heads: int) -> dict[str, Frames]:
    """Frames of one batch each."""
    copper = bulk("Cu", cubic=True)
    return {
        "water, 16 x 192": batch_of(water(64), 16, heads),
        "copper, 64 x 32": batch_of(copper * (2, 2, 2), 64, heads),
        "copper, 256 x 4": batch_of(copper, 256, heads),
        "water, 1 x 10125": batch_of(water(15**3), 1, heads),
    }


def plainly(work: Callable[[], Batch]) -> Batch:
    """By vesin and NumPy."""
    compiled, edge_table.compiled = edge_table.compiled, None
    try:
        return work()
    finally:
        edge_table.compiled = compiled


def timed(work: Callable[[], Batch]) -> tuple[float, Batch]:
    start = time.thread_time()
    made = work()
    return time.thread_time() - start, made


def in_turn(work: Callable[[], Batch], natoms: int, rounds: int) -> dict[str, Any]:
    """Both ways on this thread."""
    work()
    pairs = [(timed(lambda: plainly(work)), timed(work)) for _ in range(rounds)]
    plain, fast = ([pair[way][0] for pair in pairs] for way in (0, 1))
    one, two = (tensors_of(made) for _, made in pairs[-1])
    same = len(one) == len(two) and all(a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes() for a, b in zip(one, two))
    return {
        "plain_atoms_a_second": round(natoms / statistics.median(plain)),
        "atoms_a_second": round(natoms / statistics.median(fast)),
        "times_faster": round(statistics.median(a / b for a, b in zip(plain, fast)), 2),
        "same_bits": same,
    }


def locked(work: Callable[[], Batch], natoms: int, rounds: int) -> dict[str, float]:
    """Time outside of the compiled functions, which is all that a thread may spend with the interpreter's lock."""
    compiled, without = edge_table.compiled, [0.0]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*args)
            finally:
                without[0] += time.thread_time() - start

        return call

    shares = []
    edge_table.compiled = SimpleNamespace(find=counted(compiled.find), lay_out=counted(compiled.lay_out))
    for _ in range(rounds):
        without[0] = 0.0
        spent, _ = timed(work)
        shares.append(spent - without[0])
    edge_table.compiled = compiled
    seconds = statistics.median(shares)
    return {"locked_us": round(1e6 * seconds / natoms, 3), "ceiling": round(natoms / seconds)}


def together(work: Callable[[], Batch], natoms: int, threads: int) -> dict[str, int]:
    """Several threads at once, each with its own batches."""

    def one(_: int) -> float:
        return sum(timed(work)[0] for _ in range(BATCHES))

    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        spent = sum(pool.map(one, range(threads)))
    elapsed = time.perf_counter() - start
    done = natoms * BATCHES * threads
    return {"atoms_a_second_a_core": round(done / spent), "atoms_a_second": round(done / elapsed)}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--size", default="small")
    asked.add_argument("--chunk-atoms", type=int, default=96)
    asked.add_argument("--heads", type=int, default=1)
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--threads", default="1,2,4,8")
    given = asked.parse_args()
    torch.set_num_threads(1)
    if edge_table.compiled is None:
        raise SystemExit("lamtrain/data/_edges.c could not be compiled at installation")
    config = getattr(ModelConfig, given.size)(["H", "O", "Cu"], heads={f"head{k}": "energy_force" for k in range(given.heads)})
    out: dict[str, Any] = {"processor": processor(), "size": given.size, "heads": given.heads, "chunk_atoms": given.chunk_atoms}
    for name, frames in cases(given.heads).items():
        natoms = len(frames.numbers)

        def work(frames: Frames = frames) -> Batch:
            return collate(frames, config, dtype=torch.float32, chunk_atoms=given.chunk_atoms)

        threads = {count: together(work, natoms, count) for count in map(int, given.threads.split(","))}
        out[name] = in_turn(work, natoms, given.rounds) | locked(work, natoms, given.rounds) | {"threads": threads}
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
