"""Seeded ragged frames: systems of 2 to 200 atoms, numbers printed with 6 decimals, in random order."""

from __future__ import annotations

import numpy as np

SYSTEMS = 5031
MEDIAN_ATOMS, SPREAD = 33.0, 0.7  # of a log-normal cut to 2..200: 42 atoms on average
DECIMALS = 6


def make(frames: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Return flat arrays, frame after frame: float64 labels, `system` (F,) the trajectory each frame is from."""
    rng = np.random.default_rng(seed)
    sizes = np.clip(rng.lognormal(np.log(MEDIAN_ATOMS), SPREAD, SYSTEMS).astype(int), 2, 200)
    cells = np.round(12 * np.eye(3) + rng.normal(0, 0.3, (SYSTEMS, 3, 3)), DECIMALS)
    numbers = [np.sort(rng.choice(rng.integers(1, 90, rng.integers(1, 5)), size)).astype(np.uint8) for size in sizes]
    system = rng.integers(0, SYSTEMS, frames)
    natoms = sizes[system].astype(np.int32)
    atoms = int(natoms.sum())
    return {
        "system": system,
        "natoms": natoms,
        "numbers": np.concatenate([numbers[s] for s in system]),
        "positions": np.round(rng.uniform(0, 12, (atoms, 3)), DECIMALS),
        "forces": np.round(rng.normal(size=(atoms, 3)), DECIMALS),
        "cell": cells[system],
        "virial": np.round(rng.normal(size=(frames, 3, 3)), DECIMALS),
        "energy": np.round(rng.normal(size=frames) * 100, DECIMALS),
    }


def starts(data) -> np.ndarray:
    """(F + 1,) where each frame's atoms start."""
    return np.concatenate([[0], np.cumsum(data["natoms"], dtype=np.int64)])
