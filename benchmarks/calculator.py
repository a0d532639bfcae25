"""Steps of a simulation with and without a skin on the neighbour list, in turn, and what a step is made of; prints CPU times and ratios as JSON.

python benchmarks/calculator.py [--waters 64,512] [--sizes student,compressed,tiny,small] [--dtypes float64,float32] [MODEL.pt [HEAD]]
without a model: sizes of lamtrain init, with random weights; compressed is the student with tables
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from ase import Atoms, units
from ase.build import molecule
from ase.md.langevin import Langevin

from lamdata.errors import SetupError
from lamdata.frames import Frames
from lamtrain import Calculator, load_model
from lamtrain.checkpoint import Checkpoint, save
from lamtrain.data.batch import Batch, collate
from lamtrain.data.neighbors import Edges, SkinList, find_neighbors
from lamtrain.model.config import ModelConfig
from lamtrain.model.lam import LamModel
from lamtrain.prediction.model import Model
from lamtrain.prediction.structures import as_frame
from lamtrain.stages.compress import compress
from lamtrain.stages.sample import Sample

LIST_STEPS, ROUNDS = 200, 7
ROUND = 0.3  # CPU seconds that the steps of a round take, about
SKINS = (0.5, 1.0, 2.0)


def water(molecules: int = 64) -> Atoms:
    """Molecules on a grid at 1 g/cm^3."""
    side = round(molecules ** (1 / 3))
    step = (18.015 / 0.6022) ** (1 / 3)
    box = Atoms(cell=np.eye(3) * step * side, pbc=True)
    for place in np.ndindex(side, side, side):
        one = molecule("H2O")
        one.rotate(47 * sum(place), (1, 2, 3))
        one.translate(np.array(place) * step)
        box += one
    return box


def trajectory(atoms: Atoms, steps: int) -> list[np.ndarray]:
    """Positions of steps of 0.5 fs of free flight at 330 K, turned back now and then, so that atoms move as far as in a liquid."""
    rng = np.random.default_rng(0)
    speed = np.sqrt(330 * units.kB / atoms.get_masses())[:, None]
    positions, out, velocity = atoms.positions.copy(), [], rng.normal(size=(len(atoms), 3)) * speed
    for step in range(steps):
        if step % 20 == 0:
            velocity = rng.normal(size=(len(atoms), 3)) * speed
        positions = positions + velocity * 0.5 * units.fs
        out.append(positions)
    return out


def lists(atoms: Atoms, cutoff: float, most: int) -> dict[str, object]:
    """CPU time of the edges of one step: a search each time, and with skins, in turn."""
    path, cell, pbc = trajectory(atoms, LIST_STEPS), np.array(atoms.cell), atoms.pbc
    spent: dict[str, list[float]] = {name: [] for name in ("search", *map(str, SKINS))}
    searches = {}
    for _ in range(ROUNDS):
        start = time.process_time()
        for points in path:
            find_neighbors(points, cell=cell, pbc=pbc, cutoff=cutoff, most=most)
        spent["search"].append(time.process_time() - start)
        for width in SKINS:
            skin, start = SkinList(cutoff=cutoff, most=most, skin=width), time.process_time()
            for points in path:
                skin.edges(points, cell=cell, pbc=pbc)
            spent[str(width)].append(time.process_time() - start)
            searches[width] = skin.searches
    ratios = {w: statistics.median(a / b for a, b in zip(spent["search"], spent[str(w)])) for w in SKINS}
    return {
        "cutoff": cutoff,
        "search_ms": 1000 * statistics.median(spent["search"]) / LIST_STEPS,
        "times_faster": {w: round(r, 2) for w, r in ratios.items()},
        "searches_in_200_steps": searches,
    }


def steps(atoms: Atoms, model: Model, head: str | None) -> dict[str, float]:
    """CPU time of one whole step of Langevin dynamics, with a skin of 1 Å and without, in turn."""
    spent: dict[float, list[float]] = {0.0: [], 1.0: []}
    runs = {}
    for skin in spent:
        mine = atoms.copy()
        mine.calc = Calculator(model, head=head, skin=skin)
        runs[skin] = Langevin(mine, 0.01 * units.fs, temperature_K=1, friction=0.01, fixcm=False, rng=np.random.default_rng(0))
        runs[skin].run(1)
    start = time.process_time()
    runs[0.0].run(2)
    count = max(round(2 * ROUND / (time.process_time() - start)), 1)
    for _ in range(ROUNDS):
        for skin, run in runs.items():
            start = time.process_time()
            run.run(count)
            spent[skin].append((time.process_time() - start) / count)
    return {
        "without_ms": 1000 * statistics.median(spent[0.0]),
        "with_ms": 1000 * statistics.median(spent[1.0]),
        "times_faster": statistics.median(a / b for a, b in zip(*spent.values())),
    }


def parts(atoms: Atoms, model: Model, head: str | None) -> dict[str, float]:
    """CPU time in ms of what a step with a skin is made of, the list taken as it is between two searches: list, batch, net, and the rest."""
    mine = atoms.copy()
    mine.calc = Calculator(model, head=head)
    longest = next(iter(model.config.descriptor.lists.values()))
    skin = SkinList(cutoff=longest.rcut, most=longest.nsel)
    frames = Frames.from_list([as_frame(mine)]).with_(head=np.zeros(1, np.int32))
    dtype = next(model.net.parameters()).dtype

    def edges() -> Edges:
        return skin.edges(mine.positions, cell=np.array(mine.cell), pbc=mine.pbc)

    def batch() -> Batch:
        return collate(frames, model.config, dtype=dtype, chunk_atoms=model.net.chunk_atoms, edges=[found])

    def net() -> object:
        with torch.no_grad():
            return model.net(collated)

    def whole() -> object:
        mine.positions += 1e-6
        return mine.get_forces()

    found, collated = edges(), None
    collated = batch().to(model.device)
    work = {"list": edges, "batch": batch, "net": net, "whole": whole}
    spent: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, do in work.items():
            start = time.process_time()
            do()
            spent[name].append(1000 * (time.process_time() - start))
    found_ms = {name: statistics.median(times) for name, times in spent.items()}
    outside = found_ms["whole"] - found_ms["net"]
    return found_ms | {"share_outside_the_net": outside / found_ms["whole"]}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("model", nargs="?", type=Path)
    asked.add_argument("head", nargs="?")
    asked.add_argument("--waters", default="64")
    asked.add_argument("--sizes", default="student,compressed,tiny")
    asked.add_argument("--dtypes", default="float64,float32")
    given = asked.parse_args()
    torch.set_num_threads(1)
    out: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in given.sizes.split(",") if given.model is None else ("given",):
            path = given.model or Path(folder, f"{name}.pt")
            if name != "given":
                config = getattr(ModelConfig, "student" if name == "compressed" else name)(["H", "O"])
                rows = {"energy": {"task": "energy_force", "weight": 1.0}}
                weights = LamModel(config).state_dict()
                save(Checkpoint(model_config=config.model_dump(mode="json"), model=weights, heads=rows, lock={}), path)
                if name == "compressed":
                    compress(path, Path(folder, "tables.pt"), Sample([as_frame(water())], "water"), quiet=True)
                    path = Path(folder, "tables.pt")
            cases = itertools.product(map(int, given.waters.split(",")), given.dtypes.split(","), ("plain", "cpp"))
            for count, dtype, kernels in cases:
                about = f"{name}, {count} waters, {dtype}, {kernels}"
                try:
                    model = load_model(path, kernels=kernels, dtype=dtype)
                except SetupError as err:
                    out[about] = str(err)
                    continue
                atoms, longest = water(count), next(iter(model.config.descriptor.lists.values()))
                found = {"list": lists(atoms, longest.rcut, longest.nsel)} if (kernels, dtype, count) == ("plain", "float64", 64) else {}
                out[about] = found | {"parts_ms": parts(atoms, model, given.head), "step": steps(atoms, model, given.head)}
                print(about, out[about], file=sys.stderr, flush=True)
    print(json.dumps({"device": str(model.device), **out}, indent=1))


if __name__ == "__main__":
    main()
