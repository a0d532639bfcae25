"""Figures: errors against frames, with the range of the seeds, and against steps; both axes logarithmic."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...evaluation.figures import new_figure, save_figure
from .arms import ARMS
from .curves import taken

PANELS = {"force_rmse_mev_per_angstrom": "force RMSE, meV/Å", "energy_rmse_mev_per_atom": "energy RMSE, meV/atom"}
COLOURS = dict(zip(ARMS, ("tab:blue", "tab:orange")))
LINES = {"equal": "--", "converged": "-"}


def draw_curves(name: str, found: Mapping[str, Any], path: Path) -> None:
    """A row against frames, a row against steps with the most frames; the guess and the model as it is are lines across."""
    rows = found["curves"]
    figure, axes = new_figure(2, len(PANELS))
    for column, (key, label) in enumerate(PANELS.items()):
        for axis in axes[:, column]:
            _across(axis, found["zero_shot"]["held_in"], key)
        _against_frames(axes[0][column], rows, key)
        _against_steps(axes[1][column], rows, key)
        for axis in axes[:, column]:
            axis.set(yscale="log", ylabel=label)
            for ticks in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
                ticks("{x:g}")
            axis.legend(frameon=False, fontsize=7, handlelength=4)
    axes[0][0].set_title(name)
    save_figure(figure, path)


def _across(axis: Any, table: Mapping[str, Any], key: str) -> None:
    lines = {"composition only": (table["guess"], ":"), "model as it is": (table["errors"], "-.")}
    for label, (errors, style) in lines.items():
        if errors.get(key):
            axis.axhline(errors[key], color="0.5", linestyle=style, linewidth=1, label=label)


def _against_frames(axis: Any, rows: Sequence[Mapping[str, Any]], key: str) -> None:
    first = min(row["runs"][0]["steps"] for row in rows)
    for arm in ARMS:
        for when, style in LINES.items():
            runs = taken(rows, arm=arm, when=when)
            points = {size: [run["errors"][key] for run in some if key in run["errors"]] for size, some in runs.items()}
            _band(axis, points, colour=COLOURS[arm], style=style, label=f"{arm}, {f'{first:,} steps' if when == 'equal' else 'longer'}")
    _logarithmic(axis, sorted({row["frames"] for row in rows}), "training frames")


def _against_steps(axis: Any, rows: Sequence[Mapping[str, Any]], key: str) -> None:
    most = max(row["frames"] for row in rows)
    for arm in ARMS:
        points: dict[int, list[float]] = {}
        for row in rows:
            for run in row["runs"] if (row["arm"], row["frames"]) == (arm, most) else ():
                if key in run["errors"]:
                    points.setdefault(run["steps"], []).append(run["errors"][key])
        _band(axis, points, colour=COLOURS[arm], style="-", label=f"{arm}, {most:,} frames")
    _logarithmic(axis, sorted({run["steps"] for row in rows for run in row["runs"]}), "steps")


def _logarithmic(axis: Any, places: Sequence[int], label: str) -> None:
    """With a mark where there are points, and no others."""
    axis.set(xscale="log", xlabel=label)
    axis.set_xticks(places, [f"{x:,}" for x in places])
    axis.set_xticks([], minor=True)


def _band(axis: Any, points: Mapping[int, Sequence[float]], *, colour: str, style: str, label: str) -> None:
    """Means of the seeds, and from the lowest to the highest."""
    places = sorted(x for x, values in points.items() if values)
    if not places:
        return
    means = [statistics.fmean(points[x]) for x in places]
    axis.plot(places, means, style, color=colour, marker="o", markersize=4, linewidth=1.5, label=label)
    low, high = [min(points[x]) for x in places], [max(points[x]) for x in places]
    axis.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    axis.vlines(places, low, high, color=colour, linewidth=1)
