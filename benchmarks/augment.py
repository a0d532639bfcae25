"""Time of augmentation on read, as a multiple of a plain copy of the same arrays, one thread.

    python benchmarks/augment.py [--frames 4000] [--atoms 40] [--repeats 20] [--json FILE]

Frames of 2 to 2 x atoms - 2 atoms, about 2 Å apart, in periodic cells, float32. CPU time, the least of interleaved repeats.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from lamdata.augment import AugmentSpec, augment
from lamdata.frames import ATOM_FIELDS, FRAME_FIELDS, Frames

SHARE = {"probability": 0.15}
CASES = {
    "noise 0.1 Å": {"noise": {"scale": 0.1, **SHARE}},
    "noise 0.1 Å, mask": {"noise": {"scale": 0.1, **SHARE}, "mask": SHARE},
    "noise 0.3 Å, 0.8 Å apart": {"noise": {"scale": 0.3, "min_distance": 0.8, **SHARE}},
    "noise 1 Å": {"noise": {"scale": 1.0, **SHARE}},
    "noise uniform 1 Å": {"noise": {"kind": "uniform", "scale": 1.0, **SHARE}},
    "noise 1 Å, 1.5 Å apart": {"noise": {"scale": 1.0, "min_distance": 1.5, **SHARE}},
    "mask": {"mask": SHARE},
    "rotate": {"rotate": True},
    "supercell": {"supercell": {"max_atoms": 80}},
}


def sample(*, frames: int, atoms: int) -> Frames:
    """Return ragged periodic frames, a rattled lattice each, with labels of zeros."""
    rng = np.random.default_rng(0)
    natoms = rng.integers(2, 2 * atoms - 1, frames).astype(np.int32)
    total, side = int(natoms.sum()), np.ceil(np.cbrt(natoms)).astype(int)
    sites = [np.stack(np.unravel_index(rng.permutation(s**3)[:n], (s, s, s)), axis=1) for s, n in zip(side, natoms)]
    positions = 2.0 * np.concatenate(sites) + rng.uniform(-0.15, 0.15, (total, 3))
    labels, yes = np.zeros((frames, 3, 3), np.float32), np.ones(frames, bool)
    return Frames(
        numbers=rng.integers(1, 90, total).astype(np.uint8), positions=positions.astype(np.float32), natoms=natoms,
        cell=(np.eye(3) * 2.0 * side[:, None, None]).astype(np.float32), pbc=np.ones((frames, 3), bool),
        energy=np.zeros(frames), forces=np.zeros((total, 3), np.float32), virial=labels, has_energy=yes, has_forces=yes, has_virial=yes,
        charge=np.zeros(frames, np.int16), multiplicity=np.zeros(frames, np.int16), weight=np.ones(frames), shortest=np.full(frames, 1.4, np.float32),
        head=np.zeros(frames, np.int32), dataset=np.zeros(frames, np.uint64), index=np.arange(frames), epoch=np.zeros(frames, np.int64),
    )  # fmt: skip


def copy(frames: Frames) -> list[np.ndarray]:
    """Copy every array."""
    return [value.copy() for name in ATOM_FIELDS + FRAME_FIELDS if (value := getattr(frames, name)) is not None]


def least_times(frames: Frames, *, repeats: int) -> dict[str, float]:
    """Return CPU seconds of a copy and of each case, each the least of `repeats`, taken in turn."""
    jobs = {"copy": partial(copy, frames)}
    for name, spec in CASES.items():
        jobs[name] = partial(augment, frames, AugmentSpec.model_validate(spec), seed=1)
    least = dict.fromkeys(jobs, np.inf)
    for _ in range(repeats):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            least[name] = min(least[name], time.process_time() - start)
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=4000)
    parser.add_argument("--atoms", type=int, default=40, help="mean atoms of a frame")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    frames = sample(frames=options.frames, atoms=options.atoms)
    atoms = len(frames.numbers)
    rows = []
    print(f"{len(frames)} frames, {atoms} atoms\n{'':28}{'ns/atom':>10}{'10^6 atoms/s':>14}{'x copy':>9}")
    for name, seconds in (least := least_times(frames, repeats=options.repeats)).items():
        rows.append({"case": name, "seconds": seconds, "atoms_per_second": atoms / seconds, "ratio_to_copy": seconds / least["copy"]})
        print(f"{name:28}{1e9 * seconds / atoms:10.1f}{1e-6 * atoms / seconds:14.1f}{seconds / least['copy']:9.1f}")
    if options.json:
        options.json.write_text(json.dumps({"frames": len(frames), "atoms": atoms, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
