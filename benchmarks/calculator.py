"""Steps of a simulation with and without a skin on the neighbour list, in turn; prints CPU times and ratios as JSON.

python benchmarks/calculator.py [MODEL.pt [HEAD]]        without a model: the sizes of lamtrain init, with random weights
"""

from __future__ import annotations

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
from lamtrain import Calculator, load_model
from lamtrain.checkpoint import Checkpoint, save
from lamtrain.data.neighbors import SkinList, find_neighbors
from lamtrain.model.config import ModelConfig
from lamtrain.model.lam import LamModel

LIST_STEPS, MODEL_STEPS, ROUNDS = 200, 3, 5
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


def steps(atoms: Atoms, model: object, head: str | None) -> dict[str, float]:
    """CPU time of one whole step of Langevin dynamics, with a skin of 1 Å and without, in turn."""
    spent: dict[float, list[float]] = {0.0: [], 1.0: []}
    runs = {}
    for skin in spent:
        mine = atoms.copy()
        mine.calc = Calculator(model, head=head, skin=skin)  # type: ignore[arg-type]
        runs[skin] = Langevin(mine, 0.01 * units.fs, temperature_K=1, friction=0.01, fixcm=False, rng=np.random.default_rng(0))
        runs[skin].run(1)
    for _ in range(ROUNDS):
        for skin, run in runs.items():
            start = time.process_time()
            run.run(MODEL_STEPS)
            spent[skin].append((time.process_time() - start) / MODEL_STEPS)
    return {
        "without_ms": 1000 * statistics.median(spent[0.0]),
        "with_ms": 1000 * statistics.median(spent[1.0]),
        "times_faster": statistics.median(a / b for a, b in zip(*spent.values())),
    }


def main() -> None:
    torch.set_num_threads(1)
    atoms, out = water(), {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("student", "tiny") if len(sys.argv) < 2 else ("given",):
            path, head = (Path(sys.argv[1]), next(iter(sys.argv[2:]), None)) if name == "given" else (Path(folder, f"{name}.pt"), None)
            if name != "given":
                config = getattr(ModelConfig, name)(["H", "O"])
                rows = {"energy": {"task": "energy_force", "weight": 1.0}}
                weights = LamModel(config).state_dict()
                save(Checkpoint(model_config=config.model_dump(mode="json"), model=weights, heads=rows, lock={}), path)
            for kernels in ("plain", "cpp"):
                try:
                    model = load_model(path, kernels=kernels)  # type: ignore[arg-type]
                except SetupError as err:
                    out[f"{name}, {kernels}"] = str(err)
                    continue
                longest = next(iter(model.config.descriptor.lists.values()))
                found = {"list": lists(atoms, longest.rcut, longest.nsel)} if kernels == "plain" else {}
                out[f"{name}, {kernels}"] = found | {"step": steps(atoms, model, head)}
    print(json.dumps({"atoms": len(atoms), "device": str(model.device), **out}, indent=1))


if __name__ == "__main__":
    main()
