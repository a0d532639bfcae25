"""Do denoise heads make energies and forces better? Four arms at equal draws on the sets of `catalogs/open-mini`, three seeds.

python benchmarks/open_mini.py FOLDER DATASETS [--scale laptop|gpu] [--only PATTERN] [--device D]     runs what is missing, one by one
python benchmarks/open_mini.py --show [--scale S]                                         table and picture of what there is, into docs/

A  single     each energy/force head alone, with as many frames as it is given in B
B  multi      the 20 energy/force heads of `open-mini-20` together, N frames in all
C  on top     B with the 4 denoise heads of `open-mini-24` besides: N energy/force frames, and those of denoise on top
D  within     the same 24 heads, N frames in all: denoise frames in place of energy/force frames

The weights of a seed start alike in all arms; frames of the published tests, or of groups that are held out, are shown, at most TEST of each set.
In B, C and D each head's gradient is limited by itself to a norm that all pass (`step: {clip: per_head}`), so that a weight is what a head moves;
in A there is one head, limited alike. A takes one frame a step, which gives it the most steps that its frames allow. What is compared is the error
in energy and force, by head, divided by that of A with the same seed. DATASETS is the folder that `OPEN_MINI` stands for (docs/plan.md).
A run that was stopped goes on; one that stands in the file of results is not done again.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import os
import shutil
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamtrain.files import replace_file

ROOT = Path(__file__).resolve().parents[1]
CATALOG = ROOT / "catalogs/open-mini"
SEEDS, TEST = (1, 2, 3), 100
KEYS = {"energy_rmse_mev_per_atom": "energy", "force_rmse_mev_per_angstrom": "force"}
ARMS = {"B": "multi", "C": "denoise on top", "D": "denoise within"}
MEASURES = ("energy", "force")


@dataclass(frozen=True)
class Scale:
    """How large all of it is."""

    size: str
    steps: int  # of B and D
    frames: int  # of a step of B, C and D


SCALES = {"laptop": Scale("tiny", 1200, 12), "gpu": Scale("small", 100_000, 64)}


def prepare(folder: Path, datasets: Path) -> str:
    """Ingest what is missing; return the store's path."""
    from lamdata import ingest, open_card, open_store

    os.environ["OPEN_MINI"] = str(datasets.resolve())
    shutil.copytree(CATALOG / "cards", folder / "cards", dirs_exist_ok=True)  # beside the mixtures of one head
    store = folder / "open-mini.zarr"
    known = set(open_store(store)) if store.exists() else set()
    for card in sorted((CATALOG / "cards").glob("*.yaml")):
        if card.stem not in known:
            ingest(open_card(card), str(store), base=card.parent, quiet=True)
    return str(store)


def mixtures() -> tuple[dict[str, float], float]:
    """Weight of each energy/force head, and of all denoise heads together."""
    from lamdata import open_mixture

    mixture, _ = open_mixture(CATALOG / "open-mini-24.yaml")
    weights: dict[str, float] = {}
    for task in mixture.heads:
        if task.task == "energy_force":
            weights[task.head] = weights.get(task.head, 0.0) + task.weight
    return weights, sum(task.weight for task in mixture.heads if task.task == "denoise")


def single(folder: Path, head: str) -> Path:
    """The mixture of one head, its sets with their weights."""
    from lamdata import open_mixture

    mixture, _ = open_mixture(CATALOG / "open-mini-20.yaml")
    rows = "".join(
        f"  - {{head: {task.head}, dataset: {task.dataset}, task: energy_force, weight: {task.weight:g}}}\n"
        for task in mixture.heads
        if task.head == head
    )
    path = folder / f"single-{head}.yaml"
    path.write_text(f"mixture: single-{head}\nheads:\n{rows}")
    return path


