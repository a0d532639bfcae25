"""Structures for the search of copies: distinct ones that look alike, and disguises that change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np

from lamdata.frame import Frame

CHANGES = ("permuted", "turned", "mirrored", "shifted", "wrapped", "supercell", "noise")
NOISE = 1e-4  # Å, standard deviation of each coordinate
RATTLE = 0.02  # Å


def frame_of(atoms) -> Frame:
    """Take `ase.Atoms`."""
    periodic = bool(atoms.pbc.any())
    return Frame(
        numbers=atoms.numbers.astype(np.uint8), positions=atoms.positions.copy(), cell=np.array(atoms.cell) if periodic else None,
        pbc=tuple(bool(p) for p in atoms.pbc),
    )  # fmt: skip


def disguise(frame: Frame, *changes: str, rng: np.random.Generator) -> Frame:
    """Write the same structure differently, by any of CHANGES."""
    numbers, positions, cell = frame.numbers, frame.positions, np.zeros((3, 3)) if frame.cell is None else frame.cell
    if "supercell" in changes and any(frame.pbc):
        numbers, positions, cell = _supercell(frame, rng)
    if "noise" in changes:
        positions = positions + rng.normal(scale=NOISE, size=positions.shape)
    if "shifted" in changes:
        positions = positions + rng.uniform(-9, 9, 3)
    if "wrapped" in changes:
        positions = positions + (rng.integers(-2, 3, positions.shape) * np.array(frame.pbc)) @ cell
    if "turned" in changes:
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        turn *= np.sign(np.linalg.det(turn))
        positions, cell = positions @ turn, cell @ turn
    if "mirrored" in changes:
        positions, cell = positions * [1, -1, 1], cell * [1, -1, 1]
    if "permuted" in changes:
        order = rng.permutation(len(numbers))
        numbers, positions = numbers[order], positions[order]
    return replace(
        frame, numbers=numbers, positions=positions, cell=None if frame.cell is None else cell, energy=None, forces=None, virial=None
    )


def _supercell(frame: Frame, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two to four skewed cells in one, along the periodic axes."""
    axes = np.flatnonzero(frame.pbc)
    along, times = rng.choice(axes), int(rng.integers(2, 5))
    repeats = np.eye(3, dtype=int)
    repeats[along, along] = times
    skew = np.eye(3, dtype=int)
    for i, j in ((i, j) for i in axes for j in axes if i < j):
        skew[i, j] = rng.integers(-2, 3)
    steps = np.arange(times)[:, None] * frame.cell[along]
    positions = (frame.positions + steps[:, None]).reshape(-1, 3)
    return np.tile(frame.numbers, times), positions, skew @ repeats @ frame.cell


def distinct(count: int, *, seed: int = 0) -> list[Frame]:
    """Return `count` frames, no two of which are one structure, most of them of few compositions."""
    rng = np.random.default_rng(seed)
    kinds = {rattled: 0.55, swinging: 0.25, decorated: 0.05, stacked: 0.03, strained: 0.02, twisted: 0.01}
    frames = [frame for kind, share in kinds.items() for frame in islice(kind(rng), int(share * count))] + polymorphs() + homometric()
    return frames + list(islice(rattled(rng), count - len(frames)))


def _compounds() -> list:
    from ase.build import bulk, fcc111, graphene, molecule

    crystals = [
        bulk("Cu", cubic=True), bulk("Cu", cubic=True) * (2, 2, 2), bulk("Si", cubic=True), bulk("Mg", orthorhombic=True) * (2, 1, 1),
        bulk("NaCl", "rocksalt", a=5.64, cubic=True), bulk("GaAs", "zincblende", a=5.65, cubic=True) * (2, 1, 1),
        bulk("CsCl", "cesiumchloride", a=4.12) * (2, 2, 2), bulk("ZnS", "wurtzite", a=3.82, c=6.26) * (2, 1, 1),
        fcc111("Al", (2, 2, 3), vacuum=7), graphene(size=(3, 2, 1), vacuum=6),
    ]  # fmt: skip
    molecules = [molecule(name) for name in ("CH3CH2OH", "CH3OCH3", "C6H6", "C2H6", "NH3", "CH4", "C4H4NH", "H2CO", "C3H4_C2v", "C3H4_D2d")]
    return crystals + molecules


def rattled(rng: np.random.Generator) -> Iterator[Frame]:
    """Endless: compounds with every atom displaced by RATTLE."""
    compounds = _compounds()
    while True:
        for atoms in compounds:
            frame = frame_of(atoms)
            yield replace(frame, positions=frame.positions + rng.normal(scale=RATTLE, size=frame.positions.shape))


