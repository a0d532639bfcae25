"""What each head of the 29-head mixture gives to the gradient of the shared descriptor, beside its weight, under three recipes.

python benchmarks/shares.py [--steps 2000] [--folder DIR]

The 29 miniatures of `tests/miniatures` and the weights and noise of `catalogs/openlam-2024q0`; a model of size `tiny`, the default prefactors.
`ours`: a mixed batch of 8 frames, each head's gradient limited by itself to a norm that all pass. `one`: a head a step, one frame, limit 5, as one
process of DeePMD-kit, for 8 times as many steps. `sum`: a mixed batch of 8 frames, limit 5 for the sum: what 8 such processes do together, as in
the report; measured at every third step.
Prints, for each head, share / weight over all steps; a share is the sum over steps of the norm of what the head gives to the gradient, after
limiting, over that of all heads. Ends with 1 where a head of `ours` is outside a third to three.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
from pathlib import Path

from open_mini import stairs

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
MIXTURE = ROOT / "catalogs/openlam-2024q0/openlam-2024q0-29.yaml"
RECIPES = {
    "ours": ["batch={frames: 8}", "step={clip: per_head}", "clip_norm=0.01", "shares_every=1"],
    "one": ["batch={frames: 1}", "step={heads: one}", "clip_norm=5.0", "shares_every=1"],
    "sum": ["batch={frames: 8}", "step={heads: mixed, clip: sum}", "clip_norm=5.0", "shares_every=3"],
}
LONGER = {"one": 8}  # times as many steps: all see as many frames
FACTOR = 3.0


def main() -> None:
    """Ingest, train each recipe, print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--steps", type=int, default=2000)
    options.add_argument("--folder", type=Path, help="where the store and the runs are kept, and found again")
    options.add_argument("--recipes", nargs="*", default=list(RECIPES), choices=list(RECIPES))
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        prepare(folder)
        ratios = {name: measure(folder, name, steps=chosen.steps) for name in chosen.recipes}
    show(ratios, steps=chosen.steps)
    if any(not 1 / FACTOR <= ratio <= FACTOR for ratio in ratios.get("ours", {}).values()):
        sys.exit(1)


def prepare(folder: Path) -> None:
    """The store of the miniatures, with cards and mixture beside it."""
    from lamdata import ingest
    from tests.miniatures.datasets import MINIATURES

    if (folder / "done").exists():
        return
    (folder / "cards").mkdir(parents=True, exist_ok=True)
    for name, miniature in MINIATURES.items():
        shutil.rmtree(folder / name, ignore_errors=True)
        miniature.prepare(folder / name)
        ingest(miniature.card(), str(folder / "main.zarr"), base=folder / name, replace=True, quiet=True)
        text = json.dumps(miniature.card().model_dump(mode="json"), ensure_ascii=False)  # JSON is YAML
        (folder / "cards" / f"{name}.yaml").write_text(text, encoding="utf-8")
    shutil.copy(MIXTURE, folder)
    (folder / "train.yaml").write_text("train: shares\nmixture: openlam-2024q0-29.yaml\nstore: main.zarr\nmodel: {size: tiny}\nsteps: 1\n")
    (folder / "done").touch()


def measure(folder: Path, name: str, *, steps: int) -> dict[str, float]:
    """Head -> share / weight over a run of one recipe."""
    from lamdata import open_mixture
    from lamtrain.config import read_config
    from lamtrain.runlog import read_metrics
    from lamtrain.training.trainer import train

    steps *= LONGER.get(name, 1)
    rate = stairs(steps, "tiny")
    looks = [f"log_every={steps}", f"validation={{every: {steps}, frames: 1}}", f"checkpoint_every={steps}"]
    common = [f"steps={steps}", f"learning_rate={{start: {rate['start']}, stop: {rate['stop']}}}", "threads=1", *looks]
    config = read_config(folder / "train.yaml", overrides=[f"train={name}", *common, *RECIPES[name]])
    out = train(config, out=folder / f"{name}-{steps}", device="cpu")
    row = read_metrics(out / "metrics.csv")[-1]
    mixture, _ = open_mixture(folder / MIXTURE.name)
    whole = math.fsum(task.weight for task in mixture.heads)
    return {task.head: float(row[f"{task.head}.train.share"] or 0.0) * whole / task.weight for task in mixture.heads}


def show(ratios: dict[str, dict[str, float]], *, steps: int) -> None:
    """One line a head."""
    from lamdata import open_mixture

    mixture, _ = open_mixture(MIXTURE)
    print(f"share of the descriptor's gradient / weight, {steps} steps\n{'head':20} {'task':13}" + "".join(f"{name:>9}" for name in ratios))
    for task in mixture.heads:
        print(f"{task.head:20} {task.task:13}" + "".join(f"{values[task.head]:9.2g}" for values in ratios.values()))
    for name, values in ratios.items():
        energy, denoise = ([values[task.head] for task in mixture.heads if task.task == kind] for kind in ("energy_force", "denoise"))
        print(
            f"{name}: from {min(values.values()):.2g} to {max(values.values()):.2g}; energy/force over denoise {_mean(energy) / _mean(denoise):.3g}"
        )


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


if __name__ == "__main__":
    main()
