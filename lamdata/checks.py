"""Checks: a frame and its card's thresholds -> why it must not be stored, or nothing.

The rules are those of the public data cleaning of the OpenLAM collections (DPA-3.1): energy per atom, largest force, net force,
virial symmetry, shortest distance, convergence. Each check is one function with the name it has in `rejected.jsonl`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .catalog import CheckSpec
from .elements import SYMBOLS
from .frame import Frame, Rejection
from .images import pairs_over_images

Verdict = float | str | None  # the value that decided; None when the frame passes


def check(frame: Frame, spec: CheckSpec) -> tuple[Rejection | None, float]:
    """Return the first reason to refuse `frame` (or None) and its shortest interatomic distance in Å."""
    for name, rule in BEFORE_DISTANCES.items():
        value = rule(frame, spec)
        if value is not None:
            return Rejection(origin=frame.origin, reason=name, value=value), float("nan")
    shortest = shortest_distance(frame)
    if spec.min_distance is not None and shortest < spec.min_distance:
        return Rejection(origin=frame.origin, reason="min_distance", value=shortest), shortest
    return None, shortest


def shortest_distance(frame: Frame) -> float:
    """Shortest distance between two atoms in Å, periodic images included; inf for a lone atom in open space."""
    if not any(frame.pbc):
        return _shortest_without_images(frame.positions)
    if all(frame.pbc) and frame.volume:
        return _shortest_in_crystal(frame.positions, frame.cell, frame.volume)
    everywhere = np.arange(len(frame.numbers))
    cell = np.zeros((3, 3)) if frame.cell is None else frame.cell * np.array(frame.pbc)[:, None]
    own = _shortest_translation(cell)  # an atom's distance to its own nearest image
    limit = 1.5
    while limit < min(own, CROWDED):
        _, _, distances = pairs_over_images(frame.positions, everywhere, cell=cell, limit=limit)
        if len(distances):
            return min(own, float(distances.min()))
        limit *= 2
    if own < CROWDED:
        _, _, distances = pairs_over_images(frame.positions, everywhere, cell=cell, limit=own)
        return min(own, float(distances.min(initial=np.inf)))
    return min(own, _shortest_without_images(frame.positions))


def _shortest_in_crystal(positions: np.ndarray, cell: np.ndarray, volume: float) -> float:
    """At most (sqrt(2) V / N)^(1/3): no packing of spheres is denser than fcc, so that a search this far finds a pair."""
    from vesin import NeighborList

    points, cell = np.ascontiguousarray(positions, np.float64), np.ascontiguousarray(cell, np.float64)
    limit = min(FIRST_LOOK, 1.000001 * (2**0.5 * volume / len(points)) ** (1 / 3))
    while not len(found := NeighborList(cutoff=limit, full_list=False, n_threads=1).compute(points, cell, True, "d")[0]):
        limit *= 2
    return float(found.min())


FIRST_LOOK = 3.0  # Å; molecules in a wide cell have few pairs this close, and all but a few crystals have one
CROWDED = 24.0  # Å; where neighbours are further than this, images of the others are further still


def _shortest_translation(cell: np.ndarray) -> float:
    """Length of the shortest lattice vector; its k-th integer is at most its length times |b_k|, b the reciprocal vectors."""
    rows = np.linalg.norm(cell, axis=1)
    limit = rows[rows > 0].min(initial=np.inf)
    if not np.isfinite(limit):
        return float("inf")
    most = np.floor(limit * np.linalg.norm(np.linalg.pinv(cell), axis=0) + 1e-9).astype(int)
    steps = np.array(np.meshgrid(*(np.arange(-n, n + 1) for n in most))).reshape(3, -1).T @ cell
    lengths = np.linalg.norm(steps, axis=1)
    return float(lengths[lengths > 1e-9].min(initial=limit))


def _shortest_without_images(positions: np.ndarray) -> float:
    from scipy.spatial import cKDTree

    return float(cKDTree(positions).query(positions, k=2)[0][:, 1].min()) if len(positions) > 1 else float("inf")


def _finite(frame: Frame, spec: CheckSpec) -> Verdict:
    for name in ("positions", "cell", "energy", "forces", "virial"):
        value = getattr(frame, name)
        if value is not None and not np.all(np.isfinite(value)):
            return name
    return None


def _elements(frame: Frame, spec: CheckSpec) -> Verdict:
    if frame.numbers.min() < 1 or frame.numbers.max() > 118:
        return int(frame.numbers.min() if frame.numbers.min() < 1 else frame.numbers.max())
    if spec.elements is None:
        return None
    return next((SYMBOLS[z] for z in np.unique(frame.numbers) if SYMBOLS[z] not in spec.elements), None)


def _unconverged(frame: Frame, spec: CheckSpec) -> Verdict:
    return "self-consistency not reached" if spec.converged and frame.converged is False else None


def _volume(frame: Frame, spec: CheckSpec) -> Verdict:
    if spec.volume_per_atom is None or not all(frame.pbc) or frame.volume is None:
        return None
    return _outside(frame.volume / len(frame.numbers), spec.volume_per_atom)


def _energy_per_atom(frame: Frame, spec: CheckSpec) -> Verdict:
    if spec.energy_per_atom is None or frame.energy is None:
        return None
    return _outside(frame.energy / len(frame.numbers), spec.energy_per_atom)


def _max_force(frame: Frame, spec: CheckSpec) -> Verdict:
    if spec.max_force is None or frame.forces is None:
        return None
    return _above(float((frame.forces**2).sum(axis=1).max()) ** 0.5, spec.max_force)


def _net_force(frame: Frame, spec: CheckSpec) -> Verdict:
    if spec.net_force is None or frame.forces is None:
        return None
    return _above(float(np.linalg.norm(frame.forces.sum(axis=0))) / len(frame.forces), spec.net_force)


def _virial_asymmetry(frame: Frame, spec: CheckSpec) -> Verdict:
    if spec.virial_asymmetry is None or frame.virial is None:
        return None
    return _above(float(np.abs(frame.virial - frame.virial.T).max()) / len(frame.numbers), spec.virial_asymmetry)


def _max_virial(frame: Frame, spec: CheckSpec) -> Verdict:
    if spec.max_virial is None or frame.virial is None:
        return None
    return _above(float(np.abs(frame.virial).max()) / len(frame.numbers), spec.max_virial)


def _above(value: float, limit: float) -> Verdict:
    return value if value > limit else None


def _outside(value: float, limits: tuple[float, float]) -> Verdict:
    return None if limits[0] <= value <= limits[1] else value


def _cell(frame: Frame, spec: CheckSpec) -> Verdict:
    """A cell so flat or so skewed that no distance could be measured in it."""
    if not any(frame.pbc) or frame.cell is None:
        return None
    vectors = frame.cell[list(frame.pbc)]
    try:
        inverse = np.linalg.inv(vectors) if all(frame.pbc) else np.linalg.pinv(vectors)
    except np.linalg.LinAlgError:
        return "skew inf"
    per_height = np.sqrt((inverse**2).sum(axis=0))  # 1 / height
    skew = float((np.sqrt((vectors**2).sum(axis=1)) * per_height).max())
    if skew > MOST_SKEWED or (not all(frame.pbc) and np.linalg.matrix_rank(vectors) < len(vectors)):
        return f"skew {skew:.3g}"
    return float(1 / per_height.max()) if per_height.max() * FLATTEST_CELL > 1 else None


MOST_SKEWED = 50.0  # 1 / cosine between a lattice vector and the normal of the plane of the others
FLATTEST_CELL = 0.3  # Å, under the shortest bond there is
BEFORE_DISTANCES: dict[str, Callable[[Frame, CheckSpec], Verdict]] = {
    "not_finite": _finite,
    "elements": _elements,
    "unconverged": _unconverged,
    "flat_cell": _cell,
    "volume_per_atom": _volume,
    "energy_per_atom": _energy_per_atom,
    "max_force": _max_force,
    "net_force": _net_force,
    "virial_asymmetry": _virial_asymmetry,
    "max_virial": _max_virial,
}
