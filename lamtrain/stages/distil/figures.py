"""Figures: how the deviation went down round by round, and what the suite saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...evaluation.figures import new_figure, save_figure

COLOURS = {"teacher": "tab:blue", "student": "tab:orange"}


def draw_rounds(rounds: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The share of frames below each deviation, a line a round, and what became of the frames of each round."""
    judged = [row for row in rounds if "deviations" in row]
    figure, axes = new_figure(1, 2)
    axis = axes[0][0]
    for place, row in enumerate(judged):
        values = np.sort([x for x in row["deviations"] if x is not None])
        shade = 0.75 * (1 - (place + 1) / len(judged))
        axis.plot(values, np.arange(1, len(values) + 1) / max(row["planned"], 1), color=str(shade), label=f"round {row['round']}")
    if judged:
        axis.axvline(judged[-1]["low"], color="tab:green", linewidth=1, label="low")
        axis.axvline(judged[-1]["high"], color="tab:red", linewidth=1, label="high")
        axis.legend(frameon=False, fontsize=7)
    name = "|ΔF|" if not judged or judged[-1]["deviation"] == "difference" else "|ΔF| / 2"
    axis.set(xscale="log", xlabel=f"largest {name} of a frame, eV/Å", ylabel="share of the frames of a round", ylim=(0, 1.02))
    axis, below = axes[0][1], np.zeros(len(judged))
    colours = {"accurate": "tab:green", "candidates": "tab:orange", "failed": "tab:red", "lost": "0.6"}
    for kind, colour in colours.items():
        shares = np.array([row[kind] / max(row["planned"], 1) for row in judged])
        axis.bar([row["round"] for row in judged], shares, bottom=below, color=colour, label=kind)
        below += shares
    axis.set(xlabel="round", ylabel="share of the frames", ylim=(0, 1.02))
    axis.set_xticks([row["round"] for row in judged])
    axis.legend(fontsize=7, loc="lower right", framealpha=0.9)
    save_figure(figure, path)


def draw_suite(suite: Mapping[str, Any], path: Path) -> None:
    """Radial distributions of both, a panel a pair, and the energy of the student at constant energy."""
    rdf, nve = suite["rdf"], suite["nve"]
    pairs = list(rdf.get("apart", {}))
    figure, axes = new_figure(1, len(pairs) + 1)
    for axis, pair in zip(axes[0], pairs):
        for name, colour in COLOURS.items():
            axis.plot(rdf["radii_angstrom"], rdf[name][pair], color=colour, linewidth=1, label=name)
        axis.set(xlabel="r, Å", ylabel="g(r)", title=f"{pair}: {rdf['apart'][pair]:.3f} apart")
        axis.legend(frameon=False)
    axis, series = axes[0][-1], nve["series"]
    energies = np.array(series["energies_ev_per_atom"])
    axis.plot(series["times_ps"], 1000 * (energies - energies[:1]), color=COLOURS["student"], linewidth=1)
    title = f"blew up after {nve['steps_done']} steps" if nve["stopped_by"] else f"drift {nve['drift_ev_per_atom_per_ps']:.1e} eV/atom/ps"
    axis.set(xlabel="time, ps", ylabel="total energy from its start, meV/atom", title=title)
    save_figure(figure, path)
