"""Checks: frames and their card's thresholds -> why some of them must not be stored.

The rules are those of the public data cleaning of the OpenLAM collections (DPA-3.1): energy per atom, largest force, net force,
virial symmetry, shortest distance, convergence. Each check is one function with the name it has in `rejected.jsonl`, and looks at
many frames at once; F = frames, A = all their atoms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .catalog import CheckSpec
from .distances import Real, heights, shortest_distances
from .elements import SYMBOLS
from .frame import F64, Rejection
from .frames import Frames, Parsed

Verdict = tuple[NDArray[np.bool_], Sequence[Any] | NDArray[Any]]  # (F,) which frames fail, and the values that decide


def check(parsed: Parsed, spec: CheckSpec) -> tuple[dict[int, Rejection], F64]:
    """Return the first reason to refuse each row that is refused, and the shortest distances (F,) in Å, NaN where one is."""
    refused: dict[int, Rejection] = {}
    with np.errstate(invalid="ignore", over="ignore"):  # of what is not finite, which the first rule refuses
        for reason, rule in BEFORE_DISTANCES.items():
            _refuse(refused, parsed, reason, rule(parsed, spec))
    shortest = np.full(len(parsed), np.nan)
    left = np.array([row not in refused for row in range(len(parsed))])
    shortest[left] = shortest_distances(parsed.frames if left.all() else parsed.frames.take(np.flatnonzero(left)))
    if spec.min_distance is not None:
        _refuse(refused, parsed, "min_distance", (shortest < spec.min_distance, shortest.copy()))
    shortest[list(refused)] = np.nan
    return refused, shortest


def _refuse(refused: dict[int, Rejection], parsed: Parsed, reason: str, verdict: Verdict | None) -> None:
    if verdict is not None:
        for row in np.flatnonzero(verdict[0]).tolist():
            value = verdict[1][row]
            plain = value.item() if isinstance(value, np.generic) else value
            refused.setdefault(row, Rejection(origin=parsed.origins[row], reason=reason, value=plain))


def _nonfinite(parsed: Parsed, spec: CheckSpec) -> Verdict | None:
    frames, names = parsed.frames, np.full(len(parsed), None, object)
    for name in ("virial", "forces", "energy", "cell", "positions"):  # the last to be found is the one that is named
        values = getattr(frames, name)
        fine = np.abs(values) < LARGEST
        if not fine.all():
            good = fine.reshape(len(values), -1).all(axis=1)
            names[~(np.logical_and.reduceat(good, frames.starts[:-1]) if name in ("positions", "forces") else good)] = name
    return names != None, names  # noqa: E711 (elementwise)


def _elements(parsed: Parsed, spec: CheckSpec) -> Verdict | None:
    numbers, starts = parsed.frames.numbers, parsed.frames.starts[:-1]
    low, high = np.minimum.reduceat(numbers, starts), np.maximum.reduceat(numbers, starts)
    bad, names = (low < 1) | (high > 118), np.where(low < 1, low, high).astype(object)
    if spec.elements is not None:
        for z in np.unique(numbers)[::-1]:  # the lightest is named
            if 0 < z <= 118 and SYMBOLS[z] not in spec.elements:
                has = np.logical_or.reduceat(numbers == z, starts) & (low >= 1) & (high <= 118)
                bad, names[has] = bad | has, SYMBOLS[z]
    return bad, names


def _unconverged(parsed: Parsed, spec: CheckSpec) -> Verdict | None:
    return (parsed.unconverged, ["self-consistency not reached"] * len(parsed)) if spec.converged else None


def _flat_cell(parsed: Parsed, spec: CheckSpec) -> Verdict | None:
    """A cell so flat or so skewed that no distance could be measured in it."""
    frames = parsed.frames
    skew, least = np.zeros(len(parsed)), np.full(len(parsed), np.inf)
    full = frames.pbc.all(axis=1)
    _, high, _ = heights(frames.cell[full])
    with np.errstate(divide="ignore", invalid="ignore"):
        skew[full] = np.nan_to_num(np.sqrt((frames.cell[full] ** 2).sum(axis=2)) / high, nan=np.inf, posinf=np.inf).max(axis=1)
    least[full] = np.nan_to_num(high).min(axis=1)
    for f in np.flatnonzero(frames.pbc.any(axis=1) & ~full):
        skew[f], least[f] = _skew_and_height(frames.cell[f][frames.pbc[f]])
    skewed = skew > MOST_SKEWED
    return skewed | (least < FLATTEST_CELL), [f"skew {s:.3g}" if bad else h for s, bad, h in zip(skew, skewed, least.tolist())]


def _skew_and_height(vectors: Real) -> tuple[float, float]:
    """The same of one or two lattice vectors (n, 3); the reciprocal vectors lie in their line or plane."""
    if np.linalg.matrix_rank(vectors) < len(vectors):
        return np.inf, 0.0
    per_height = np.linalg.norm(np.linalg.pinv(vectors), axis=0)
    return float((np.linalg.norm(vectors, axis=1) * per_height).max()), float(1 / per_height.max())


def _volume_per_atom(parsed: Parsed, spec: CheckSpec) -> Verdict | None:
    frames = parsed.frames
    if spec.volume_per_atom is None:
        return None
    bad, volumes = _outside(heights(frames.cell)[0] / frames.natoms, spec.volume_per_atom)
    return bad & frames.pbc.all(axis=1), volumes


def _energy_per_atom(parsed: Parsed, spec: CheckSpec) -> Verdict | None:
    frames = parsed.frames
    if spec.energy_per_atom is None:
        return None
    bad, energies = _outside(frames.energy / frames.natoms, spec.energy_per_atom)
    return bad & frames.has_energy, energies


def _max_force(parsed: Parsed, spec: CheckSpec) -> Verdict | None:
    squares = np.einsum("ai,ai->a", parsed.frames.forces, parsed.frames.forces)
    return _above(np.sqrt(np.maximum.reduceat(squares, parsed.frames.starts[:-1])), spec.max_force)


def _net_force(parsed: Parsed, spec: CheckSpec) -> Verdict | None:
    net = np.add.reduceat(parsed.frames.forces, parsed.frames.starts[:-1])
    return _above(np.linalg.norm(net, axis=1) / parsed.frames.natoms, spec.net_force)


def _virial_asymmetry(parsed: Parsed, spec: CheckSpec) -> Verdict | None:
    return _above(_largest(parsed.frames.virial - parsed.frames.virial.transpose(0, 2, 1), parsed.frames), spec.virial_asymmetry)


def _max_virial(parsed: Parsed, spec: CheckSpec) -> Verdict | None:
    return _above(_largest(parsed.frames.virial, parsed.frames), spec.max_virial)


def _largest(tensors: Real, frames: Frames) -> F64:
    """(F,) largest |component| per atom."""
    largest: F64 = np.abs(tensors).reshape(len(tensors), -1).max(axis=1) / frames.natoms
    return largest


def _above(values: Real, limit: float | None) -> Verdict | None:
    """A label that is missing is all zeros, and passes."""
    return None if limit is None else (values > limit, values)


def _outside(values: Real, limits: tuple[float, float]) -> Verdict:
    return ~((limits[0] <= values) & (values <= limits[1])), values


LARGEST = 1e100  # of any number: beyond it squares, and so distances and spreads, are not finite
MOST_SKEWED = 50.0  # 1 / cosine between a lattice vector and the normal of the plane of the others
FLATTEST_CELL = 0.3  # Å, under the shortest bond there is
BEFORE_DISTANCES: dict[str, Callable[[Parsed, CheckSpec], Verdict | None]] = {
    "nonfinite": _nonfinite,
    "elements": _elements,
    "unconverged": _unconverged,
    "flat_cell": _flat_cell,
    "volume_per_atom": _volume_per_atom,
    "energy_per_atom": _energy_per_atom,
    "max_force": _max_force,
    "net_force": _net_force,
    "virial_asymmetry": _virial_asymmetry,
    "max_virial": _max_virial,
}
