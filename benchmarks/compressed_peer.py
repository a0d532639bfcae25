"""A step of a calculator by a compressed DPA-1 of the size that DeePMD-kit gives it: ours, and DeePMD-kit's own of the same weights, in turn.

LAM_DEEPMD_PYTHON=... python benchmarks/compressed_peer.py [--waters 64,512] [--rounds 5]

The interpreter must have DeePMD-kit's C++ operators (`DP_ENABLE_PYTORCH=1 tests/parity/build_deepmd.sh`). Random weights, strip, no attention, nets of
25-50-100 and 240-240-240, float64, one thread; CPU time of a whole step of ASE's calculators on both sides, neighbour lists included: theirs are made anew
at each step, ours have a skin of 1 Å. Both must give the same forces, to what a table costs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from calculator import water
from compress import compressed, write_random

from lamtrain import Calculator, load_model
from lamtrain.deepmd.write import to_deepmd
from lamtrain.model.lam import LamModel

SHORTEST = 0.5  # Å, from where their table begins
PREPARE = """
import json, sys, torch
import deepmd.pt  # its operators
model = torch.jit.load("plain.pth", map_location="cpu")
model.min_nbor_dist.fill_(float(sys.argv[1]))
torch.jit.save(model, "known.pth")
from deepmd.main import main
main(["--pt", "compress", "-i", "known.pth", "-o", "table.pth"])
"""
WORK = """
import json, sys, time
import numpy as np
from ase import Atoms
from deepmd.calculator import DP
told = json.loads(sys.stdin.readline())
calculators = {name: DP(name) for name in told["files"]}
for line in sys.stdin:
    asked = json.loads(line)
    atoms = Atoms(asked["symbols"], positions=asked["positions"], cell=asked["cell"], pbc=True)
    atoms.calc = calculators[asked["file"]]
    moves = np.array(asked["moves"])
    atoms.get_forces()
    start = time.process_time()
    for sign in asked["signs"]:
        atoms.positions += sign * moves
        forces = atoms.get_forces()
    print(json.dumps({"cpu": (time.process_time() - start) / len(asked["signs"]), "forces": forces.tolist()}), flush=True)
"""
SIGNS = [1, -1, 1, -1]


def main() -> int:
    """Prepare both, measure in turn, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waters", default="64,512")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    python = os.environ.get("LAM_DEEPMD_PYTHON")
    if python is None:
        print("set LAM_DEEPMD_PYTHON to an interpreter that has DeePMD-kit", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    torch.manual_seed(0)
    one = dict.fromkeys(("OMP_NUM_THREADS", "DP_INTRA_OP_PARALLELISM_THREADS", "DP_INTER_OP_PARALLELISM_THREADS"), "1")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | one
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = write_random(folder / "wide.pt", "wide", "float64")
        net: LamModel = load_model(ours, dtype="float64").net
        to_deepmd(net, folder / "plain.pt")
        for command in (["-m", "deepmd", "--pt", "freeze", "-c", "plain.pt", "-o", "plain.pth"], ["-c", PREPARE, str(SHORTEST)]):
            done = subprocess.run(
                [python, *command], cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            if done.returncode:
                sys.exit(done.stdout[-2000:])
        models = {"ours": ours, "ours, compressed": compressed(ours, None)}
        calculators = {key: Calculator(load_model(path, dtype="float64"), skin=1.0) for key, path in models.items()}
        files = {"theirs": "plain.pth", "theirs, compressed": "table.pth"}
        pipe = subprocess.PIPE
        worker = subprocess.Popen(
            [python, "-c", WORK], cwd=folder, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(json.dumps({"files": list(files.values())}) + "\n")
        report: dict[str, object] = {}
        for waters in map(int, asked.waters.split(",")):
            report[f"{3 * waters} atoms"] = compare(calculators, files, worker, waters, rounds=asked.rounds)
        worker.stdin.close()
    print(json.dumps(report, indent=1))
    return 0


def compare(
    calculators: dict[str, Calculator], files: dict[str, str], worker: subprocess.Popen[str], waters: int, *, rounds: int
) -> dict[str, object]:
    """Median CPU milliseconds of a step of each, and how many times ours is faster than theirs."""
    atoms = water(waters)
    atoms.rattle(0.05, seed=0)
    spent: dict[str, list[float]] = {name: [] for name in [*calculators, *files]}
    forces: dict[str, np.ndarray] = {}
    for turn in range(rounds):
        moves = np.random.default_rng(turn).normal(scale=0.01, size=(3 * waters, 3))
        for name, calculator in calculators.items():
            mine = atoms.copy()
            mine.calc = calculator
            mine.get_forces()
            start = time.process_time()
            for sign in SIGNS:
                mine.positions += sign * moves
                forces[name] = mine.get_forces()
            spent[name].append((time.process_time() - start) / len(SIGNS))
        for name, file in files.items():
            told = {
                "file": file,
                "symbols": atoms.get_chemical_symbols(),
                "positions": atoms.positions.tolist(),
                "cell": atoms.cell.array.tolist(),
            }
            worker.stdin.write(json.dumps(told | {"moves": moves.tolist(), "signs": SIGNS}) + "\n")
            worker.stdin.flush()
            answer = json.loads(next(line for line in worker.stdout if line.startswith("{")))
            spent[name].append(answer["cpu"])
            forces[name] = np.array(answer["forces"])
    apart = {name: float(np.abs(found - forces["ours"]).max()) for name, found in forces.items()}
    ratio = {name: statistics.median(b / a for a, b in zip(spent[name], spent[name.replace("ours", "theirs")])) for name in calculators}
    return {"ms": {name: 1000 * statistics.median(times) for name, times in spent.items()}, "times_faster": ratio, "forces_apart": apart}


if __name__ == "__main__":
    sys.exit(main())