def stairs(steps: int, size: str) -> dict[str, float]:
    """Adam's rates in these runs: those of DPA-2 at a million steps, a higher one that falls less for a short run."""
    long = min(max((math.log10(steps) - 3) / 3, 0.0), 1.0)
    start = min(2e-4 * max(1e6 / steps, 1.0) ** 0.4, 1e-2) * (1.0 if size in ("tiny", "student") or long == 1.0 else 0.5)
    return {"start": start, "stop": start * 10 ** -(2 + 1.756 * long)}


def config_of(name: str, mixture: Path, store: str, scale: Scale, *, steps: int, frames: int, seed: int) -> dict[str, Any]:
    """A training config."""
    from lamtrain.proposed import schedule_for

    _, loss = schedule_for(steps)
    return {
        "train": name, "mixture": str(mixture), "store": store, "steps": steps, "model": {"size": scale.size}, "seed": seed,
        "batch": {"frames": frames}, "step": {"clip": "per_head"}, "clip_norm": 0.01,
        "learning_rate": stairs(steps, scale.size) | {"decay_steps": max(steps // 50, 1)},
        "loss": {"energy": loss.energy, "force": loss.force, "displacement": [600.0, 800.0], "types": [0.3, 0.2]},
        "validation": {"every": steps, "frames": 4}, "checkpoint_every": max(steps // 4, 1), "log_every": max(steps // 10, 1), "threads": 1,
    }  # fmt: skip


def runs(folder: Path, store: str, scale: Scale) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and config of every run, seed after seed."""
    weights, denoise = mixtures()
    whole = sum(weights.values())
    for seed in SEEDS:
        for arm, catalog, steps in (
            ("B", "open-mini-20", scale.steps),
            ("C", "open-mini-24", round(scale.steps * (1 + denoise / whole))),
            ("D", "open-mini-24", scale.steps),
        ):
            name = f"{arm}-{seed}"
            yield name, config_of(name, CATALOG / f"{catalog}.yaml", store, scale, steps=steps, frames=scale.frames, seed=seed)
        for head, weight in weights.items():
            draws = round(scale.steps * scale.frames * weight / whole)
            name = f"A-{seed}-{head}"
            yield name, config_of(name, single(folder, head), store, scale, steps=draws, frames=1, seed=seed)


def run(folder: Path, values: dict[str, Any], device: str) -> dict[str, Any]:
    """Train one, and its errors on test frames."""
    from lamtrain.checkpoint import load
    from lamtrain.config import TrainConfig
    from lamtrain.data.mixture import open_training_data
    from lamtrain.evaluation.evaluate import evaluate_head
    from lamtrain.training.trainer import train

    config = TrainConfig.model_validate(values)
    out = train(config, out=folder / "runs" / values["train"], device=device, quiet=True)
    model = load(out / "last.pt").build().to(device).eval()
    model.use_kernels("auto")
    data = open_training_data(config.mixture, config.store)
    kept: dict[str, Any] = {}
    for head in data.heads:
        row = evaluate_head(model, data, head, split="test", frames=TEST)
        kept[head] = {key: value for key, value in row.items() if isinstance(value, float) and key != "weight"}
    return {"steps": values["steps"], "frames": values["batch"]["frames"], "heads": kept}


def ratios(results: dict[str, Any], arm: str, head: str, key: str) -> list[float]:
    """Error of an arm by that of A, for each seed that has both."""
    out = []
    for seed in SEEDS:
        alone, together = results.get(f"A-{seed}-{head}"), results.get(f"{arm}-{seed}")
        if alone and together and key in together["heads"].get(head, {}):
            out.append(together["heads"][head][key] / alone["heads"][head][key])
    return out


def against_b(results: dict[str, Any], arm: str, key: str) -> list[float]:
    """Error of an arm by that of B, the mean over heads, for each seed that has both: what denoise does, whatever single heads reach."""
    found = []
    for seed in SEEDS:
        if (other := results.get(f"{arm}-{seed}")) and (base := results.get(f"B-{seed}")):
            rows = [
                (other["heads"][head], row) for head, row in base["heads"].items() if key in row and key in other["heads"].get(head, {})
            ]
            found.append(geometric([mine[key] / its[key] for mine, its in rows]))
    return found


def geometric(values: list[float]) -> float:
    """The geometric mean."""
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def table(results: dict[str, Any]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Head -> energy or force -> arm -> ratio to A of each seed."""
    heads, _ = mixtures()
    return {head: {name: {arm: ratios(results, arm, head, key) for arm in ARMS} for key, name in KEYS.items()} for head in heads}


def lines(results: dict[str, Any]) -> Iterator[str]:
    """The table as Markdown: ratio to A by head, the mean of seeds and their spread; below, the mean over heads for each seed."""
    found = table(results)
    yield "| head | " + " | ".join(f"{name} {arm}/A" for name in MEASURES for arm in ARMS) + " |"
    yield "|---" * (1 + len(MEASURES) * len(ARMS)) + "|"
    for head, rows in found.items():
        cells = [_cell(rows[name][arm]) for name in MEASURES for arm in ARMS]
        yield f"| {head} | {' | '.join(cells)} |"
    overall = []
    for name in MEASURES:
        for arm in ARMS:
            seeds = zip(*(rows[name][arm] for rows in found.values() if rows[name][arm]))
            overall.append(_cell([geometric(list(seed)) for seed in seeds]))
    yield f"| **all, geometric mean** | {' | '.join(overall)} |"
    yield "\n| over B, mean over heads | " + " | ".join(MEASURES) + " |\n" + "|---" * (1 + len(MEASURES)) + "|"
    for arm in ("C", "D"):
        yield f"| {arm}: {ARMS[arm]} | {' | '.join(_cell(against_b(results, arm, key)) for key in KEYS)} |"


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{geometric(values):.2f}{spread}"


def picture(results: dict[str, Any], path: Path) -> None:
    """Ratio to A by head, a point for each arm with the range of its seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = table(results)
    figure, axes = plt.subplots(1, 2, figsize=(10, 6), sharey=True, layout="constrained")
    for ax, name in zip(axes, MEASURES):
        for k, arm in enumerate(ARMS):
            rows = [(y, rows[name][arm]) for y, rows in enumerate(found.values()) if rows[name][arm]]
            ys = [y + 0.22 * (k - 1) for y, _ in rows]
            ax.hlines(ys, [min(v) for _, v in rows], [max(v) for _, v in rows], color=f"C{k}", alpha=0.5)
            ax.plot([geometric(v) for _, v in rows], ys, "o", ms=4, color=f"C{k}", label=f"{arm}: {ARMS[arm]}")
        ax.axvline(1.0, color="0.6", lw=1)
        ax.set_xscale("log")
        ax.set_xlabel(f"{name} error by that of the head alone")
    axes[0].set_yticks(range(len(found)), list(found))
    axes[0].invert_yaxis()
    axes[0].legend(loc="lower left", fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> int:
    """Parse, do what is missing, or draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("datasets", type=Path, nargs="?")
    parser.add_argument("--scale", choices=list(SCALES), default="laptop")
    parser.add_argument("--only", default="*", help="runs by pattern of name, as B-1 or A-*")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--show", action="store_true", help="print and draw what there is")
    options = parser.parse_args()
    saved = ROOT / f"benchmarks/open_mini_{options.scale}.json"
    results = json.loads(saved.read_text()) if saved.exists() else {}
    if options.show:
        print("\n".join(lines(results)))
        picture(results, ROOT / f"docs/assets/open-mini-{options.scale}.png")
        return 0
    if options.datasets is None or not options.datasets.is_dir():
        print("name a folder to work in, and the folder of the datasets", file=sys.stderr)
        return 2
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    store = prepare(folder, options.datasets)
    for name, values in runs(folder, store, SCALES[options.scale]):
        if name in results or not fnmatch.fnmatch(name, options.only):
            continue
        results[name] = run(folder, values, options.device)
        replace_file(saved, (json.dumps(results, indent=1) + "\n").encode())
        print(name, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
