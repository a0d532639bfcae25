"""A dataset -> what a bounded number of its frames say: histograms, compositions, a few to look at. The same frames each time.

A store is shuffled when it is written, so that a block is a fair sample of its segment. The blocks are drawn by a hash of the content and
their number: the same for the same frames, on any machine. One block is in memory at a time.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..elements import NUMBERS
from ..frame import F64
from ..frames import Frames
from ..statistics import Compositions, Moments
from ..store import Dataset
from ..units import GPA
from .structures import Example, example_of

FRAMES, ATOMS = 8192, 1_000_000  # read of a dataset, and a block more at most
EXAMPLES, EXAMPLE_ATOMS = 6, 300
BINS = 50
TAIL = 0.01  # of the values at each end that may fall outside of the bins; they are counted
KINDS = 1500  # compositions that are kept, the most frequent ones
AMU = 1.66053906660  # g/cm^3 of 1 u/Å^3, CODATA 2018

UNITS = {
    "atoms in a frame": "",
    "energy above the references": "eV/atom",
    "energy": "eV/atom",
    "force component": "eV/Å",
    "stress component": "GPa",
    "shortest distance": "Å",
    "volume": "Å³/atom",
    "density": "g/cm³",
}


@dataclass(slots=True)
class Kind:
    """Frames of one composition."""

    counts: dict[str, int]  # element -> atoms, in lowest terms
    frames: int = 0
    energy: Moments = field(default_factory=Moments)  # eV/atom, above the references where there are some


@dataclass(slots=True)
class Sample:
    """What was read."""

    of: int  # frames of the dataset
    of_blocks: int
    frames: int = 0
    blocks: int = 0
    unreferenced: int = 0  # frames with an energy, and an element that has no reference energy
    values: dict[str, list[F64]] = field(default_factory=dict)  # a name of UNITS -> parts
    kinds: dict[tuple[tuple[str, int], ...], Kind] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)  # of the frames to look at
    examples: list[Example] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        ordered = sorted(self.kinds.values(), key=lambda kind: (-kind.frames, sorted(kind.counts.items())))
        compositions = [
            {
                "counts": kind.counts,
                "frames": kind.frames,
                "energy": short(kind.energy.mean) if kind.energy.count else None,
                "lowest": short(kind.energy.low) if kind.energy.count else None,
            }
            for kind in ordered[:KINDS]
        ]
        return {
            "frames": self.frames,
            "of": self.of,
            "blocks": self.blocks,
            "of_blocks": self.of_blocks,
            "unreferenced": self.unreferenced,
            "histograms": {
                name: histogram(np.concatenate(self.values[name])) | {"unit": UNITS[name]} for name in UNITS if name in self.values
            },
            "kinds": len(self.kinds),
            "compositions": compositions,
            "examples": [example.to_json() for example in self.examples],
        }


def sample_of(dataset: Dataset, *, frames: int = FRAMES) -> Sample:
    """Read about `frames` frames of a dataset, whole blocks of it, or all where it has no more."""
    counts, fitted = dataset.block_counts, (dataset.references or {}).get("energies")
    starts = np.concatenate([[0], np.cumsum(counts)])
    sample, atoms = Sample(of=int(starts[-1]), of_blocks=len(counts)), 0
    references = None if fitted is None else _table(fitted)
    for block in _chosen(dataset, counts, frames):
        if atoms >= ATOMS:
            break
        part = dataset.frames(int(starts[block]), int(starts[block + 1]))
        _add(sample, part, int(starts[block]), references)
        atoms += len(part.numbers)
    for row, frame in zip(sample.rows, dataset[sample.rows] if sample.rows else []):
        _, _, split = dataset.labels(row, row + 1)
        sample.examples.append(example_of(frame, row=row, split=int(split[0])))
    return sample


def _chosen(dataset: Dataset, counts: NDArray[np.int64], frames: int) -> list[int]:
    """Numbers of blocks, ascending where all are taken."""
    if counts.sum() <= frames:
        return list(range(len(counts)))
    seed = dataset.content_hash
    drawn = sorted(range(len(counts)), key=lambda block: hashlib.sha256(f"{seed}/{block}".encode()).digest())
    enough = int(np.searchsorted(np.cumsum(counts[drawn]), frames)) + 1
    return drawn[:enough]


def _add(sample: Sample, frames: Frames, first: int, references: F64 | None) -> None:
    """Take in one block, whose first frame has the row `first`."""
    sample.frames, sample.blocks = sample.frames + len(frames), sample.blocks + 1
    energy = frames.energy / frames.natoms
    if references is not None:
        energy = (frames.energy - np.add.reduceat(references[frames.numbers], frames.starts[:-1])) / frames.natoms
    sample.unreferenced += int((frames.has_energy & np.isnan(energy)).sum())
    energy = np.where(frames.has_energy, energy, np.nan)
    for name, values in _values(frames, energy, "energy" if references is None else "energy above the references"):
        if len(values):
            sample.values.setdefault(name, []).append(values.astype(np.float64))
    made = Compositions.of(frames)
    looked_at: dict[int, int] = {}
    for row, which in enumerate(made.kind.tolist()):
        looked_at.setdefault(which, row)
    order = np.argsort(made.kind, kind="stable")
    ends = np.cumsum(np.bincount(made.kind, minlength=len(made.kinds)))
    for which, row in looked_at.items():
        mine = order[ends[which - 1] if which else 0 : ends[which]]
        key = _lowest_terms(made.elements, made.kinds[which])
        found = sample.kinds.get(key)
        if found is None:
            found = sample.kinds[key] = Kind(dict(key))
            if len(sample.rows) < EXAMPLES and frames.natoms[row] <= EXAMPLE_ATOMS:
                sample.rows.append(first + row)
        found.frames += len(mine)
        found.energy.add(energy[mine][np.isfinite(energy[mine])])


def _values(frames: Frames, energy: F64, called: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Name -> values of one block; what a frame lacks is left out."""
    from ase.data import atomic_masses

    yield "atoms in a frame", frames.natoms
    yield called, energy[np.isfinite(energy)]
    yield "force component", frames.forces[np.repeat(frames.has_forces, frames.natoms)].ravel()
    volume = np.abs(np.linalg.det(frames.cell.astype(np.float64)))
    periodic = frames.pbc.all(axis=1) & (volume > 0)
    stressed = periodic & frames.has_virial
    tensor = -frames.virial[stressed].astype(np.float64) / volume[stressed, None, None] / GPA
    yield "stress component", tensor.reshape(-1, 9)[:, [0, 4, 8, 1, 2, 5]].ravel()
    yield "shortest distance", frames.shortest[np.isfinite(frames.shortest)]
    yield "volume", (volume / frames.natoms)[periodic]
    mass = np.add.reduceat(np.append(atomic_masses, np.zeros(256))[frames.numbers], frames.starts[:-1])
    yield "density", (mass / np.where(periodic, volume, 1.0) * AMU)[periodic]


