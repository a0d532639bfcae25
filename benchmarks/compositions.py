"""A dataset of a million compositions: what its commit weighs, how long it takes to open, and what its references are off.

    python benchmarks/compositions.py [--frames 1000000] [--elements 89] [--json FILE]

The frames are made here and go through the statistics of an ingest a thousand at a time, on the way that its pieces go; of the segment there are
a thousand of them, for commits know nothing of its size. "Before" is what a commit held until version 2: a mean and a sum of squares for
each composition, as JSON, and a least-squares fit to one row for each.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from lamdata.elements import SYMBOLS
from lamdata.energies import Energies, fit_references, merge_energies
from lamdata.frames import Frames
from lamdata.places import open_place
from lamdata.statistics import Statistics, formula_of, merge
from lamdata.store import Survey, commit, open_dataset, open_store, plan_segment, seal_segment, write_shard
from lamdata.store.energies import write_energies

AT_ONCE, PIECES = 1000, 8
OPENED = 20  # times
NAME = "compounds"


def main() -> None:
    """Make, commit, open, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--elements", type=int, default=89)
    parser.add_argument("--json")
    options = parser.parse_args()
    batches = range(options.frames // AT_ONCE)
    counts, energies = np.empty((options.frames, options.elements), np.uint8), np.empty(options.frames)
    pieces = [(Statistics(), Energies()) for _ in range(PIECES)]
    spent = 0.0
    for batch in batches:
        rows = slice(batch * AT_ONCE, (batch + 1) * AT_ONCE)
        frames, counts[rows], energies[rows] = make(batch, options.elements)
        begin = time.process_time()
        statistics, gathered = pieces[batch * PIECES // len(batches)]
        statistics.add(frames, shortest=np.ones(AT_ONCE))
        gathered.add(frames)
        spent += time.process_time() - begin
    statistics, gathered = merge(one for one, _ in pieces), merge_energies(one for _, one in pieces)
    found = {"frames": options.frames, "us_per_frame": 1e6 * spent / options.frames}
    found |= compare(gathered, counts, energies) | store(frames, statistics, gathered)
    found["commit_before_over_now"] = (found["commit_bytes"] + found["before_bytes"]) / found["commit_bytes"]
    for name, value in found.items():
        print(f"{name:28} {value:,}" if isinstance(value, int) else f"{name:28} {value:.3g}")
    if options.json:
        Path(options.json).write_text(json.dumps(found))


def make(seed: int, elements: int) -> tuple[Frames, np.ndarray, np.ndarray]:
    """Compounds of three to six elements, hardly one of them twice: energies by element as those of pseudopotentials, and 50 meV/atom that no reference explains."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((AT_ONCE, elements), np.int64)
    for row in counts:
        some = rng.choice(elements, rng.integers(3, 7), replace=False)
        row[some] = rng.integers(1, 25, len(some))
    numbers, natoms = np.concatenate([np.repeat(np.arange(1, elements + 1), row) for row in counts]), counts.sum(axis=1)
    energy = -counts @ (0.1 * np.arange(1, elements + 1) ** 1.5) + 0.05 * natoms * rng.normal(size=AT_ONCE)
    frames = Frames.from_arrays(
        numbers=numbers.astype(np.uint8), positions=np.zeros((len(numbers), 3)), natoms=natoms.astype(np.int32), energy=energy
    )
    return frames, counts.astype(np.uint8), energy


def compare(gathered: Energies, counts: np.ndarray, energies: np.ndarray) -> dict[str, Any]:
    """References from the triangles and from all compositions, and what these weigh as JSON."""
    kinds, kind = np.unique(counts, axis=0, return_inverse=True)
    count = np.bincount(kind.ravel()).astype(float)
    mean = np.bincount(kind.ravel(), energies) / count
    wide, root = kinds.astype(float), np.sqrt(count)
    solution = np.linalg.lstsq(wide * root[:, None], mean * root, rcond=None)[0]
    left = (energies - counts @ solution) / counts.sum(axis=1, dtype=np.int64)
    now = fit_references(gathered)
    assert now is not None
    some = {
        formula_of({SYMBOLS[z + 1]: int(n) for z, n in enumerate(row) if n}): [1, e, 0.0, e, e] for row, e in zip(kinds[:1000], mean[:1000])
    }
    return {
        "compositions": len(kinds),
        "references_off_ev": float(np.abs(np.array([*now.energies.values()]) - solution).max()),
        "spread_off_ev_per_atom": abs(now.std_after - float(np.std(left))),
        "spread_ev_per_atom": now.std_after,
        "before_bytes": len(json.dumps(some, separators=(",", ":"))) * len(kinds) // len(some),
    }


def store(frames: Frames, statistics: Statistics, gathered: Energies) -> dict[str, Any]:
    """Commit them as an ingest does, and open that."""
    with tempfile.TemporaryDirectory(prefix="compositions-") as folder:
        texts, path = [str(i) for i in range(len(frames))], f"{NAME}/0123456789abcdef"
        frames = frames.with_(shortest=np.ones(len(frames), np.float32))
        plan = plan_segment(frames.natoms, Survey.of(frames, texts, texts))
        write_shard(f"{folder}/{path}", plan, 0, records=frames, groups=texts, origins=texts, split=np.zeros(len(frames), np.uint8))
        entry = seal_segment(f"{folder}/{path}", plan, path=path, attributes={})
        references, place = fit_references(gathered), open_place(folder)
        assert references is not None
        meta = {"card": {"dataset": NAME, "title": NAME}, "sources": {}, "rejected": {}, "references": references.to_json()}
        meta |= {"statistics": {"train": statistics.to_json()}, "energies": write_energies(place, {"train": gathered})}
        number = commit(folder, NAME, [entry], meta)
        opens, reads = [], []
        for _ in range(OPENED):
            begin = time.perf_counter()
            view = open_dataset(folder, NAME)
            assert view.statistics.frames == statistics.frames
            opens.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            again = fit_references(view.energies)
            reads.append(time.perf_counter() - begin)
            assert again == references
        assert open_store(folder).commit == number
        sizes = {"commit_bytes": place.size(f"commits/{number:08d}.json"), "object_bytes": place.size(meta["energies"]["train"])}
        return {**sizes, "open_ms": 1e3 * float(np.median(opens)), "read_and_fit_ms": 1e3 * float(np.median(reads))}


if __name__ == "__main__":
    main()
