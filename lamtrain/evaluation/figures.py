"""Figures: parity of predictions with labels, and learning curves. matplotlib only, written as PNG."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lamdata.frames import Frames

from ..runlog import read_metrics

MOST_POINTS = 20_000  # of one panel: more hide each other


@dataclass(slots=True)
class Parity:
    """Points of one head: (label, prediction)."""

    energy: list[np.ndarray] = field(default_factory=list)  # eV/atom above the references
    force: list[np.ndarray] = field(default_factory=list)  # eV/Å
    displacement: list[np.ndarray] = field(default_factory=list)  # Å

    def add(self, frames: Frames, output: Any, *, references: np.ndarray) -> None:
        """Take in one batch; `references` (256,) are eV by atomic number."""
        if output.energy is not None:
            numbers = frames.numbers if frames.clean_numbers is None else frames.clean_numbers
            base = np.add.reduceat(references[numbers], frames.starts[:-1])
            pair = np.stack([frames.energy - base, output.energy.detach().cpu().numpy() - base], 1) / frames.natoms[:, None]
            self.energy.append(pair[frames.has_energy])
        if output.forces is not None:
            labelled = np.repeat(frames.has_forces, frames.natoms)
            self.force.append(_pairs(frames.forces, output.forces.detach().cpu().numpy(), labelled))
        if output.displacement is not None and frames.noise is not None:
            self.displacement.append(_pairs(-frames.noise, output.displacement.detach().cpu().numpy(), frames.noised))

    def panels(self) -> list[tuple[str, np.ndarray]]:
        """What there is to draw, with its axis label."""
        parts = (("energy (eV/atom)", self.energy), ("force (eV/Å)", self.force), ("displacement (Å)", self.displacement))
        return [(label, np.concatenate(points)) for label, points in parts if points and sum(map(len, points))]


def _pairs(label: np.ndarray, predicted: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return np.stack([label[chosen].ravel(), predicted[chosen].ravel()], 1)


def draw_parity(parities: dict[str, Parity], errors: dict[str, dict[str, Any]], path: Path) -> None:
    """One row a head, one panel a quantity."""
    panels = {head: parity.panels() for head, parity in parities.items()}
    columns = max([len(p) for p in panels.values()] + [1])
    figure, axes = _figure(len(panels), columns)
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
    _save(figure, path)


def draw_curves(metrics: Path, heads: dict[str, str], path: Path) -> None:
    """Errors against steps, training and held-out, one panel for each error of each head."""
    rows = read_metrics(metrics)
    names = {
        "energy_force": ("energy_rmse_mev_per_atom", "force_rmse_mev_per_angstrom"),
        "denoise": ("displacement_rmse_angstrom", "type_cross_entropy"),
    }
    figure, axes = _figure(len(heads), 2)
    for row, (head, task) in enumerate(heads.items()):
        for column, name in enumerate(names[task]):
            axis = axes[row][column]
            for side, style in (("train", {"alpha": 0.5}), ("validation", {"marker": "o", "markersize": 3})):
                points = [(int(r["step"]), float(value)) for r in rows if (value := r.get(f"{head}.{side}.{name}"))]
                if points:
                    axis.plot(*zip(*points), label=side, **style)
            axis.set(yscale="log", xlabel="step", ylabel=name.replace("_", " "), title=head if column == 0 else "")
            axis.legend(frameon=False)
    _save(figure, path)


def _figure(rows: int, columns: int):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(rows, columns, figsize=(4.2 * columns, 3.6 * rows), squeeze=False, layout="constrained")
    return figure, axes


def _save(figure, path: Path) -> None:
    from matplotlib import pyplot

    figure.savefig(path, dpi=120, metadata={"Software": None})
    pyplot.close(figure)
