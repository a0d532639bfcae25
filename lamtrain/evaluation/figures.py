"""Figures: parity of predictions with labels, and learning curves. matplotlib only, written as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamdata.frame import Frame
from lamdata.frames import Frames

from ..files import replace_file
from ..runlog import read_metrics
from ..tasks import TaskKind, task_kind

MOST_POINTS = 20_000  # of one panel: more hide each other


class Parity:
    """Points of one head's plots: axis label -> (n, 2) labels and predictions."""

    def __init__(self, kind: TaskKind):
        self.kind = kind
        self.points: dict[str, list[NDArray[np.float64]]] = {}

    def add(self, frames: Frames, output: Any, *, references: NDArray[np.float64]) -> None:
        """Take in one batch; `references` (256,) are eV by atomic number."""
        for label, points in self.kind.parity(frames, output, references).items():
            self.points.setdefault(label, []).append(points)

    def panels(self) -> list[tuple[str, NDArray[np.float64]]]:
        """What there is to draw, with its axis label."""
        return [(label, np.concatenate(points)) for label, points in self.points.items() if sum(map(len, points))]


def draw_parity(parities: dict[str, Parity], errors: dict[str, dict[str, Any]], path: Path) -> None:
    """One row a head, one panel a quantity."""
    panels = {head: parity.panels() for head, parity in parities.items()}
    columns = max([len(p) for p in panels.values()] + [1])
    figure, axes = new_figure(len(panels), columns)
    for row, (head, parts) in enumerate(panels.items()):
        for column in range(columns):
            axis = axes[row][column]
            if column >= len(parts):
                axis.axis("off")
                continue
            label, points = parts[column]
            points = points[:: -(-len(points) // MOST_POINTS)]
            low, high = float(points.min()), float(points.max())
            axis.plot([low, high], [low, high], color="0.6", linewidth=1)
            axis.scatter(points[:, 0], points[:, 1], s=4, alpha=0.35, linewidths=0, color="tab:blue", rasterized=True)
            axis.set(xlabel=f"label, {label}", ylabel="prediction", title=f"{head} ({errors[head]['task']})" if column == 0 else "")
    save_figure(figure, path)


def draw_points(panels: Sequence[tuple[str, NDArray[np.float64], NDArray[np.float64]]], path: Path, *, title: str) -> None:
    """One panel a quantity: axis label, labels and predictions (n, 2), and those to be seen among them (m, 2)."""
    figure, axes = new_figure(1, max(len(panels), 1))
    for column, (label, points, marked) in enumerate(panels):
        axis, low, high = axes[0][column], float(points.min()), float(points.max())
        axis.plot([low, high], [low, high], color="0.6", linewidth=1)
        axis.scatter(points[:, 0], points[:, 1], s=4, alpha=0.35, linewidths=0, color="tab:blue", rasterized=True)
        if len(marked):
            axis.scatter(marked[:, 0], marked[:, 1], s=9, linewidths=0, color="tab:red", label="worst frames", rasterized=True)
            axis.legend(frameon=False)
        axis.set(xlabel=f"label, {label}", ylabel="prediction", title=title if column == 0 else "")
    save_figure(figure, path)


def draw_worst(frames: Sequence[tuple[Frame, Frame]], path: Path) -> None:
    """Frames (as labelled, as predicted) seen along z: an atom is as large as its element, and as dark as the error of its force."""
    from ase.data import covalent_radii
    from ase.data.colors import jmol_colors

    columns = min(len(frames), 4)
    figure, axes = new_figure(-(-len(frames) // columns), columns)
    for axis in axes.ravel()[len(frames) :]:
        axis.axis("off")
    for axis, (label, predicted) in zip(axes.ravel(), frames):
        assert label.forces is not None and predicted.forces is not None
        x, y, z = label.positions.T
        back_first = np.argsort(z)
        radii, errors = covalent_radii[label.numbers], np.linalg.norm(predicted.forces - label.forces, axis=1)
        low, high = min(x.min(), y.min()), max(x.max(), y.max())
        points = (72 * 2.2 / max(high - low, 3.0) * 1.6 * radii) ** 2  # of a circle of 0.8 covalent radii in a panel of 2.2 inches
        marks = axis.scatter(
            x[back_first], y[back_first], s=points[back_first], c=errors[back_first], cmap="YlOrRd", vmin=0.0,
            edgecolors=jmol_colors[label.numbers[back_first]], linewidths=1.5,
        )  # fmt: skip
        figure.colorbar(marks, ax=axis, label="force error (eV/Å)", shrink=0.8)
        if label.cell is not None:
            corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]]) @ label.cell
            axis.plot(corners[:, 0], corners[:, 1], color="0.6", linewidth=1)
        axis.set_title(label.origin[-48:], fontsize=7)
        axis.set_aspect("equal")
        axis.set(xlabel="x (Å)", ylabel="y (Å)")
        axis.margins(0.15)
    save_figure(figure, path)


def draw_curves(metrics: Path, heads: dict[str, str], path: Path) -> None:
    """Errors against steps, training and held-out, one panel for each error of each head."""
    rows = read_metrics(metrics)
    names = {head: task_kind(task).drawn for head, task in heads.items()}
    figure, axes = new_figure(len(heads), max(map(len, names.values())))
    for row, head in enumerate(heads):
        for column, name in enumerate(names[head]):
            axis = axes[row][column]
            styles: dict[str, dict[str, Any]] = {"train": {"alpha": 0.5}, "validation": {"marker": "o", "markersize": 3}}
            for side, style in styles.items():
                points = [(int(r["step"]), float(value)) for r in rows if (value := r.get(f"{head}.{side}.{name}"))]
                if points:
                    axis.plot(*zip(*points), label=side, **style)
            axis.set(yscale="log", xlabel="step", ylabel=name.replace("_", " "), title=head if column == 0 else "")
            if axis.lines:
                axis.legend(frameon=False)
    save_figure(figure, path)


def new_figure(rows: int, columns: int, *, panel: tuple[float, float] = (4.2, 3.6), **options: Any) -> tuple[Any, Any]:
    """An empty figure and its axes (rows, columns), each of `panel` inches; `options` are those of matplotlib's `subplots`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    size = (panel[0] * columns, panel[1] * rows)
    figure, axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **options)
    return figure, axes


def save_figure(figure: Any, path: Path) -> None:
    """As a PNG of which equal input gives equal bytes, whole or not at all."""
    from matplotlib import pyplot

    data = io.BytesIO()
    figure.savefig(data, dpi=120, format="png", metadata={"Software": None})
    pyplot.close(figure)
    replace_file(path, data.getvalue())
