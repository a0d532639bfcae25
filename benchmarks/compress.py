"""A step of a calculator by a compressed DPA-1, by the same with its nets, and by DPA-2 teachers, in turn; prints CPU times and ratios as JSON.

python benchmarks/compress.py [--waters 64,512] [--teachers small] [--precision float32] [TEACHER.pt STUDENT.pt]
without models: sizes of lamtrain init, with random weights. `wide` is a student with the nets that DeePMD-kit gives its DPA-1, which says what they cost.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from calculator import water

from lamdata.frames import Frames
from lamtrain import Calculator, load_model
from lamtrain.checkpoint import Checkpoint, save
from lamtrain.data.batch import collate
from lamtrain.model.config import FittingConfig, ModelConfig
from lamtrain.model.lam import LamModel
from lamtrain.model.statistics import environment_statistics
from lamtrain.prediction.structures import as_frame
from lamtrain.stages.compress import compress
from lamtrain.stages.sample import Sample

ROUNDS, TOLERANCE = 7, 1e-5
WIDE = {"neuron": [25, 50, 100], "axis_neuron": 16}
WIDE_FITTING = [240, 240, 240]


def config_of(name: str, precision: str) -> ModelConfig:
    """A size of `lamtrain init`, or the wide student."""
    if name != "wide":
        return getattr(ModelConfig, name)(["H", "O"]).in_precision(precision)
    whole = ModelConfig.student(["H", "O"]).model_dump(mode="json")
    whole["descriptor"] |= WIDE
    whole["fitting"] = FittingConfig(neuron=WIDE_FITTING).model_dump(mode="json")
    return ModelConfig.model_validate(whole).in_precision(precision)


def write_random(path: Path, name: str, precision: str) -> Path:
    """A checkpoint with random weights, its environment measured on water."""
    config = config_of(name, precision)
    model = LamModel(config)
    frames = Frames.from_list([as_frame(water(64))]).with_(head=np.zeros(1, np.int32))
    environment_statistics([collate(frames, config)], config).apply(model.descriptor, config)
    heads = {"energy": {"task": "energy_force", "weight": 1.0}}
    save(Checkpoint(model_config=config.model_dump(mode="json"), model=model.state_dict(), heads=heads, lock={}), path)
    return path


def compressed(path: Path, head: str | None) -> Path:
    """The same with tables, compared on water whose atoms are shaken."""
    frames = []
    for seed in range(4):
        atoms = water(64)
        atoms.rattle(0.1, seed=seed)
        frames.append(as_frame(atoms))
    out = path.with_name(f"{path.stem}-compressed.pt")
    compress(path, out, Sample(frames, "water"), tolerance=TOLERANCE, quiet=True)
    return out


def steps(paths: dict[str, Path], waters: int, precision: str) -> dict[str, dict[str, float]]:
    """CPU time of a step of each, in turn; atoms move by 0.01 Å, so that a list with a skin of 1 Å is searched now and then."""
    spent: dict[str, list[float]] = {name: [] for name in paths}
    calculators = {name: Calculator(load_model(path, dtype=precision), skin=1.0) for name, path in paths.items()}  # type: ignore[arg-type]
    systems = {name: water(waters) for name in paths}
    for name, atoms in systems.items():
        atoms.calc = calculators[name]
        atoms.get_forces()
    for turn in range(ROUNDS):
        moves = np.random.default_rng(turn).normal(scale=0.01, size=(3 * waters, 3))
        for name, atoms in systems.items():
            count = 1 if atoms.calc.model.config.descriptor.type == "dpa2" else 5
            start = time.process_time()
            for _ in range(count):
                atoms.positions += moves
                atoms.get_forces()
            spent[name].append((time.process_time() - start) / count)
            atoms.positions -= count * moves
    teacher = next(iter(paths))
    return {
        name: {
            "ms": 1000 * statistics.median(times),
            "us_per_atom": 1e6 * statistics.median(times) / (3 * waters),
            "times_faster_than_the_teacher": statistics.median(a / b for a, b in zip(spent[teacher], times)),
        }
        for name, times in spent.items()
    }


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("models", nargs="*", type=Path, metavar="MODEL")
    asked.add_argument("--waters", default="64,512")
    asked.add_argument("--teachers", default="small")
    asked.add_argument("--precision", default="float32", choices=["float32", "float64"])
    given = asked.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        if given.models:
            teacher, student = given.models
            paths = {"teacher": teacher, "student": student}
        else:
            names = [*given.teachers.split(","), "student", "wide"]
            paths = {name: write_random(Path(folder, f"{name}.pt"), name, given.precision) for name in names}
        for name in [name for name in paths if name in ("student", "wide")]:
            here = Path(folder, f"{name}.pt")
            here.write_bytes(paths[name].read_bytes())
            paths[f"{name}, compressed"] = compressed(here, None)
        out: dict[str, object] = {"machine": platform.processor() or platform.machine(), "precision": given.precision, "kernels": {}}
        for name, path in paths.items():
            out["kernels"][name] = load_model(path).net.kernels.name  # type: ignore[index]
        for waters in map(int, given.waters.split(",")):
            out[f"{3 * waters} atoms"] = steps(paths, waters, given.precision)
            print(out[f"{3 * waters} atoms"], file=sys.stderr, flush=True)
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
