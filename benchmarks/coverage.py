"""Whether the score of `lamtrain cover` finds frames with large errors: a small model of three heads, and five sets that it has not seen.

python benchmarks/coverage.py FOLDER DATASETS     trains (about 4 CPU-minutes), scores, and writes benchmarks/coverage.json
python benchmarks/coverage.py --show              prints the table of coverage.json
python benchmarks/coverage.py FOLDER --atoms N    seconds and peak memory of scoring N atoms

DATASETS holds mattersim/, botnet/, NbMoTaW/, fitsnap/ and mlearn/ with extended XYZ files, xz-compressed. The area under the ROC curve is of
the score of a frame against whether the error of its forces (root mean square) is more than twice that on held-out frames of the training:
of the unseen set and these held-out frames together, and of the unseen set alone; and against the median error of the unseen set.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from fine_tune import config_of, frames_of, write_card  # beside this file
from measure import peak_rss

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/coverage.json"
TRAINED = {  # head: file, frames of it
    "mptrj": ("mattersim/mptrj-random-1k", 1000),
    "bpa": ("botnet/3BPA-train_300K", 500),
    "alloy": ("NbMoTaW/training", 800),
}
UNSEEN = {  # set: file, the head that is asked
    "random-TP": ("mattersim/random-TP", "mptrj"),
    "mpf-TP": ("mattersim/mpf-TP", "mptrj"),
    "AcAc-600K": ("botnet/acac-test_MD_600K", "bpa"),
    "Ta": ("fitsnap/Ta-SNAP", "alloy"),
    "Mo": ("mlearn/Mo-training", "alloy"),
}
TEST, VALIDATION, MOST = 80, 60, 300
STEPS = 2200


def prepare(folder: Path, datasets: Path) -> str:
    """Write cards and the store; return the store's path."""
    from lamdata import ingest, open_card, open_store

    store = folder / "coverage.zarr"
    for name, (source, count) in TRAINED.items():
        frames = _shuffled(datasets / f"{source}.xyz.xz", name)[:count]
        parts = {"test": frames[:TEST], "validation": frames[TEST : TEST + VALIDATION], "train": frames[TEST + VALIDATION :]}
        write_card(folder, name, parts)
    for name, (source, _) in UNSEEN.items():
        write_card(folder, name, {"test": _shuffled(datasets / f"{source}.xyz.xz", name)[:MOST]})
    known = set(open_store(store)) if store.exists() else set()
    for name in {*TRAINED, *UNSEEN} - known:
        ingest(open_card(folder / f"{name}.yaml"), str(store), base=folder, quiet=True)
    return str(store)


def _shuffled(file: Path, name: str) -> list[str]:
    frames = frames_of(file)
    random.Random(name).shuffle(frames)
    return frames


def trained(folder: Path, store: str) -> Path:
    """The model, with its sketches; made once."""
    from lamtrain.config import TrainConfig
    from lamtrain.stages.cover.make import sketch_run
    from lamtrain.training.trainer import train

    values = config_of(
        folder, store, "parent", [(head, head, 1.0) for head in TRAINED], "scratch", steps=STEPS, frames=6, seed=1
    ) | {"checkpoint_every": 500, "log_every": 100, "validation": {"every": 500, "frames": 20}}  # fmt: skip
    config = TrainConfig.model_validate(values)
    out = train(config, out=folder / "runs/parent", device="cpu")
    sketch_run(out, config, device="cpu")
    return out / "best.pt"


