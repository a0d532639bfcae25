"""Recipes beside each other on one set: silicon of mlearn, its published test frames, the same model, batches and number of steps for all.

python benchmarks/recipes.py FOLDER DATASETS [--only PATTERN]       runs what is missing, one by one, into benchmarks/recipes.json
python benchmarks/recipes.py --show                                 table and picture of what there is, into docs/

DATASETS is the folder that `OPEN_MINI` stands for (docs/plan.md). Each recipe has the rate that was the best for it of those in RATES, by
validation after a fifth of the steps with seed 1; learning curves are of validation frames, the table of test frames.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kept_runs  # beside this file
from kept_runs import slug

ROOT = Path(__file__).resolve().parents[1]
CATALOG, RESULTS = ROOT / "catalogs/open-mini", ROOT / "benchmarks/recipes.json"
STEPS, FRAMES, LOOKS, SEEDS, RATES = 600, 2, 20, (1,), (0.3, 1.0, 3.0)
ENERGY, FORCE = "energy_rmse_mev_per_atom", "force_rmse_mev_per_angstrom"
SQUARES = {"energy": [0.2, 2.0], "force": [100.0, 20.0]}
EVEN = {"energy": [1.0, 1.0], "force": [40.0, 40.0]}  # for a rate that does not fall
RECIPES: dict[str, dict[str, Any]] = {
    "adam, exp": {},
    "adam, cosine": {"learning_rate": {"kind": "cosine"}},
    "adamw, cosine, warm-up": {"optimizer": {"kind": "adamw"}, "learning_rate": {"kind": "cosine", "warmup_steps": 50}},
    "adam, wsd": {"learning_rate": {"kind": "wsd"}},
    "adam, exp, EMA": {"average": {"decay": 0.99}},
    "muon, cosine": {"optimizer": {"kind": "muon"}, "learning_rate": {"kind": "cosine"}},
    "schedule-free": {"optimizer": {"kind": "schedule_free"}, "learning_rate": {"stop": None}, "loss": EVEN},
    "adam, cosine, lengths": {
        "learning_rate": {"kind": "cosine"},
        "loss": {"energy": [0.0, 0.0], "force": [0.0, 0.0], "energy_absolute": [1.0, 2.0], "force_norm": [4.0, 4.0]},
    },
    "adam, cosine, Huber": {
        "learning_rate": {"kind": "cosine"},
        "loss": {"energy": [0.2, 2.0], "force": [0.0, 0.0], "force_huber": [100.0, 100.0]},
    },
}


def config_of(folder: Path, store: str, name: str, *, recipe: dict[str, Any], rate: float, seed: int, steps: int) -> dict[str, Any]:
    """A training config; `rate` times 3e-3 is where the learning rate begins."""
    start = 3e-3 * rate
    learning = {"start": start, "stop": start / 300} | recipe.get("learning_rate", {})
    if learning["stop"] is None:
        learning["stop"] = start
    if learning.get("kind", "exp") == "exp":
        learning["decay_steps"] = max(steps // 50, 1)
    if "warmup_steps" in learning:
        learning["warmup_steps"] = steps // 20
    parts = {key: value for key, value in recipe.items() if key not in ("learning_rate", "loss")}
    return {
        "train": name, "mixture": str(folder / "silicon.yaml"), "store": store, "steps": steps, "model": {"size": "tiny"}, "seed": seed,
        "batch": {"frames": FRAMES}, "learning_rate": learning, "loss": recipe.get("loss", SQUARES),
        "validation": {"every": steps // LOOKS, "frames": 20}, "checkpoint_every": steps, "log_every": steps // LOOKS, "threads": 1,
    } | parts  # fmt: skip


def prepare(folder: Path, datasets: Path) -> str:
    """Ingest the set; return the store's path."""
    from lamdata import ingest, open_card, open_store

    os.environ["OPEN_MINI"] = str(datasets.resolve())
    (folder / "cards").mkdir(parents=True, exist_ok=True)
    card = Path(shutil.copy(CATALOG / "cards/mlearn-Si.yaml", folder / "cards"))
    (folder / "silicon.yaml").write_text("mixture: silicon\nheads:\n  - {head: Si, dataset: mlearn-Si, task: energy_force, weight: 1.0}\n")
    store = folder / "silicon.zarr"
    if not store.exists() or "mlearn-Si" not in set(open_store(store)):
        ingest(open_card(card), str(store), base=card.parent, quiet=True)
    return str(store)


