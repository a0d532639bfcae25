"""The search of copies: what it finds, what it takes, and how many times faster than comparing every pair with StructureMatcher.

    python benchmarks/overlap.py [--frames 10000] [--copies 1000] [--oracle 40] [--json FILE]

Distinct frames of few compositions that look alike, and disguised copies of some of them (tests/lamdata/planted.py). The ratio is of
CPU time over the same rattled crystals of one composition, in one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "lamdata"))

import numpy as np
from planted import CHANGES, disguise, distinct, frame_of

from lamdata.elements import SYMBOLS
from lamdata.frame import Frame
from lamdata.frames import Frames
from lamdata.overlap.duplicates import Sets, find_duplicates, match_fingerprints
from lamdata.overlap.fingerprint import fingerprints


def timed(job: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of a job and its CPU seconds."""
    start = time.process_time()
    return job(), time.process_time() - start


def plant(frames: list[Frame], copies: int) -> tuple[list[Frame], np.ndarray]:
    """Add copies disguised by a random choice of changes; (F,) row of the structure that each row holds."""
    rng = np.random.default_rng(1)
    rows = rng.choice(len(frames), copies, replace=copies > len(frames))
    planted = [disguise(frames[row], *rng.choice(CHANGES, rng.integers(1, len(CHANGES) + 1), replace=False), rng=rng) for row in rows]
    return frames + planted, np.concatenate([np.arange(len(frames)), rows])


def search(*, frames: int, copies: int) -> dict[str, float]:
    """Search planted copies among distinct frames."""
    every, truth = plant(distinct(frames), copies)
    prints, reading = timed(lambda: fingerprints(Frames.from_list(every)))
    matches, matching = timed(lambda: match_fingerprints([prints], fetch=lambda rows: [every[row] for row in rows]))
    sets = Sets(len(every))
    for match in matches:
        sets.join(match.first, match.second)
    found = sum(sets.first(frames + i) == sets.first(int(truth[frames + i])) for i in range(copies))
    flagged = sum(truth[match.first] != truth[match.second] for match in matches)
    atoms = sum(len(frame.numbers) for frame in every)
    return {
        "frames": len(every), "atoms": atoms, "copies": copies, "copies_found": found, "distinct_flagged": int(flagged),
        "fingerprint_s": reading, "match_s": matching, "frames_per_s": len(every) / (reading + matching), "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


def against_oracle(count: int) -> dict[str, float]:
    """Find the copies among rattled cells of one crystal, by both."""
    from ase.build import bulk
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Lattice, Structure

    rng, frame = np.random.default_rng(2), frame_of(bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    frames = [
        Frame(numbers=frame.numbers, positions=frame.positions + rng.normal(scale=0.02, size=(8, 3)), cell=frame.cell, pbc=frame.pbc)
        for _ in range(count)
    ]
    frames += [disguise(some, "turned", "permuted", "wrapped", "noise", rng=rng) for some in frames[: count // 4]]
    crystals = [Structure(Lattice(f.cell), [SYMBOLS[z] for z in f.numbers], f.positions, coords_are_cartesian=True) for f in frames]
    matcher = StructureMatcher(ltol=1e-3, stol=1e-3, angle_tol=0.05, scale=False, primitive_cell=False)
    groups, theirs = timed(lambda: matcher.group_structures(crystals))
    matches, ours = timed(lambda: find_duplicates(frames))
    return {
        "frames": len(frames),
        "copies": len(matches),
        "oracle_copies": len(frames) - len(groups),
        "s": ours,
        "oracle_s": theirs,
        "ratio": theirs / ours,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10_000, help="distinct frames")
    parser.add_argument("--copies", type=int, default=1000, help="disguised copies among them")
    parser.add_argument("--oracle", type=int, default=40, help="frames to compare with StructureMatcher on; it looks at every pair")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = {"search": search(frames=options.frames, copies=options.copies), "oracle": against_oracle(options.oracle)}
    for title, row in result.items():
        print(title, *(f"  {name:18}{value:12.6g}" for name, value in row.items()), sep="\n")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
