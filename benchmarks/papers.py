"""One model against published numbers: mlearn's four elements beside GAP and MTP, TiO2 beside aenet, water beside DeePMD-kit on the same input.

python benchmarks/papers.py FOLDER DATASETS [--only mlearn tio2 water] [--deepmd PYTHON]      runs what is missing, into benchmarks/papers.json
python benchmarks/papers.py --show                                                            tables and pictures, into docs/

DATASETS is the folder that `OPEN_MINI` stands for (docs/plan.md). mlearn: one model of size `tiny` with four heads, errors on the published test
frames, mean absolute as published (Zuo et al., J. Phys. Chem. A 124, 731 (2020)). TiO2: a tenth held out, by frame, root mean square as
`aenet-PyTorch` prints it for the same thousand structures. Water: DeePMD-kit's own example data, three systems to train on and one to look at; the
same input.json for `dp --pt train` and for `lamtrain init --from`, the same number of steps. A run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from lamtrain.files import replace_file

ROOT = Path(__file__).resolve().parents[1]
CATALOG, RESULTS = ROOT / "catalogs/open-mini", ROOT / "benchmarks/papers.json"
MLEARN, TIO2, WATER = 5000, 2500, 200  # steps
SEEDS = (1,)  # of both sides, on water
LOOKS, LOOKS_AT_WATER = 20, 10
PUBLISHED = {  # test MAE of GAP and MTP, meV/atom and eV/Å
    "Li": ((0.49, 0.01), (0.49, 0.01)),
    "Mo": ((2.24, 0.09), (2.83, 0.09)),
    "Si": ((2.91, 0.07), (2.21, 0.06)),
    "Ge": ((2.06, 0.05), (1.79, 0.05)),
}
AENET = (7.76, 388.0)  # test RMSE of aenet-PyTorch on the same structures, 9,900 epochs, meV/atom and meV/Å
LOSS = {"energy": [0.2, 20.0], "force": [100.0, 20.0]}


def prepare(folder: Path, datasets: Path) -> str:
    """Ingest the sets; return the store's path."""
    from lamdata import ingest, open_card, open_store

    os.environ["OPEN_MINI"] = str(datasets.resolve())
    shutil.copytree(CATALOG / "cards", folder / "cards", dirs_exist_ok=True)
    shutil.copy(CATALOG / "mlearn-4.yaml", folder)
    for name in ("TiO2", "water"):
        text = f"mixture: {name}\nheads:\n  - {{head: {name}, dataset: {name}, task: energy_force, weight: 1.0}}\n"
        (folder / f"{name}.yaml").write_text(text)
    store = folder / "papers.zarr"
    known = set(open_store(store)) if store.exists() else set()
    for name in ("mlearn-Li", "mlearn-Mo", "mlearn-Si", "mlearn-Ge", "TiO2", "water"):
        if name not in known:
            ingest(open_card(folder / f"cards/{name}.yaml"), str(store), base=folder / "cards", quiet=True)
    return str(store)