def _lowest_terms(elements: list[str], counts: NDArray[np.int64]) -> tuple[tuple[str, int], ...]:
    """Si2 O4 -> Si1 O2."""
    some = {symbol: int(count) for symbol, count in zip(elements, counts) if count}
    divisor = math.gcd(*some.values())
    return tuple((symbol, count // divisor) for symbol, count in some.items())


def _table(energies: Mapping[str, float]) -> F64:
    """(256,) eV by atomic number; an element without a reference has NaN, and its frames no energy above the references."""
    table = np.full(256, np.nan)
    for symbol, energy in energies.items():
        table[NUMBERS[symbol]] = energy
    return table


def histogram(values: F64) -> dict[str, Any]:
    """Counts of values (n,) between edges, and how many lie outside of all of them; whole numbers of a small range have a bin each."""
    low, high = float(values.min()), float(values.max())
    whole = bool((values == np.round(values)).all()) and high - low < BINS
    if whole:
        edges = np.arange(low - 0.5, high + 1)
    else:
        inner = np.quantile(values, [TAIL, 1 - TAIL])
        reach = 0.5 * float(inner[1] - inner[0])
        ends = max(low, float(inner[0]) - reach), min(high, float(inner[1]) + reach)
        edges = np.unique([short(edge) for edge in np.linspace(*ends, BINS + 1).tolist()])
        if len(edges) < 3:  # one value, as far as it can be told
            edges = np.array([low - max(abs(low), 1.0) * 1e-3, high + max(abs(high), 1.0) * 1e-3])
        edges[0], edges[-1] = (min(edges[0], low) if ends[0] == low else edges[0]), (max(edges[-1], high) if ends[1] == high else edges[-1])
    counts = np.histogram(values, edges)[0]
    return {
        "values": len(values),
        "low": short(low),
        "high": short(high),
        "mean": short(float(values.mean())),
        "std": short(float(values.std())),
        "edges": [short(edge) for edge in edges.tolist()],
        "counts": counts.tolist(),
        "below": int((values < edges[0]).sum()),
        "above": int((values > edges[-1]).sum()),
    }


def short(value: float) -> float:
    """Five digits, which are more than a picture shows."""
    return float(f"{value:.5g}")
