"""Train on mlearn's silicon and molybdenum, and measure both crystals by the model; writes docs/properties.json and pictures beside it.

python benchmarks/mlearn_properties.py DATA WORK [STEPS]
DATA holds Si-training.xyz.xz, Si-test.xyz.xz and those of Mo (github.com/materialsvirtuallab/mlearn as extended XYZ); WORK is any folder. The same
command goes on where it was stopped. The reference is DFT as the data have it: stresses of strained crystals, fitted for the model as for DFT.
"""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import read
from ase.units import GPa

from lamtrain import Calculator
from lamtrain.evaluation.figures import new_figure, save_figure
from lamtrain.properties import measure
from lamtrain.properties.measure import draw_properties

DOCS = Path(__file__).resolve().parents[1] / "docs"
CRYSTALS = {"Si": bulk("Si", "diamond", a=5.5), "Mo": bulk("Mo", "bcc", a=3.2)}
PULL, SHEAR = {"Si": "mode_0", "Mo": "mode_1"}, {"Si": "mode_3", "Mo": "mode_4"}  # along x, and in the plane of x and y
CARD = """dataset: mlearn-{name}
title: mlearn, {symbol}
contributors: [Y. Zuo et al.]
citations: ["Y. Zuo et al., Performance and Cost Assessment of Machine Learning Interatomic Potentials, J. Phys. Chem. A 124, 731 (2020)"]
license: BSD-3-Clause
theory: {{code: VASP, functional: PBE, core: PAW, cutoff: 520.0, dispersion: none, hubbard_u: none, spin: none}}
elements: [{symbol}]
sources:
  - {{path: {symbol}-training.xyz, {how}}}
  - {{path: {symbol}-test.xyz, {how}, split: test}}
split: {{validation: 0.05}}
"""
HOW = "format: extxyz, group: frame, keys: {energy: energy, virial: virial, forces: forces}, units: {length: Angstrom, energy: eV, force: eV/Angstrom}"
MIXTURE = """mixture: mlearn
heads:
  - {head: Si, dataset: mlearn-si, task: energy_force, weight: 1.0}
  - {head: Mo, dataset: mlearn-mo, task: energy_force, weight: 1.0}
"""
TRAIN = """train: mlearn
mixture: mixture.yaml
store: mlearn.zarr
model: {{size: tiny}}
steps: {steps}
batch: {{frames: 2}}
learning_rate: {{start: 3.0e-3, stop: 1.0e-5, decay_steps: 50}}
loss: {{energy: [0.2, 2.0], force: [100.0, 20.0], virial: [0.2, 1.0]}}
validation: {{every: 1000, frames: 25}}
threads: 1
"""


def main(data: Path, work: Path, steps: int) -> None:
    """From the raw files to the pages."""
    train(data, work, steps)
    found = json.dumps({"steps": steps, **measure_all(work)})
    out = json.loads(found, parse_float=lambda number: round(float(number), 9))
    (DOCS / "properties.json").write_text(json.dumps(out, indent=1) + "\n")
    print(json.dumps(out, indent=1))


def train(data: Path, work: Path, steps: int) -> None:
    """Cards, store, model, and its errors."""
    work.mkdir(parents=True, exist_ok=True)
    for symbol in CRYSTALS:
        for part in ("training", "test"):
            (work / f"{symbol}-{part}.xyz").write_bytes(lzma.decompress((data / f"{symbol}-{part}.xyz.xz").read_bytes()))
        (work / f"mlearn-{symbol.lower()}.yaml").write_text(CARD.format(name=symbol.lower(), symbol=symbol, how=HOW))
    (work / "mixture.yaml").write_text(MIXTURE)
    (work / "train.yaml").write_text(TRAIN.format(steps=steps))
    call(work, "lamdata", "ingest", "mlearn-si.yaml", "mlearn-mo.yaml", "-o", "mlearn.zarr")
    call(work, "lamtrain", "train", "train.yaml")
    call(work, "lamtrain", "test", "runs/mlearn/best.pt", "mlearn.zarr")


