"""fine_tune.json -> the tables of docs/fine-tune.md, between its two marks, and docs/fine-tune.png. Called by `fine_tune.py --show`."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

from lamtrain.stages.transfer.report import ENERGY, FORCE, said

SIZES, SEEDS, SETS, OLD = (10, 30, 100), (0, 1, 2), ("Si", "AcAc"), ("mptrj", "ge", "bpa")
MARKS = ("<!-- measured -->", "<!-- /measured -->")
TITLES = {"Si": "Si of mlearn", "AcAc": "acetylacetone"}

Results = dict[str, Any]


def show(results: Results, docs: Path) -> None:
    """Write both."""
    page = docs / "fine-tune.md"
    before, _, rest = page.read_text().partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    page.write_text(f"{before}{MARKS[0]}\n{tables(results)}{MARKS[1]}{after}")
    draw(results, docs / "fine-tune.png")


def values(results: Results, name: str, what: str, key: str, *, head: str = "new") -> list[float]:
    """Of the seeds that there are; `what` is SET-SIZE."""
    return [row["heads"][head][key] for seed in SEEDS if (row := results.get(f"{name}-{what}-{seed}"))]


def tables(results: Results) -> str:
    """Markdown: against scratch; how much of the net; old heads."""
    equal, long = steps(results, "equal"), steps(results, "long")
    lines = [
        "", "Force RMSE, meV/Å: mean (lowest–highest) of seeds, each with its own frames.", "",
        f"| set | frames | seeds | parent as it is | {equal} steps: scratch | fine-tuned | {long} steps: scratch | fine-tuned |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name in SETS:
        for size in SIZES:
            what = f"{name}-{size}"
            zero = [row["heads"]["new"]["before"][FORCE] for seed in SEEDS if (row := results.get(f"equal-all-{what}-{seed}"))]
            cells = [said(values(results, run, what, FORCE)) for run in ("equal-scratch", "equal-all", "long-scratch", "long-all")]
            seeds = "/".join(str(len(values(results, run, what, FORCE))) for run in ("equal-all", "long-all"))
            lines.append(f"| {TITLES[name]} | {size} | {seeds} | {said(zero)} | {' | '.join(cells)} |")
    lines += ["", *far(results), "Energy RMSE, meV/atom, of the same models.", ""]
    lines += [f"| set | frames | {equal} steps: scratch | fine-tuned | {long} steps: scratch | fine-tuned |", "|---|---|---|---|---|---|"]
    for name in SETS:
        for size in SIZES:
            runs = ("equal-scratch", "equal-all", "long-scratch", "long-all")
            cells = [said(values(results, run, f"{name}-{size}", ENERGY)) for run in runs]
            lines.append(f"| {TITLES[name]} | {size} | {' | '.join(cells)} |")
    lines += [
        "",
        f"With 30 frames and {equal} steps, force RMSE in meV/Å: how much of the net is trained, and what becomes of the old heads.",
        "",
    ]
    lines += ["| set | trained | new head | MPtrj | Ge | 3BPA |", "|---|---|---|---|---|---|"]
    for name in SETS:
        what = f"{name}-30"
        lines.append(f"| {TITLES[name]} | nothing: the parent | {said(parents(results, what))} | {' | '.join(before(results, what))} |")
        for run in ("heads", "lora", *replays(results)):
            title = {"heads": "heads", "lora": "heads, LoRA of rank 4"}.get(run) or f"all, old heads at weight {run.removeprefix('replay')}"
            old = [said(values(results, run, what, FORCE, head=head)) if run.startswith("replay") else "-" for head in OLD]
            lines.append(f"| {TITLES[name]} | {title} | {said(values(results, run, what, FORCE))} | {' | '.join(old)} |")
    return "\n".join([*lines, "", ""])


def far(results: Results) -> list[str]:
    """Both when little changes any more, as far as these runs are done."""
    lines = []
    for name in SETS:
        both = [values(results, run, f"{name}-30", FORCE) for run in ("far-scratch", "far-all")]
        if all(both):
            seeds = min(map(len, both))
            line = f"{TITLES[name]}, 30 frames, {steps(results, 'far')} steps, {seeds} seed{'s' * (seeds > 1)}: {said(both[0])} from scratch, {said(both[1])} fine-tuned."
            lines += [line, ""]
    return lines


def replays(results: Results) -> list[str]:
    """Names of runs with old heads, by weight."""
    found = {match[0] for name in results if (match := re.match(r"replay[0-9.]+", name))}
    return sorted(found, key=lambda name: float(name.removeprefix("replay")))


def parents(results: Results, what: str) -> list[float]:
    """The new head before its first step."""
    return [row["heads"]["new"]["before"][FORCE] for seed in SEEDS if (row := results.get(f"heads-{what}-{seed}"))]


def before(results: Results, what: str) -> list[str]:
    """The old heads before the first step."""
    rows = [row for seed in SEEDS if (row := results.get(f"replay0-{what}-{seed}"))]
    return [said([row["heads"][head]["before"][FORCE] for row in rows]) for head in OLD]


def steps(results: Results, length: str) -> int:
    """Of runs of a length."""
    return next((row["steps"] for name, row in results.items() if name.startswith(f"{length}-")), 0)


def draw(results: Results, path: Path) -> None:
    """Force errors against frames, a panel a set; and old heads against their weight."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    styles = {
        "equal-scratch": ("scratch", "tab:gray", "--"), "equal-all": ("fine-tuned", "tab:blue", "--"),
        "long-scratch": ("scratch", "tab:gray", "-"), "long-all": ("fine-tuned", "tab:blue", "-"),
    }  # fmt: skip
    for axis, name in zip(axes, SETS):
        for run, (label, color, line) in styles.items():
            points = [(size, found) for size in SIZES if (found := values(results, run, f"{name}-{size}", FORCE))]
            if points:
                sizes, means = [size for size, _ in points], [statistics.fmean(found) for _, found in points]
                label = f"{label}, {steps(results, run.partition('-')[0])} steps"
                axis.plot(sizes, means, line, color=color, marker="o", markersize=4, label=label)
                spread = [min(found) for _, found in points], [max(found) for _, found in points]
                axis.fill_between(sizes, *spread, color=color, alpha=0.12, linewidth=0)
        axis.set(xscale="log", yscale="log", xlabel="frames", ylabel="force RMSE, meV/Å", title=TITLES[name])
        axis.legend(frameon=False, fontsize=8)
    for name, line in zip(SETS, ("-", "--")):
        for head, color in zip(OLD, ("tab:orange", "tab:green", "tab:red")):
            runs = [(run, found) for run in replays(results) if (found := values(results, run, f"{name}-30", FORCE, head=head))]
            weights = [float(run.removeprefix("replay")) for run, _ in runs]
            if runs:
                axes[2].plot(
                    weights,
                    [statistics.fmean(f) for _, f in runs],
                    line,
                    color=color,
                    marker="o",
                    markersize=4,
                    label=f"{head}, after {name}",
                )
    axes[2].set(yscale="log", xlabel="weight of the old heads together", ylabel="force RMSE of old heads, meV/Å", title="what is forgotten")
    axes[2].set_ylim(top=3.0 * axes[2].get_ylim()[1])
    axes[2].legend(frameon=False, fontsize=8, ncol=2, loc="upper right")
    figure.savefig(path, dpi=110, metadata={"Software": None})