def trained(folder: Path, store: str, name: str, mixture: str, *, steps: int, frames: int) -> Path:
    """A run of a config that ends in `steps`; its folder."""
    from lamtrain.config import TrainConfig
    from lamtrain.training.trainer import train

    values = {
        "train": name, "mixture": str(folder / mixture), "store": store, "steps": steps, "model": {"size": "tiny"}, "seed": 1,
        "batch": {"frames": frames}, "learning_rate": {"kind": "cosine", "start": 5e-3, "stop": 1e-6}, "loss": LOSS,
        "validation": {"every": steps // LOOKS, "frames": 20}, "checkpoint_every": steps // LOOKS, "log_every": steps // LOOKS, "threads": 1,
    }  # fmt: skip
    return train(TrainConfig.model_validate(values), out=folder / "runs" / name, device="cpu", quiet=False)


def errors(out: Path) -> dict[str, dict[str, float]]:
    """Head -> mean absolute and root mean square errors on test frames, meV/atom and meV/Å."""
    from lamtrain.checkpoint import load
    from lamtrain.config import read_config
    from lamtrain.data.mixture import open_training_data
    from lamtrain.evaluation.evaluate import evaluate_head

    config = read_config(out / "config.yaml")
    model = load(out / "last.pt").build()
    model.use_kernels("auto")
    data, found = open_training_data(config.mixture, config.store), {}
    for head in data.heads:
        energies: list[np.ndarray] = []
        forces: list[np.ndarray] = []

        def see(part: Any, output: Any, _: Any, energies: Any = energies, forces: Any = forces) -> None:
            energies.append((output.energy.detach().numpy() - part.energy) / part.natoms)
            forces.append((output.forces.detach().numpy() - part.forces).ravel())

        evaluate_head(model, data, head, split="test", see=see)
        left = {"energy": np.concatenate(energies) * 1000, "force": np.concatenate(forces) * 1000}
        found[head] = {f"{name}_mae": float(np.abs(x).mean()) for name, x in left.items()}
        found[head] |= {f"{name}_rmse": float(np.sqrt(np.square(x).mean())) for name, x in left.items()}
    return found


def curves(out: Path) -> dict[str, list[list[float]]]:
    """Head -> step, validation error in energy and in force at each look."""
    from lamtrain.runlog import read_metrics

    rows = read_metrics(out / "metrics.csv")
    names = ("energy_rmse_mev_per_atom", "force_rmse_mev_per_angstrom")
    heads = [key.removesuffix(f".validation.{names[0]}") for key in rows[0] if key.endswith(f".validation.{names[0]}")]
    return {h: [[float(row["step"]), *(float(row[f"{h}.validation.{name}"]) for name in names)] for row in rows] for h in heads}


CARD = """dataset: water-as-deepmd
title: Water, split as DeePMD-kit's example does
license: LGPL-3.0
theory: {{code: null, functional: PBE0, dispersion: TS}}
sources:
  - {{path: "{path}", members: "data_[012]/set.*/coord.npy", format: deepmd/npy, group: frame, split: train}}
  - {{path: "{path}", members: "data_3/set.*/coord.npy", format: deepmd/npy, group: frame, split: validation}}
checks: {{net_force: null}}
"""


def write_input(path: Path, datasets: Path, *, seed: int) -> None:
    """An input.json for a small DPA-2 on DeePMD-kit's example data, as both sides read it."""
    from lamtrain.deepmd.options import params_of
    from lamtrain.model.config import ModelConfig

    systems = [str((datasets / f"deepmd/water/data_{k}").resolve()) for k in range(4)]
    params = params_of(ModelConfig.tiny(["O", "H"], {"energy": "energy_force"}).in_precision("float32"))
    params["descriptor"]["seed"] = params["fitting_net"]["seed"] = seed
    values = {
        "model": params,
        "learning_rate": {"type": "exp", "decay_steps": WATER // 20, "start_lr": 3e-3, "stop_lr": 1e-5},
        "loss": {"type": "ener", "start_pref_e": 0.2, "limit_pref_e": 1, "start_pref_f": 100, "limit_pref_f": 1},
        "training": {
            "training_data": {"systems": systems[:3], "batch_size": 1},
            "validation_data": {"systems": systems[3:], "batch_size": 1, "numb_btch": 20},
            "numb_steps": WATER, "disp_freq": WATER // LOOKS_AT_WATER, "save_freq": WATER, "seed": seed, "gradient_max_norm": 5.0,
        },
    }  # fmt: skip
    path.write_text(json.dumps(values, indent=1))


def of_deepmd(folder: Path, python: str) -> list[list[float]]:
    """Step, error in energy (meV/atom) and in force (meV/Å) on the fourth system, of `dp --pt train` in a folder with an input.json."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "DP_INTRA_OP_PARALLELISM_THREADS", "DP_INTER_OP_PARALLELISM_THREADS"), "1")
    if not (folder / "done").exists():
        call = [python, "-m", "deepmd", "--pt", "train", "input.json", "--skip-neighbor-stat"]
        subprocess.run(call, cwd=folder, env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | threads, check=True)
        (folder / "done").touch()
    lines = (folder / "lcurve.out").read_text().splitlines()
    names = lines[0].removeprefix("#").split()
    rows = [dict(zip(names, map(float, line.split()))) for line in lines if not line.startswith("#")]
    return [[row["step"], row["rmse_e_val"] * 1000, row["rmse_f_val"] * 1000] for row in rows]


def water(folder: Path, datasets: Path, store: str, python: str) -> dict[str, list[list[list[float]]]]:
    """The curves of both sides, of each seed."""
    from lamdata import ingest, open_card, open_store
    from lamtrain.config import TrainConfig
    from lamtrain.deepmd import input_json_to_config
    from lamtrain.training.trainer import train

    card, mixture = folder / "water-as-deepmd.yaml", folder / "water-as-deepmd.mixture.yaml"
    card.write_text(CARD.format(path=(datasets / "deepmd/water").resolve()))
    mixture.write_text("mixture: water-as-deepmd\nheads:\n  - {head: energy, dataset: water-as-deepmd, task: energy_force, weight: 1.0}\n")
    if "water-as-deepmd" not in set(open_store(store)):
        ingest(open_card(card), store, base=folder, quiet=True)
    found: dict[str, list[list[list[float]]]] = {"lamtrain": [], "DeePMD-kit": []}
    keys = ("steps", "clip_norm", "precision", "loss", "learning_rate", "batch")
    looks = {
        "log_every": WATER // LOOKS_AT_WATER,
        "validation": {"every": WATER // LOOKS_AT_WATER, "frames": 20},
        "checkpoint_every": WATER,
        "threads": 1,
    }
    for seed in SEEDS:
        place = folder / f"dp-{seed}"
        place.mkdir(exist_ok=True)
        write_input(place / "input.json", datasets, seed=seed)
        found["DeePMD-kit"].append(of_deepmd(place, python))
        values, _ = input_json_to_config(place / "input.json")
        config = {
            "train": "water",
            "mixture": str(mixture),
            "store": store,
            "model": {"size": "tiny", "elements": ["O", "H"]},
            "seed": seed,
        }
        config |= {key: values[key] for key in keys} | looks
        out = train(TrainConfig.model_validate(config), out=folder / f"runs/water-{seed}", device="cpu", quiet=True)
        found["lamtrain"].append(curves(out)["energy"])
    return found


def main() -> int:
    """Parse, do what is missing, or draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("datasets", type=Path, nargs="?")
    parser.add_argument("--only", nargs="*", default=["mlearn", "tio2", "water"])
    parser.add_argument("--deepmd", default=os.environ.get("LAM_DEEPMD_PYTHON"), help="interpreter with DeePMD-kit")
    parser.add_argument("--show", action="store_true", help="print and draw what there is")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if options.show:
        show(results)
        return 0
    if options.datasets is None or not options.datasets.is_dir():
        print("name a folder to work in, and the folder of the datasets", file=sys.stderr)
        return 2
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    store = prepare(folder, options.datasets)
    for name, mixture, steps, frames in (("mlearn", "mlearn-4.yaml", MLEARN, 4), ("tio2", "TiO2.yaml", TIO2, 4)):
        if name in options.only and name not in results:
            out = trained(folder, store, name, mixture, steps=steps, frames=frames)
            results[name] = {"steps": steps, "frames": frames, "heads": errors(out), "curves": curves(out)}
            keep(results)
    if "water" in options.only and "water" not in results:
        if options.deepmd is None:
            print("water needs an interpreter with DeePMD-kit: --deepmd", file=sys.stderr)
            return 2
        results["water"] = {"steps": WATER, "curves": water(folder, options.datasets, store, options.deepmd)}
        keep(results)
    return 0


def keep(results: dict[str, Any]) -> None:
    """Write what there is."""
    replace_file(RESULTS, (json.dumps(results, indent=1) + "\n").encode())


def show(results: dict[str, Any]) -> None:
    """Tables, and a picture of learning curves."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    if "mlearn" in results:
        print("| | energy MAE, meV/atom | GAP | MTP | force MAE, eV/Å | GAP | MTP |\n|---|---|---|---|---|---|---|")
        for head, (gap, mtp) in PUBLISHED.items():
            own = results["mlearn"]["heads"][head]
            print(f"| {head} | {own['energy_mae']:.2f} | {gap[0]} | {mtp[0]} | {own['force_mae'] / 1000:.3f} | {gap[1]} | {mtp[1]} |")
    if "tio2" in results:
        own = results["tio2"]["heads"]["TiO2"]
        print(f"\nTiO2: {own['energy_rmse']:.2f} meV/atom and {own['force_rmse']:.0f} meV/Å; aenet-PyTorch {AENET[0]} and {AENET[1]:.0f}")
    if "water" in results:
        for side, seeds in results["water"]["curves"].items():
            ends = "; ".join(f"{rows[-1][1]:.2f} meV/atom, {rows[-1][2]:.0f} meV/Å" for rows in seeds)
            print(f"water, {results['water']['steps']} steps, {side}: {ends}")
    figure, rows = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
    for axes, names in zip(rows, (("mlearn", "tio2"), ("water",))):
        for name in names:
            for k, (label, points) in enumerate(results.get(name, {}).get("curves", {}).items()):
                for n, rows_of_seed in enumerate(points if name == "water" else [points]):
                    table = np.array(rows_of_seed)
                    for ax, column in zip(axes, (1, 2)):
                        color = f"C{k + 4 * (name == 'tio2')}"
                        ax.plot(table[:, 0], table[:, column], color=color, label="" if n else label, lw=1.2)
        for ax, name in zip(axes, ("energy, meV/atom", "forces, meV/Å")):
            ax.set(yscale="log", xlabel="step", ylabel=f"validation RMSE, {name}")
        axes[1].legend(fontsize=8)
    figure.savefig(ROOT / "docs/assets/papers.png", dpi=110)


if __name__ == "__main__":
    sys.exit(main())
