"""Structure: trajectories -> how the atoms of each pair of elements stand to each other, and how far two of them are apart."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from lamdata.elements import SYMBOLS

from ...data.neighbors import find_neighbors
from .explore import Trajectory

F64 = NDArray[np.float64]
FARTHEST, WIDTH = 6.0, 0.05  # Å, of what is looked at and of a bin


def radial_distributions(trajectory: Trajectory, *, first: int = 0, last: int | None = None) -> tuple[F64, dict[str, F64]]:
    """(B,) Å middles of bins, and "O-H" -> (B,) g(r), over frames `first:last`.

    In a cell that is periodic in all directions g is 1 where the pair does not matter: pairs found by those that a gas of the same density
    would have. Elsewhere there is no density: it is the share of the pairs in a bin, by its width in Å.
    """
    edges = np.arange(0.0, FARTHEST + WIDTH / 2, WIDTH)
    numbers, periodic = trajectory.numbers, bool(trajectory.pbc.all())
    present = np.unique(numbers).tolist()
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    sums: dict[str, F64] = {}
    frames = range(*slice(first, last).indices(len(trajectory)))
    for frame in frames:
        found = find_neighbors(trajectory.positions[frame], cell=trajectory.cells[frame], pbc=trajectory.pbc, cutoff=FARTHEST)
        centres = np.repeat(np.arange(len(numbers)), found.counts)
        for one, other in itertools.combinations_with_replacement(present, 2):
            here = (numbers[centres] == one) & (numbers[found.neighbors] == other)
            counts, _ = np.histogram(found.distances[here], edges)
            name = f"{SYMBOLS[one]}-{SYMBOLS[other]}"
            if periodic:
                volume = abs(float(np.linalg.det(trajectory.cells[frame])))
                gas = np.count_nonzero(numbers == one) * np.count_nonzero(numbers == other) / volume * shells
                value = counts / gas
            else:
                value = counts / max(int(counts.sum()), 1) / WIDTH
            sums[name] = sums.get(name, np.zeros(len(shells))) + value / len(frames)
    return (edges[1:] + edges[:-1]) / 2, sums


def apart(one: dict[str, F64], other: dict[str, F64]) -> dict[str, float]:
    """Pair -> the integral of |g - g'| by that of g'; 0 for equal ones, 2 for densities with nothing in common. Pairs that are never near are left out."""
    return {pair: float(np.abs(one[pair] - other[pair]).sum() / other[pair].sum()) for pair in other if other[pair].sum() > 0}
