"""Model files -> what DeePMD-kit's DeepPot and ASE calculator say of a few structures. Runs in DeePMD-kit's interpreter alone.

    $LAM_DEEPMD_PYTHON evaluate_file.py SYSTEMS.json OUT.npz MODEL:HEAD ...      # HEAD is empty for a single-task file

A serialised model (.dp, .yaml) goes through `dp convert-backend` first.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("DP_INTERFACE_PREC", "high")
import ase  # noqa: TID253  (a script: it needs nothing quick)
import numpy as np
from deepmd.calculator import DP
from deepmd.entrypoints.convert_backend import convert_backend
from deepmd.infer import DeepPot


def evaluate(model: str, head: str, systems: list[dict]) -> dict[str, np.ndarray]:
    if Path(model).suffix in (".dp", ".yaml"):
        convert_backend(INPUT=model, OUTPUT=f"{model}.pth")
        model = f"{model}.pth"
    chosen = {"head": head} if head else {}
    potential, calculator = DeepPot(model, **chosen), DP(model, **chosen)
    symbols, arrays = potential.get_type_map(), {}
    for i, system in enumerate(systems):
        cell = None if system["cell"] is None else np.array(system["cell"]).reshape(1, 9)
        energy, forces, virial = potential.eval(np.array(system["positions"]).reshape(1, -1), cell, system["types"])
        arrays |= {f"{i}/energy": energy[0, 0], f"{i}/forces": forces[0], f"{i}/virial": virial.reshape(3, 3)}
        atoms = ase.Atoms([symbols[t] for t in system["types"]], system["positions"], cell=system["cell"], pbc=cell is not None)
        atoms.calc = calculator
        arrays |= {f"{i}/ase_energy": atoms.get_potential_energy(), f"{i}/ase_forces": atoms.get_forces()}
    return arrays


def main() -> None:
    systems, out, *files = sys.argv[1:]
    structures = json.loads(Path(systems).read_text())
    arrays = {f"{file}/{key}": value for file in files for key, value in evaluate(*file.split(":"), structures).items()}
    np.savez(out, **arrays)


if __name__ == "__main__":
    main()
