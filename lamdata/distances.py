"""Many frames -> the shortest distance between two atoms of each, periodic images included.

Small frames are taken together: every pair of every frame in one sweep of arrays, which costs some nanoseconds a pair and no call a
frame. In a cell, the nearest image of a pair is the one with rounded differences of fractional coordinates wherever it is nearer than
half the least height of the cell; a cell lower than that is repeated first. Large frames go one by one to cell lists.

`_distances.c` measures the pairs where it could be compiled at installation; where it could not, arrays do, to the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .frame import F64, Frame
from .frames import Frames
from .images import pairs_over_images

compiled: ModuleType | None
try:
    from . import _distances as compiled
except ImportError:
    compiled = None

Real = NDArray[np.floating]  # of either width
MANY = 320  # atoms; above it cell lists are quicker than all pairs in arrays
SWEEP = 16_384  # values of the arrays of a sweep: they stay in the processor's cache
FIRST_LOOK = 3.0  # Å; molecules in a wide cell have few pairs this close, and all but a few crystals have one
CROWDED = 24.0  # Å; where neighbours are further than this, images of the others are further still
ROOM = 1.000001  # for the rounding of a bound


def shortest_distances(frames: Frames) -> F64:
    """(F,) shortest distance in Å between two atoms or images of them; inf for a lone atom in open space."""
    out = np.full(len(frames), np.nan)
    small = frames.natoms <= MANY
    opened = np.flatnonzero(small & ~frames.pbc.any(axis=1))
    out[opened] = _all_pairs(*_atoms_of(frames, opened), None)
    crystals = np.flatnonzero(small & frames.pbc.all(axis=1))
    out[crystals] = _in_small_crystals(*_atoms_of(frames, crystals), frames.cell[crystals])
    starts = frames.starts
    for f in np.flatnonzero(np.isnan(out)):
        out[f] = _shortest(frames.positions[starts[f] : starts[f + 1]], frames.cell[f], frames.pbc[f])
    return out


def shortest_distance(frame: Frame) -> float:
    """The same of one frame."""
    return float(shortest_distances(Frames.from_list([frame]))[0])


def heights(cell: Real) -> tuple[F64, F64, F64]:
    """Volume (F,) Å^3, distances between opposite faces (F, 3) Å and inverses (F, 3, 3) of cells (F, 3, 3) Å."""
    after, before = cell[:, [1, 2, 0]], cell[:, [2, 0, 1]]
    across = after.take([1, 2, 0], 2) * before.take([2, 0, 1], 2) - after.take([2, 0, 1], 2) * before.take([1, 2, 0], 2)
    signed = np.einsum("fi,fi->f", cell[:, 0], across[:, 0])
    with np.errstate(divide="ignore", invalid="ignore"):  # a flat cell has the height nought, or none
        high = np.abs(signed)[:, None] / np.sqrt(np.einsum("fki,fki->fk", across, across))
        return np.abs(signed), high, (across / signed[:, None, None]).transpose(0, 2, 1)


def _atoms_of(frames: Frames, rows: NDArray[np.integer]) -> tuple[Real, NDArray[np.int32]]:
    """Positions of the atoms of some frames, and how many each has."""
    if len(rows) == len(frames):
        return frames.positions, frames.natoms
    chosen = np.zeros(len(frames), bool)
    chosen[rows] = True
    return frames.positions[np.repeat(chosen, frames.natoms)], frames.natoms[rows]


def _in_small_crystals(positions: Real, natoms: NDArray[np.int32], cell: Real) -> F64:
    """(F,) Å; NaN for a frame whose cell would have to be repeated to more than `MANY` atoms.

    The shortest distance is at most (sqrt(2) V / N)^(1/3), as no packing of spheres is denser than fcc.
    """
    volume, high, inverse = heights(cell)
    fraction = np.einsum("ai,aik->ak", positions, np.repeat(inverse, natoms, axis=0))
    out = _all_pairs(fraction, natoms, cell)
    with np.errstate(divide="ignore", invalid="ignore"):
        bound = np.fmin(out, ROOM * np.cbrt(2**0.5 * volume / natoms))
        copies = np.nan_to_num(np.ceil(2 * bound[:, None] / high), nan=MANY + 1.0).clip(1, MANY + 1).astype(np.int64)
    copied = copies.prod(axis=1)
    out[(copied > 1) | ~np.isfinite(out)] = np.nan
    once_more = (copied > 1) & (copied * natoms <= MANY)
    rows = np.flatnonzero(once_more)
    starts, filled = np.cumsum(natoms) - natoms, np.cumsum((copied * natoms)[rows])
    for some in np.split(rows, np.searchsorted(filled, np.arange(SWEEP, filled[-1], SWEEP))) if len(rows) else ():
        # Each atom so many times, one image behind the other.
        times = np.repeat(copied[some], natoms[some])
        atoms = np.repeat(starts[some] - (np.cumsum(natoms[some]) - natoms[some]), natoms[some]) + np.arange(natoms[some].sum())
        image = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        n = np.repeat(copies[some], copied[some] * natoms[some], axis=0)
        shift = np.stack([image // (n[:, 1] * n[:, 2]), image // n[:, 2] % n[:, 1], image % n[:, 2]], axis=1)
        repeated = (fraction[np.repeat(atoms, times)] + shift) / n
        out[some] = _all_pairs(repeated, natoms[some] * copied[some], cell[some] * copies[some][:, :, None])
    return out


def _all_pairs(points: Real, natoms: NDArray[np.int32], cell: Real | None) -> F64:
    """(F,) shortest distance over all pairs of a frame, the nearest image by rounding; inf where there is no pair.

    `points` (A, 3) are fractions of `cell` (F, 3, 3), or Å where there is none.
    """
    # An orthonormal change of axes keeps lengths and leaves a lower triangle of the cell.
    lower = None if cell is None else _triangles(cell)
    out, starts = np.empty(len(natoms)), np.concatenate([[0], np.cumsum(natoms)])
    if compiled is not None and points.dtype == np.float64 and (lower is None or lower.dtype == np.float64):
        compiled.shortest(np.ascontiguousarray(points), natoms.astype(np.int64), b"" if lower is None else lower, out)
        if not np.isnan(out).any():  # none lies so far out that it is rounded otherwise
            return out
    for rows, width in _alike(natoms):
        padded = np.full((len(rows), width, 3), np.nan)
        inside = np.arange(width) < natoms[rows][:, None]
        padded[inside] = points[(starts[rows][:, None] + np.arange(width))[inside]]
        out[rows] = _sweep(padded, None if lower is None else lower[rows])
    return out


def _triangles(cell: Real) -> F64:
    """(F, 3, 3) the lower triangular cells that are those of `cell`, turned."""
    upper: F64 = np.asarray(np.linalg.qr(cell.transpose(0, 2, 1), mode="r"))
    return np.ascontiguousarray(upper.transpose(0, 2, 1))


def _alike(natoms: NDArray[np.int32]) -> Iterator[tuple[NDArray[np.intp], int]]:
    """Rows of frames of about the same number of atoms, a few at a time, and the largest of these numbers."""
    order = np.argsort(natoms, kind="stable")
    at = 0
    while at < len(order):
        least = int(natoms[order[at]])
        stop = min(at + max(1, SWEEP // (4 * least)), int(np.searchsorted(natoms[order], least + least // 8, side="right")))
        yield order[at:stop], int(natoms[order[stop - 1]])
        at = stop


def _sweep(points: F64, lower: F64 | None) -> F64:
    """(F,) least distance in `points` (F, N, 3), padded with NaN: each atom i with i + k mod N for k up to N / 2."""
    frames, atoms, _ = points.shape
    half = atoms // 2
    twice = np.ascontiguousarray(np.concatenate([points, points[:, :half]], axis=1).transpose(2, 0, 1))
    windows, first = sliding_window_view(twice, atoms, axis=2), twice[:, :, None, :atoms]
    least = np.full(frames, np.inf)
    step = max(1, SWEEP // (frames * atoms))
    for k in range(1, half + 1, step):
        x, y, z = (window[:, k : min(k + step, half + 1)] - here for window, here in zip(windows, first))
        if lower is not None:
            for apart in (x, y, z):
                apart -= np.rint(apart)
            (xx, _, _), (yx, yy, _), (zx, zy, zz) = lower.transpose(1, 2, 0)[..., None, None]
            x, y, z = x * xx + y * yx + z * zx, y * yy + z * zy, z * zz
        square = x * x + y * y + z * z
        np.fmin(least, np.fmin.reduce(square.reshape(frames, -1), axis=1), out=least)
    shortest: F64 = np.sqrt(least)
    return shortest


def _shortest(positions: Real, cell: Real, pbc: NDArray[np.bool_]) -> float:
    """Shortest distance in one frame of any size and any periods."""
    if not pbc.any():
        return _shortest_without_images(positions)
    volume = abs(float(np.linalg.det(cell)))
    if pbc.all() and volume:
        return _shortest_in_crystal(positions, cell, volume)
    everywhere = np.arange(len(positions))
    cell = cell * pbc[:, None]
    own = _shortest_translation(cell)  # an atom's distance to its own nearest image
    limit = 1.5
    while limit < min(own, CROWDED):
        _, _, distances = pairs_over_images(positions, everywhere, cell=cell, limit=limit)
        if len(distances):
            return min(own, float(distances.min()))
        limit *= 2
    if own < CROWDED:
        _, _, distances = pairs_over_images(positions, everywhere, cell=cell, limit=own)
        return min(own, float(distances.min(initial=np.inf)))
    return min(own, _shortest_without_images(positions))


def _shortest_in_crystal(positions: Real, cell: Real, volume: float) -> float:
    from vesin import NeighborList

    points, cell = np.ascontiguousarray(positions, np.float64), np.ascontiguousarray(cell, np.float64)
    limit = min(FIRST_LOOK, ROOM * (2**0.5 * volume / len(points)) ** (1 / 3))
    while not len(found := NeighborList(cutoff=limit, full_list=False, n_threads=1).compute(points, cell, True, "d")[0]):
        limit *= 2
    return float(found.min())


def _shortest_translation(cell: Real) -> float:
    """Length of the shortest lattice vector; its k-th integer is at most its length times |b_k|, b the reciprocal vectors."""
    rows = np.linalg.norm(cell, axis=1)
    limit = rows[rows > 0].min(initial=np.inf)
    if not np.isfinite(limit):
        return float("inf")
    most = np.floor(limit * np.linalg.norm(np.linalg.pinv(cell), axis=0) + 1e-9).astype(int)
    steps = np.array(np.meshgrid(*(np.arange(-n, n + 1) for n in most))).reshape(3, -1).T @ cell
    lengths = np.linalg.norm(steps, axis=1)
    return float(lengths[lengths > 1e-9].min(initial=limit))


def _shortest_without_images(positions: Real) -> float:
    from scipy.spatial import cKDTree

    return float(cKDTree(positions).query(positions, k=2)[0][:, 1].min()) if len(positions) > 1 else float("inf")
