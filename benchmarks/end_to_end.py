"""A training from a store, whole: atoms a second over many steps, and how long the steps waited for the stream and the neighbour lists.

python benchmarks/end_to_end.py [--device cuda] [--steps 200] [--frames 16] [--size medium] [--heads 1] [--json FILE]

The store holds frames of 2 to 33 and of 64 molecules of water with made-up labels; the run is `lamtrain.training.trainer.train` as anybody starts it.
`waited` is the share of the time that the loop stood still for its next batch. The first tenth of the steps is left out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from dpa2_step import water
from processor import processor

CARD = """dataset: {name}
title: Water with made-up labels
license: CC0-1.0
theory: {{code: none, functional: none}}
sources:
  - {{path: "{name}.xyz", format: extxyz, group: frame, split: train, units: {{energy: eV, length: Angstrom, force: eV/Angstrom}}}}
checks: {{max_force: null, net_force: null}}
"""


def write_store(folder: Path, heads: int, frames: int) -> None:
    """A dataset for each head, ingested from extended XYZ."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    from lamdata import ingest, open_card

    rng = np.random.default_rng(0)
    rows = []
    for head in range(heads):
        name, structures = f"water{head}", []
        for k in range(frames):
            molecules = 64 if k % 3 == 0 else int(rng.integers(2, 34))
            positions, types, cell = water(molecules, seed=1000 * head + k)
            atoms = Atoms(np.array([8, 1])[types], positions, cell=cell, pbc=True)
            atoms.calc = SinglePointCalculator(atoms, energy=-5.0 * len(atoms) + rng.normal(), forces=rng.normal(size=positions.shape))
            structures.append(atoms)
        write(folder / f"{name}.xyz", structures, format="extxyz")
        (folder / f"{name}.yaml").write_text(CARD.format(name=name))
        ingest(open_card(folder / f"{name}.yaml"), str(folder / "water.zarr"), base=folder, quiet=True)
        rows.append(f"  - {{head: {name}, dataset: {name}, task: energy_force, weight: 1.0}}\n")
    (folder / "mixture.yaml").write_text(f"mixture: water\nheads:\n{''.join(rows)}")


def run(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Train, with a clock on each batch."""
    from lamtrain.config import TrainConfig
    from lamtrain.data.feed import Feed
    from lamtrain.training import trainer

    seen: list[tuple[float, float, int]] = []  # asked for, got, atoms
    plain = Feed.__iter__

    def timed(feed: Feed):
        batches = plain(feed)
        while True:
            asked = time.perf_counter()
            parts, frames, position = next(batches)
            seen.append((asked, time.perf_counter(), int(frames.natoms.sum())))
            yield parts, frames, position

    Feed.__iter__ = timed  # type: ignore[method-assign]
    far = 10 * options.steps
    values = {
        "train": "end-to-end", "mixture": str(folder / "mixture.yaml"), "store": str(folder / "water.zarr"), "model": {"size": options.size},
        "steps": options.steps, "batch": {"frames": options.frames}, "log_every": options.steps, "checkpoint_every": far,
        "validation": {"every": far, "frames": 1}, "precision": options.precision, "kernels": options.kernels, "threads": options.threads,
    }  # fmt: skip
    trainer.train(TrainConfig.model_validate(values), out=folder / "run", device=options.device, resume="never", quiet=True)
    ended = time.perf_counter()
    kept = seen[len(seen) // 10 :]
    seconds = ended - kept[0][0]
    return {
        "atoms_per_s": sum(atoms for _, _, atoms in kept) / seconds,
        "waited": sum(got - asked for asked, got, _ in kept) / seconds,
        "steps": len(kept),
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", default="medium")
    parser.add_argument("--heads", type=int, default=1)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--kernels", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--stored", type=int, default=300, help="frames of each head in the store")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        write_store(Path(temporary), options.heads, options.stored)
        found = run(Path(temporary), options)
    print(f"{processor()}, {options.device}: {options.size}, {options.heads} heads, {options.frames} frames a step")
    print(f"{found['atoms_per_s']:,.0f} atoms/s, {found['waited']:.1%} of the time waiting for a batch, over {found['steps']} steps")
    if options.json:
        options.json.write_text(json.dumps(vars(options) | found, default=str, indent=1))


if __name__ == "__main__":
    main()
