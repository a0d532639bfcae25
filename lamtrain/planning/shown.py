"""A plan -> lines and a table on the screen, and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamdata.command import table
from lamdata.notebook import size_of

from ..evaluation.figures import new_figure, save_figure
from .shares import OFTEN, STARVED

COLUMNS = {
    "name": "head",
    "probability": "probability",
    "draws": "draws",
    "frames": "train frames",
    "epochs": "effective epochs",
    "frames_a_step": "frames/step",
    "atoms_a_step": "atoms/step",
}


def print_plan(plan: Mapping[str, Any]) -> None:
    """The table by head, the run in a few lines, and what is to be said of it."""
    shown = [key for key in COLUMNS if any(row.get(key) is not None for row in plan["heads"])]
    looked = any("truncated" in row for row in plan["heads"])
    rows = [[*(round(row[key]) if key == "draws" else row.get(key) for key in shown), *_neighbours(row)] for row in plan["heads"]]
    title = f"{plan['train']}: {plan['steps']:,} steps of {plan['frames_a_step']:.4g} frames"
    table(title, [*(COLUMNS[key] for key in shown), *(["neighbours kept", "atoms cut"] if looked else [])], rows)
    print("\n".join([*_of_run(plan), *(f"note: {line}" for line in plan["notes"])]))


def _neighbours(row: Mapping[str, Any]) -> list[str]:
    """Of the longest list how many an atom keeps, and of the list that loses most from how many atoms."""
    if "truncated" not in row:
        return []
    return [f"{next(iter(row['neighbors'].values())):.0f}", f"{max(row['truncated'].values()):.1%}"]


def _of_run(plan: Mapping[str, Any]) -> list[str]:
    """Time, memory and bytes, as far as they are known."""
    lines = []
    if "seconds_a_step" in plan:
        memory = plan.get("device_bytes")
        loader = "; the loader is the slower part" if plan["seconds_loading"] > plan["seconds_computing"] else ""
        lines += [
            f"a step: {plan['seconds_a_step']:.3g} s on {plan['device']} ({plan['real_steps']} real steps, off by {plan['fit_worst']:.0%} at most{loader})",
            f"the run: {hours_of(plan['hours'])} on {plan['ranks']:,} ranks, {plan['device_hours']:,.3g} device-hours; validation and checkpoints on top",
            f"peak memory: {size_of(plan['peak_bytes'])} a rank"
            + ("" if memory is None else f", of the {size_of(memory)} of {plan['device']}"),
        ]
        if plan["ranks"] > 1:
            lines.append(
                f"ranks: the fullest holds {plan['imbalance']:.2f} times the mean's atoms; a message of {size_of(plan['gradient_bytes'])} a step is on top"
            )
    if "bytes_read" in plan:
        lines.append(f"read from the store: {size_of(plan['bytes_read'])} by each rank")
    return lines


def hours_of(hours: float) -> str:
    """A time that a person can plan with."""
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 2 else f"{hours:,.1f} h"


def draw_plan(plan: Mapping[str, Any], path: Path) -> None:
    """Effective epochs by head, between starved and often seen, beside the shares of frames and atoms."""
    rows = plan["heads"]
    names = [row["name"] for row in rows]
    shares = [("frames/step", [row["frames_a_step"] for row in rows])]
    if all("atoms_a_step" in row for row in rows):
        shares.append(("atoms/step", [row["atoms_a_step"] for row in rows]))
    figure, axes = new_figure(1, 1 + len(shares), panel=(4.5, 1.2 + 0.28 * len(rows)), sharey=True)
    kinds = list(dict.fromkeys(row["task"] for row in rows))
    colours = [f"C{kinds.index(row['task'])}" for row in rows]
    first = axes[0][0]
    first.barh(names, [row["epochs"] or float("nan") for row in rows], color=colours)
    first.set(xscale="log", xlabel="effective epochs", title=f"{plan['train']}, {plan['steps']:,} steps")
    for epochs, word in ((STARVED, "seen once"), (OFTEN, "often")):
        first.axvline(epochs, color="0.4", linewidth=1, linestyle="--", label=f"{epochs:g}: {word}")
    first.legend(frameon=False, fontsize="small")
    first.invert_yaxis()
    for axis, (label, values) in zip(axes[0][1:], shares):
        axis.barh(names, values, color=colours)
        axis.set(xlabel=label, title=", ".join(f"{kind}: {('blue', 'orange', 'green')[i % 3]}" for i, kind in enumerate(kinds)))
    save_figure(figure, path)
