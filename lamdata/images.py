"""One frame, large or with a narrow cell -> its pairs of atoms closer than a limit, every periodic image looked at.

A k-d tree of the atoms and of those images that come near the cell. vesin's cell lists would do, but take time and memory by the
volume between the atoms of a frame without periods, which is any number for a few molecules far apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .frame import F64


def pairs_over_images(
    points: NDArray[np.floating], asked: NDArray[np.int64], *, cell: NDArray[np.floating], limit: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], F64]:
    """Return (first, second, distance) of each of the rows `asked` and another row, or an image of it, closer than `limit`, Å.

    `points` (N, 3), Å; `cell` (3, 3), Å, has zeros along axes without a period.
    """
    from scipy.spatial import cKDTree

    reciprocal = np.linalg.pinv(cell) * cell.any(axis=1)  # columns are b_k; zeros, and no rounding, along axes without a period
    home = points - np.floor(points @ reciprocal) @ cell
    row, near = _images(home, cell, reciprocal, limit=limit)
    found = cKDTree(home[asked]).sparse_distance_matrix(cKDTree(near), limit, output_type="ndarray")
    first, second, distance = asked[found["i"]], row[found["j"]], found["v"]
    keep = (first != second) & (distance < limit)
    return first[keep], second[keep], distance[keep]


def _images(
    home: NDArray[np.floating], cell: NDArray[np.floating], reciprocal: NDArray[np.floating], *, limit: float
) -> tuple[NDArray[np.int64], F64]:
    """Return (row, position) of the atoms and all images whose fractional coordinates are within `limit` |b_k| of 0 .. 1."""
    window = limit * np.linalg.norm(reciprocal, axis=0) + 1e-9
    steps = [np.arange(-np.ceil(w), np.ceil(w) + 1) if b.any() else np.zeros(1) for w, b in zip(window, reciprocal.T)]
    shifts = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    fraction = home @ reciprocal + shifts  # (images, N, 3)
    image, row = np.nonzero(((fraction >= -window) & (fraction <= 1 + window)).all(axis=2))
    return row, home[row] + shifts[image, 0] @ cell