def swinging(rng: np.random.Generator) -> Iterator[Frame]:
    """Endless: trajectories of 100 steps of 1 fs, each atom on waves of 3 to 12 THz with 0.1 Å: neighbours differ by some 0.003 Å."""
    while True:
        for atoms in _compounds():
            frame = frame_of(atoms)
            rate, phase = rng.uniform(3e-3, 12e-3, frame.positions.shape), rng.uniform(0, 2 * np.pi, frame.positions.shape)
            for step in range(100):
                yield replace(frame, positions=frame.positions + 0.1 * np.sin(2 * np.pi * rate * step + phase))


def decorated(rng: np.random.Generator) -> Iterator[Frame]:
    """Endless: a quarter of the sites of one ideal lattice given to another element, at random."""
    from ase.build import bulk

    frame = frame_of(bulk("Au", cubic=True) * (3, 2, 2))
    while True:
        numbers = frame.numbers.copy()
        numbers[rng.choice(len(numbers), len(numbers) // 4, replace=False)] = 29
        yield replace(frame, numbers=numbers)


def stacked(rng: np.random.Generator, *, layers: int = 17) -> Iterator[Frame]:
    """Polytypes: close-packed layers in all orders that no symmetry relates; the first shells are those of fcc and hcp in all."""
    seen = set()
    for bits in rng.permutation(2**layers).tolist():
        steps = np.array([1 if bits >> i & 1 else -1 for i in range(layers)])
        if steps.sum() % 3 == 0 and (name := _necklace(steps)) not in seen:
            seen.add(name)
            yield _polytype(steps)


def _necklace(steps: np.ndarray) -> tuple[int, ...]:
    """The least of all ways to write a stacking: begun anywhere, turned about its axis (signs), upside down (signs and order)."""
    ways = (sign * order for sign in (1, -1) for order in (steps, steps[::-1]))
    return min(tuple(np.roll(way, i).tolist()) for way in ways for i in range(len(steps)))


def _polytype(steps: np.ndarray, *, bond: float = 2.55) -> Frame:
    cell = bond * np.array([[1, 0, 0], [0.5, 0.75**0.5, 0], [0, 0, len(steps) * (2 / 3) ** 0.5]])
    site = np.concatenate([[0], np.cumsum(steps)[:-1]]) % 3 / 3
    fraction = np.column_stack([site, site, np.arange(len(steps)) / len(steps)])
    return Frame(numbers=np.full(len(steps), 29, np.uint8), positions=fraction @ cell, cell=cell, pbc=(True, True, True))


def strained(rng: np.random.Generator) -> Iterator[Frame]:
    """An equation of state in steps of 0.2 % in length."""
    from ase.build import bulk

    for scale in 1 + 0.002 * np.arange(1, 1000):
        yield frame_of(bulk("Cu", a=3.61 * scale))


def twisted(rng: np.random.Generator) -> Iterator[Frame]:
    """Hydrogen peroxide, one hydrogen turned about the oxygens' bond in steps of 1°; past 180° the mirror images would begin."""
    for angle in np.radians(np.arange(1, 180)):
        hydrogens = [[0.95 * np.cos(angle), 0.95 * np.sin(angle), -0.1], [0.95, 0, 1.55]]
        yield Frame(numbers=np.array([8, 8, 1, 1], np.uint8), positions=np.array([[0, 0, 0], [0, 0, 1.45], *hydrogens]))


def polymorphs() -> list[Frame]:
    """One composition in several ideal lattices with equal or nearly equal bonds."""
    from ase.build import bulk

    zinc = [
        bulk("ZnS", "zincblende", a=5.41),
        bulk("ZnS", "wurtzite", a=3.8254, c=6.2468),
        bulk("ZnS", "rocksalt", a=5.41),
        bulk("ZnS", "cesiumchloride", a=2.7),
    ]
    copper = [bulk("Cu", "bcc", a=2.8), bulk("Cu", "sc", a=2.5), bulk("Cu", "diamond", a=5.4)]
    return [frame_of(atoms) for atoms in zinc + copper]


def homometric() -> list[Frame]:
    """Two rows of atoms with the same distances, each as often, in another order."""
    rows = ([0, 1, 4, 10, 12, 17], [0, 1, 8, 11, 13, 17])
    return [Frame(numbers=np.full(6, 1, np.uint8), positions=np.outer(row, [1.0, 0, 0])) for row in rows]
