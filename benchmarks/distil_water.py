"""A small DPA-2 of water, distilled: errors of teacher, student and a student of the DFT data alone against DFT, speed, and the acceptance suite.

python benchmarks/distil_water.py FOLDER DATASETS [--scale trial|full]     does what is missing, and writes benchmarks/distil_water.json
python benchmarks/distil_water.py --show                                   tables of what there is

The data are those of `catalogs/open-mini/cards/water.yaml`: PBE0+TS, 64 molecules, of which one trajectory is tested on and no other frame of it seen.
DATASETS is the folder that `OPEN_MINI` stands for (docs/plan.md). `full` is for hours of two cores, `trial` for minutes of one: it shows that all parts
work together, and its students are no good. Speed is of one thread, both models in turn, with 192 and 1,536 atoms. A run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/distil_water.json"
MODELS = ("teacher", "student", "compressed")
STARTS = 3  # training frames that dynamics start from
SCALES: dict[str, dict[str, Any]] = {
    "trial": {
        "teacher": 120,
        "temperatures": [330],
        "explore": {"trajectories": 3, "steps": 24, "every": 4, "timestep": 0.25},
        "keep": {"low": 0.3, "high": 5.0, "accurate": 0.9},
        "student": {"steps": 120, "further": 40, "batch": {"frames": 1}},
        "iterations": 1,
        "accept": {"steps": 40},
    },
    "full": {
        "teacher": 8000,
        "temperatures": [300, 330, 370],
        "explore": {"trajectories": 9, "steps": 1000, "every": 20, "timestep": 0.5},
        "keep": {"low": 0.2, "high": 3.0, "accurate": 0.95},
        "student": {"steps": 12_000, "further": 4000, "batch": {"frames": 1}},
        "iterations": 6,
        "accept": {"steps": 4000},
    },
}
KEPT = ("distil", "verdict", "accepted", "checks", "errors", "labelled", "trainings", "steps")
OF_ROUNDS = (
    "round",
    "driver",
    "frames",
    "planned",
    "blown_up",
    "accurate",
    "candidates",
    "failed",
    "lost",
    "force_rmse_mev_per_angstrom",
    "kept",
    "held_out",
)


def prepare(folder: Path) -> Path:
    """The store of water, a mixture of one head and the structures that dynamics start from."""
    from ase.io import write

    from lamdata import ingest, open_card, open_dataset

    store, card = folder / "water.zarr", ROOT / "catalogs/open-mini/cards/water.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    ingest(open_card(card), str(store), base=card.parent, quiet=True)
    shutil.copy(card, folder / "water.yaml")
    (folder / "mixture.yaml").write_text("mixture: water\nheads:\n  - {head: water, dataset: water, task: energy_force}\n")
    if not (folder / "start.extxyz").exists():
        some = [frame.to_ase() for frame in open_dataset(str(store), "water", split="train").frames(0, STARTS)]
        for atoms in some:
            atoms.calc = None
        write(folder / "start.extxyz", some)
    return store


def train_teacher(folder: Path, scale: str, store: Path) -> Path:
    """The checkpoint of a tiny DPA-2 that was best on validation frames."""
    from lamtrain.config import read_config
    from lamtrain.proposed import write_config
    from lamtrain.training.trainer import train

    path, steps = folder / f"teacher-{scale}.yaml", SCALES[scale]["teacher"]
    if not path.exists():
        write_config(path, name=f"teacher-{scale}", mixture=folder / "mixture.yaml", store=str(store), size="tiny", steps=steps)
    often = max(steps // 10, 1)
    overrides = ["batch.frames=1", "threads=1", f"validation={{every: {often}, frames: 20}}", f"checkpoint_every={often}"]
    return train(read_config(path, overrides=overrides), out=folder / path.stem, device="cpu") / "best.pt"


def distil_it(folder: Path, scale: str, store: Path, teacher: Path) -> dict[str, Any]:
    """What distil.json holds."""
    from lamtrain.files import replace_yaml
    from lamtrain.stages.distil.config import read_distil
    from lamtrain.stages.distil.run import distil

    path = folder / f"distil-{scale}.yaml"
    asked = {key: value for key, value in SCALES[scale].items() if key != "teacher"}
    where = {"teacher": str(teacher.resolve()), "structures": ["start.extxyz"], "test": {"store": str(store.resolve()), "dataset": "water"}}
    replace_yaml(path, {"distil": f"water-{scale}", **where, **asked, "threads": 1})
    return distil(read_distil(path), out=folder / f"distil-{scale}", device="cpu")


def measure_speed(folder: Path, scale: str, teacher: Path) -> dict[str, Any]:
    """By the number of atoms."""
    from ase.io import read

    from lamtrain import load_model
    from lamtrain.stages.distil.speed import compare_speed

    atoms: Any = read(folder / "start.extxyz", index=0)
    made = folder / f"distil-{scale}"
    files = dict(zip(MODELS, (teacher, made / "student.pt", made / "compressed.pt")))
    models = {name: load_model(file, device="cpu") for name, file in files.items()}
    return {str(len(one)): compare_speed(models, "water", one, memory=16) for one in (atoms, atoms * (2, 2, 2))}


def show() -> None:
    """The same on a screen."""
    from lamdata.command import table

    for scale, found in json.loads(RESULTS.read_text()).items():
        key = ["energy_rmse_mev_per_atom", "force_rmse_mev_per_angstrom"]
        table(f"{scale}: against DFT", ["model", *key], [[name, *(row.get(k) for k in key)] for name, row in found["errors"].items()])
        rows = [[check["name"], check["value"], check["threshold"], check["passed"]] for check in found["checks"]]
        table(f"{scale}: {found['verdict']}", ["check", "found", "threshold", "passed"], rows)
        speed = [
            [n, *(row["models"][m]["step_ms"] for m in MODELS), *(row["times_faster"][m][0] for m in MODELS[1:])]
            for n, row in found["speed"].items()
        ]
        table(f"{scale}: a step", ["atoms", *(f"{m}, ms" for m in MODELS), *(f"{m}, times faster" for m in MODELS[1:])], speed)


def main() -> int:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("datasets", nargs="?", type=Path)
    parser.add_argument("--scale", choices=SCALES, default="full")
    parser.add_argument("--show", action="store_true")
    asked = parser.parse_args()
    if asked.show:
        show()
        return 0
    if asked.folder is None or asked.datasets is None:
        parser.error("FOLDER and DATASETS, or --show")
    from lamtrain.checkpoint import to_json
    from lamtrain.files import replace_file

    os.environ["OPEN_MINI"] = str(asked.datasets.resolve())
    store = prepare(asked.folder)
    teacher = train_teacher(asked.folder, asked.scale, store)
    done = distil_it(asked.folder, asked.scale, store, teacher)
    found = {key: done[key] for key in KEPT} | {"rounds": [{key: row[key] for key in OF_ROUNDS if key in row} for row in done["rounds"]]}
    found |= {"asked": SCALES[asked.scale], "speed": measure_speed(asked.folder, asked.scale, teacher)}
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    replace_file(RESULTS, to_json(known | {asked.scale: found}).encode())
    show()
    return 0


if __name__ == "__main__":
    sys.exit(main())
