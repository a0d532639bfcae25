"""Pictures of a coverage: a map of frames over those of training, and the scores of frames and atoms beside training's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamdata.elements import SYMBOLS

from ...evaluation.figures import new_figure, save_figure
from .scores import BINS, Coverage
from .sketch import Sketch

MARKED = 5  # of the frames with the highest scores


def draw_map(sketch: Sketch, coverage: Coverage, path: Path, *, title: str) -> None:
    """Frames along the first two principal axes of training's mean descriptors, and along the first two of what is left of these frames."""
    scores, features, _ = coverage.points()
    figure, axes = new_figure(1, 2, panel=(5.4, 4.4))
    behind = sketch.points.astype(np.float64)
    own = _own_axes(features.astype(np.float64))
    for axis, (turn, word) in zip(axes[0], ((np.eye(features.shape[1])[:2], "training's axis"), (own, "axis of these frames"))):
        turn = np.vstack([turn, np.zeros((2 - len(turn), features.shape[1]))]) if len(turn) < 2 else turn
        x, y = (behind @ turn.T).T
        axis.scatter(x, y, s=10, color="0.75", linewidths=0, label=f"training ({len(behind)} frames)", rasterized=True)
        x, y = (features @ turn.T).T
        shown = axis.scatter(x, y, s=12, c=np.minimum(scores, 3.0), cmap="coolwarm", vmin=0.0, vmax=2.0, linewidths=0, rasterized=True)
        for number, scored in enumerate(coverage.worst[:MARKED]):
            x, y = turn @ scored.features
            axis.annotate(str(number + 1), (x, y), fontsize=8, xytext=(3, 3), textcoords="offset points")
        axis.set(xlabel=f"{word} 1", ylabel=f"{word} 2")
        axis.legend(frameon=False, fontsize=8)
    axes[0][0].set_title(title)
    figure.colorbar(shown, ax=axes[0].tolist(), label="score (1: the limit of training)")
    save_figure(figure, path)


def _own_axes(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, K) principal axes of some frames."""
    apart = features - features.mean(0)
    _, vectors = np.linalg.eigh(apart.T @ apart)
    axes: NDArray[np.float64] = vectors[:, ::-1][:, :2].T
    return axes


def draw_scores(sketch: Sketch, coverage: Coverage, path: Path) -> None:
    """How many frames and atoms lie beyond a score, here and in training; and of each element the share beyond its limit."""
    figure, axes = new_figure(1, 3)
    for axis, bins, curve, what in (
        (axes[0][0], coverage.frame_bins, sketch.frame_curve, "frames"),
        (axes[0][1], coverage.atom_bins, sketch.curve, "atoms"),
    ):
        above = np.cumsum(bins[::-1])[::-1] / bins.sum()
        axis.step(np.maximum(BINS[:-1], BINS[1]), above, where="post", color="tab:red", label="here")
        axis.step(curve, np.linspace(1.0, 0.0, len(curve)), where="post", color="0.5", label="training")
        axis.axvline(1.0, color="0.2", linewidth=1, linestyle="--")
        axis.set(xscale="log", yscale="symlog", ylim=(0.0, 1.05), xlabel=f"score of {what}", ylabel="share above")
        axis.set_yscale("symlog", linthresh=0.01)
        axis.legend(frameon=False)
    rows = sorted(coverage.elements.items(), key=lambda row: -row[1][1] / row[1][0])[:12]
    axes[0][2].barh(
        [f"{SYMBOLS[z]} ({atoms:,})" for z, (atoms, _) in rows], [beyond / atoms for _, (atoms, beyond) in rows], color="tab:red"
    )
    axes[0][2].axvline(0.01, color="0.5", linewidth=1)
    axes[0][2].set(xlim=(0.0, 1.0), xlabel="share of atoms beyond the limit")
    axes[0][2].invert_yaxis()
    save_figure(figure, path)
