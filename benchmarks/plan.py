"""Foretold against measured: time and peak memory of steps whose sizes and head mixes the trials of `lamtrain plan` did not see.

    python benchmarks/plan.py CONFIG [--atoms 200,700,1400] [--steps 4] [--json FILE]

Trials and steps are timed by the CPU's own clock where the process has one thread, so that others on the machine count less, else by the
wall's. For each size three mixes that no trial has: the mixture's own, labels alone, and half of the datasets. Ratios are foretold / measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from lamtrain.config import read_config
from lamtrain.data.mixture import open_training_data
from lamtrain.planning.plan import Step, frames_a_step, trial_batches
from lamtrain.planning.shares import share_out
from lamtrain.planning.survey import mixed, survey
from lamtrain.planning.trial import collate_parts, features, measure, peak_memory
from lamtrain.training.ranks import Ranks
from lamtrain.training.start import start_run
from lamtrain.training.step import train_step
from lamtrain.training.trainer import arithmetic


def main() -> None:
    """Plan once, then take steps of other sizes and mixes, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--atoms", type=lambda text: [int(x) for x in text.split(",")], default=[200, 700, 1400])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--json")
    options = parser.parse_args()
    config = read_config(options.config)
    data = open_training_data(config.mixture, config.store)
    with arithmetic(), Ranks() as ranks:
        state = start_run(config, data, Path(), resume="never", stream={}, ranks=ranks, quiet=True)
        clock = time.process_time if torch.get_num_threads() == 1 and ranks.device.type == "cpu" else time.perf_counter
        surveys = survey(data, state.model.config, seed=config.seed)
        counts = {task.spec.dataset: (len(task.train), "") for task in data.tasks}
        tasks = [task.spec for task in data.tasks]
        frames = frames_a_step(config, tasks, [known.atoms for known in surveys])
        shares = share_out(tasks, draws=config.steps * frames, counts=counts, runs=config.runs(data.heads))
        batch = Step.of(config, surveys, shares, frames=frames, ranks=1)
        costs = measure(state, trial_batches(surveys, batch, device=ranks.device.type), ranks=ranks, clock=clock)
        print(f"{costs.steps} steps tried, off by {costs.worst:.0%} at most")
        rows = []
        for atoms in options.atoms:  # ascending: what is freed may stay resident
            for name, mix in mixes(surveys, batch.shares).items():
                rows.append(compare(state, surveys, mix, costs, ranks, clock, atoms=atoms, steps=options.steps, name=name))
                print("{mix:>12} {atoms:>6.0f} atoms: time {time:.2f}, peak {peak:.2f}".format(**rows[-1]), flush=True)
    for what in ("time", "peak"):
        ratios = [row[what] for row in rows]
        print(f"{what}: {min(ratios):.2f} to {max(ratios):.2f}, median {statistics.median(ratios):.2f}")
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1))


def mixes(surveys, shares) -> dict[str, np.ndarray]:
    """Shares of the datasets in each of the mixes."""
    labels = np.array([known.has_forces for known in surveys])
    half = np.arange(len(surveys)) % 2 == 0
    parts = {"as planned": np.ones(len(surveys)), "labels alone": labels, "every other": half}
    return {name: shares * part / (shares * part).sum() for name, part in parts.items() if (shares * part).sum() > 0}


def compare(state, surveys, mix, costs, ranks, clock, *, atoms: int, steps: int, name: str) -> dict[str, float | str]:
    """Foretold over measured, of the sums over a few batches."""
    foretold = measured = 0.0
    peaks, sizes = [], []
    for seed in range(steps):
        frames = mixed(surveys, mix, atoms=atoms, seed=1000 * atoms + seed)
        parts = collate_parts(state, frames)
        row = features(parts)
        taken = []
        for _ in range(2):
            with peak_memory(state.device) as peak:
                begin = clock()
                train_step(state, parts, frames=len(frames), ranks=ranks)
                if state.device.type == "cuda":
                    torch.cuda.synchronize()
                taken.append(clock() - begin)
        foretold, measured = foretold + costs.seconds(row), measured + min(taken)
        peaks.append(costs.peak(max((features([part]) for part in parts), key=lambda one: float(one.sum()))) / peak[0])
        sizes.append(int(frames.natoms.sum()))
    return {"mix": name, "atoms": statistics.mean(sizes), "time": foretold / measured, "peak": statistics.mean(peaks)}


if __name__ == "__main__":
    main()