def scored(model: Any, head: str, store: str, name: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Scores of the test frames of a dataset, errors of their forces in meV/Å, and how many were refused."""
    from lamtrain.prediction.answers import Tally
    from lamtrain.stages.cover.make import sketch_for
    from lamtrain.stages.cover.run import open_frames
    from lamtrain.stages.cover.scores import Distinct, Scored, score_frames

    sketch, tally = sketch_for(model, head), Tally()
    source = Distinct(open_frames([store, name], split="test", format="auto", quiet=True), sketch.numbers.tolist())
    rows = [one for one in score_frames(model, head, sketch, source, tally) if isinstance(one, Scored)]
    return np.array([one.score for one in rows]), np.array([one.force_error for one in rows]), tally.rejected


def measure(folder: Path, store: str) -> dict[str, Any]:
    """The table."""
    from lamtrain import load_model
    from lamtrain.stages.cover.scores import area_under_curve
    from lamtrain.stages.cover.verdict import TIMES

    model = load_model(trained(folder, store), device="cpu")
    own = {head: scored(model, head, store, head) for head in TRAINED}
    table: dict[str, Any] = {}
    for name, (_, head) in UNSEEN.items():
        scores, errors, refused = scored(model, head, store, name)
        usual = float(np.sqrt(np.mean(np.square(own[head][1]))))
        bad, both = errors > TIMES * usual, np.concatenate([own[head][1], errors]) > TIMES * usual
        table[name] = {
            "head": head,
            "frames": len(scores),
            "refused": refused,
            "held_out_frames": len(own[head][0]),
            "force_rmse_mev_per_angstrom": float(np.sqrt(np.mean(np.square(errors)))),
            "held_out_force_rmse_mev_per_angstrom": usual,
            "frames_beyond": float(np.mean(scores > 1.0)),
            "held_out_frames_beyond": float(np.mean(own[head][0] > 1.0)),
            "bad": float(np.mean(bad)),
            "auc_with_held_out": area_under_curve(np.concatenate([own[head][0], scores]), both),
            "auc_alone": area_under_curve(scores, bad),
            "auc_above_median": area_under_curve(scores, errors > np.median(errors)),
        }
    return {"steps": STEPS, "sets": table}


def show(results: dict[str, Any]) -> None:
    """Print the table."""
    columns = {
        "frames": "frames", "bad": "bad", "frames_beyond": "beyond", "held_out_frames_beyond": "held-out beyond",
        "auc_with_held_out": "AUC with held-out", "auc_alone": "AUC alone", "auc_above_median": "AUC, median",
    }  # fmt: skip
    print(f"{'set':12}" + "".join(f"{title:>18}" for title in columns.values()))
    for name, row in results["sets"].items():
        print(f"{name:12}" + "".join(f"{'-' if row[key] is None else format(row[key], '.3g'):>18}" for key in columns))
    for row in results.get("atoms", []):
        print(f"{row['atoms']:,} atoms in {row['frames']:,} frames: {row['seconds']:.0f} s, peak {row['peak_mb']:.0f} MB")


def many_atoms(folder: Path, atoms: int) -> dict[str, Any]:
    """Score shaken copies of a metal, as one file, with the model of `FOLDER`."""
    from lamtrain import load_model
    from lamtrain.prediction.source import open_source
    from lamtrain.stages.cover.run import cover

    file, size, cells = folder / f"many-{atoms}.xyz", 54, 3.31
    rng = np.random.default_rng(0)
    grid = np.array([[x, y, z] for x in range(3) for y in range(3) for z in range(3)], float)
    sites = np.concatenate([grid, grid + 0.5]) * cells
    head = f'{size}\nLattice="{3 * cells} 0 0 0 {3 * cells} 0 0 0 {3 * cells}" Properties=species:S:1:pos:R:3 pbc="T T T"\n'
    with open(file, "w") as out:
        for _ in range(atoms // size):
            shaken = sites + rng.normal(scale=0.1, size=sites.shape)
            out.write(head + "".join(f"Ta {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in shaken.tolist()))
    model = load_model(folder / "runs/parent/best.pt", device="cpu")
    source = open_source([str(file)], dataset=None, split=None, format="extxyz", quiet=True)
    start = time.perf_counter()
    result = cover(model, source, folder / f"cover-{atoms}", head="alloy")
    seconds = time.perf_counter() - start
    file.unlink()
    return {"atoms": result["atoms"]["scored"], "frames": result["frames"]["scored"], "seconds": seconds, "peak_mb": peak_rss()}


def main() -> int:
    """Parse, measure or show."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("datasets", type=Path, nargs="?")
    parser.add_argument("--atoms", type=int, help="measure time and memory of so many")
    parser.add_argument("--show", action="store_true", help="print what there is")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"sets": {}}
    if options.folder is not None:
        folder = options.folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if options.atoms:
            results["atoms"] = [*results.get("atoms", []), many_atoms(folder, options.atoms)]
        elif options.datasets is None or not options.datasets.is_dir():
            print("name the folder of the datasets", file=sys.stderr)
            return 2
        else:
            results |= measure(folder, prepare(folder, options.datasets))
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    show(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
