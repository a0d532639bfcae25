"""Figures: scores by rank, and by task how far each model is below the guess, label by label."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...evaluation.figures import new_figure, save_figure

MOST_SHOWN = 30  # models of a picture
LABELS = ("energy", "force", "virial")


def draw_ranks(result: Mapping[str, Any], path: Path) -> None:
    """A bar for each model, and a map of the ratios for each label that some task has."""
    rows = result["rows"][:MOST_SHOWN]
    labels = [label for label in LABELS if any(label in task["labels"] for task in result["tasks"].values())]
    names = [f"{row['rank']}. {row['name']}" for row in rows]
    wide = max(4.2, 0.32 * len(result["tasks"]) + 2.4)
    figure, axes = new_figure(1, 1 + len(labels), panel=(wide, 1.6 + 0.34 * len(rows)))
    _bars(axes[0][0], rows, names)
    for axis, label in zip(axes[0][1:], labels):
        _map(figure, axis, rows, list(result["tasks"]), label)
    save_figure(figure, path)


def _bars(axis: Any, rows: list[dict[str, Any]], names: list[str]) -> None:
    colours = ["tab:blue" if row["complete"] else "tab:orange" for row in rows]
    places = np.arange(len(rows))
    axis.barh(places, [row["score"] for row in rows], color=colours)
    for place, row in zip(places, rows):
        words = f"{row['score']:.3g}" + ("" if row["complete"] else ", incomplete")
        inside = row["score"] > 0.6
        x = row["score"] - 0.01 if inside else row["score"] + 0.01
        axis.text(x, place, words, va="center", ha="right" if inside else "left", fontsize=8, color="white" if inside else "black")
    axis.axvline(1.0, color="0.5", linestyle=":", linewidth=1)
    axis.set_yticks(places, names)
    axis.set(xlim=(0, 1.05), xlabel="normalised score (1: the guess)", ylim=(len(rows) - 0.5, -0.5))


def _map(figure: Any, axis: Any, rows: list[dict[str, Any]], tasks: list[str], label: str) -> None:
    values = np.array([[row["tasks"][task]["ratios"].get(label, np.nan) for task in tasks] for row in rows], float)
    image = axis.imshow(values, vmin=0, vmax=1, cmap="viridis_r", aspect="auto")
    axis.set_xticks(range(len(tasks)), tasks, rotation=90 if len(tasks) > 6 else 0, fontsize=8)
    axis.set_yticks(range(len(rows)), [str(row["rank"]) for row in rows])
    axis.set_title(f"{label}: error / guess", fontsize=9)
    for y, x in np.ndindex(values.shape) if len(tasks) <= 12 else ():
        if np.isfinite(values[y, x]):
            axis.text(x, y, f"{values[y, x]:.2g}", ha="center", va="center", fontsize=7, color="white" if values[y, x] > 0.6 else "black")
    figure.colorbar(image, ax=axis, shrink=0.8)