def measure_all(work: Path) -> dict[str, Any]:
    """Errors, constants from the strained crystals of the data, and properties; two pictures."""
    errors = json.loads((work / "runs/mlearn/test.json").read_text())["heads"]
    rows, pulled, out = {}, {}, {}
    for symbol, atoms in CRYSTALS.items():
        calculator = Calculator(work / "runs/mlearn/best.pt", head=symbol, dtype="float64", device="cpu", kernels="auto")
        rows[symbol] = measure(atoms, calculator)
        frames = [frame for part in ("training", "test") for frame in read(work / f"{symbol}-{part}.xyz", ":")]
        pulled[symbol] = {kind: strained(frames, calculator, mode[symbol]) for kind, mode in (("pull", PULL), ("shear", SHEAR))}
        constants = {who: slopes(pulled[symbol], who) for who in ("dft", "model")}
        out[symbol] = {"errors": errors[symbol], "held_from_the_same_frames_gpa": constants, "properties": without_series(rows[symbol])}
    draw_properties(rows, DOCS / "properties.png")
    draw_strains(pulled, DOCS / "properties-strain.png")
    return out


def call(work: Path, module: str, *words: str) -> None:
    """A command, as a person types it."""
    subprocess.run([sys.executable, "-m", module, *words], cwd=work, check=True)


def strained(frames: list[Atoms], calculator: Calculator, mode: str) -> dict[str, Any]:
    """Of the crystals strained in one mode: strain, and xx, yy and xy of the stress in GPa by DFT and by the model."""
    found = []
    for frame in frames:
        name = frame.info["trajectory_id"]
        if f"{mode}_" not in name and f"{mode}," not in name and name != "Ground_state_crystal":
            continue
        lengths, angle = frame.cell.lengths(), np.radians(frame.cell.angles()[2])
        rest = frame.cell.lengths()[2]
        strain = np.pi / 2 - angle if abs(angle - np.pi / 2) > 1e-6 else lengths[0] / rest - 1
        dft = -np.asarray(frame.info["virial"]).reshape(3, 3) / frame.get_volume() / GPa
        again = frame.copy()
        again.calc = calculator
        model = again.get_stress(voigt=False) / GPa
        found.append([strain, *(stress[i, j] for stress in (dft, model) for i, j in ((0, 0), (1, 1), (0, 1)))])
    table = np.array(sorted(found))
    return {"strain": table[:, 0], "dft": table[:, 1:4], "model": table[:, 4:7]}


def slopes(found: dict[str, Any], who: str) -> dict[str, float]:
    """C11, C12 and C44 in GPa with atoms held: slopes at rest of quartics through all strains."""
    pull, shear = found["pull"], found["shear"]
    c11, c12 = (float(np.polyfit(pull["strain"], pull[who][:, axis], 4)[3]) for axis in (0, 1))
    return {"C11": c11, "C12": c12, "C44": float(np.polyfit(shear["strain"], shear[who][:, 2], 4)[3])}


def without_series(rows: dict[str, Any]) -> dict[str, Any]:
    """The numbers alone."""
    long = ("series", "density", "heat_capacity", "volumes_angstrom3_per_atom", "energies_ev_per_atom")
    return {name: {key: value for key, value in found.items() if key not in long} for name, found in rows.items()}


def draw_strains(pulled: dict[str, dict[str, Any]], path: Path) -> None:
    """Stress of strained crystals by DFT and by the model."""
    figure, axes = new_figure(1, 2 * len(pulled))
    places = [(symbol, kind) for symbol in pulled for kind in ("pull", "shear")]
    for axis, (symbol, kind) in zip(axes[0], places, strict=True):
        found = pulled[symbol][kind]
        for column, name in ((0, "xx"), (1, "yy")) if kind == "pull" else ((2, "xy"),):
            (line,) = axis.plot(100 * found["strain"], found["model"][:, column], linewidth=1, label=f"{name}, model")
            axis.plot(100 * found["strain"], found["dft"][:, column], "o", markersize=4, color=line.get_color(), label=f"{name}, DFT")
        words = "pulled along x" if kind == "pull" else "sheared"
        axis.set(xlabel="strain, %", ylabel="stress, GPa", title=f"{symbol} {words}, atoms held")
        axis.legend(frameon=False)
    save_figure(figure, path)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]).resolve(), int(sys.argv[3]) if len(sys.argv) == 4 else 5000)