def run(folder: Path, store: str, name: str, what: dict[str, Any]) -> list[dict[str, float]]:
    """Train one; validation errors at each look, and behind them those of the test frames."""
    from lamtrain.checkpoint import load
    from lamtrain.config import TrainConfig
    from lamtrain.data.mixture import open_training_data
    from lamtrain.evaluation.evaluate import evaluate_head
    from lamtrain.runlog import read_metrics
    from lamtrain.training.trainer import train

    config = TrainConfig.model_validate(config_of(folder, store, slug(name), **what))
    out = train(config, out=folder / "runs" / config.train, device="cpu", quiet=True)
    rows = [
        {"step": float(row["step"]), ENERGY: float(row[f"Si.validation.{ENERGY}"]), FORCE: float(row[f"Si.validation.{FORCE}"])}
        for row in read_metrics(out / "metrics.csv")
    ]
    model = load(out / "last.pt").build()
    model.use_kernels("auto")
    found = evaluate_head(model, open_training_data(config.mixture, config.store), "Si", split="test")
    return [*rows, {"step": -1.0, ENERGY: found[ENERGY], FORCE: found[FORCE]}]


def runs(folder: Path, store: str, results: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name; recipe, rate, seed and steps: trials of the rates first, then the best of them in full."""
    for recipe in RECIPES:
        tried = {rate: f"{recipe} / rate {rate:g}" for rate in RATES}
        for rate, name in tried.items():
            yield name, {"recipe": RECIPES[recipe], "rate": rate, "seed": 1, "steps": STEPS // 5}
        best = min(RATES, key=lambda rate: results[tried[rate]][-2][FORCE] if tried[rate] in results else float("inf"))
        for seed in SEEDS:
            yield f"{recipe} / seed {seed}", {"recipe": RECIPES[recipe], "rate": best, "seed": seed, "steps": STEPS}


def show(results: dict[str, Any]) -> None:
    """A row for each recipe, and the curves of its first seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    print("| recipe | rate | energy, meV/atom | forces, meV/Å |\n|---|---|---|---|")
    for k, recipe in enumerate(RECIPES):
        done = [results[f"{recipe} / seed {seed}"] for seed in SEEDS if f"{recipe} / seed {seed}" in results]
        if not done:
            continue
        best = min(RATES, key=lambda rate: results[f"{recipe} / rate {rate:g}"][-2][FORCE])
        cells = [", ".join(f"{rows[-1][key]:.3g}" for rows in done) for key in (ENERGY, FORCE)]
        print(f"| {recipe} | {3e-3 * best:.1e} | {cells[0]} | {cells[1]} |")
        for ax, key in zip(axes, (ENERGY, FORCE)):
            steps = [row["step"] for row in done[0][:-1]]
            ax.plot(
                steps, [statistics.fmean(rows[i][key] for rows in done) for i in range(len(steps))], color=f"C{k}", label=recipe, lw=1.2
            )
    for ax, name in zip(axes, ("energy, meV/atom", "forces, meV/Å")):
        ax.set(yscale="log", xlabel="step", ylabel=f"validation RMSE, {name}")
    axes[1].legend(fontsize=7)
    figure.savefig(ROOT / "docs/assets/recipes.png", dpi=110)


if __name__ == "__main__":
    sys.exit(kept_runs.main(__doc__, RESULTS, prepare=prepare, runs=runs, run=run, show=show, brief=lambda rows: rows[-1]))
