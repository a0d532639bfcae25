"""Overlap: datasets of stores -> sets of frames that hold one structure, with where each is and whether their energies agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..frame import F64, Frame
from ..progress import track
from ..store import Dataset, open_store
from ..store.layout import SPLITS
from .duplicates import TOLERANCE, Match, Sets, match_fingerprints
from .fingerprint import Fingerprints, fingerprints
from .report import CopySet, Member, OverlapReport

ENERGY_TOLERANCE = 1e-3  # eV/atom; copies computed alike vary by less
LARGEST_TOLERANCE = 0.1  # Å; beyond it two atoms of a short bond could be laid on one
FRAMES_AT_ONCE = 1024


def overlap(
    store: str, dataset: str | None = None, other: str | None = None, *, tolerance: float = TOLERANCE, quiet: bool = False
) -> OverlapReport:
    """Find the copies inside a dataset, and between it and `other`: a dataset of the same store, or another store's path or URL.

    Without names every dataset of the store is compared with itself and with each other. Copies differ by at most `tolerance` in Å,
    root mean square over the atoms. Energies are compared where the theories agree and the multiplicities are equal.
    """
    return compare(_choose(store, dataset, other), tolerance=tolerance, quiet=quiet)


def compare(datasets: Mapping[str, Dataset], *, tolerance: float = TOLERANCE, quiet: bool = False) -> OverlapReport:
    """The same of any datasets, or views, by the names that the report is to give them."""
    if not 0 < tolerance <= LARGEST_TOLERANCE:
        raise ConfigError(f"a tolerance of {tolerance:g} Å is not between 0 and {LARGEST_TOLERANCE} Å")
    rows = Rows(datasets)
    prints, labels = _read(rows, quiet=quiet)
    matches = match_fingerprints(prints, fetch=rows.fetch, tolerance=tolerance)
    sets = _copy_sets(matches, rows, labels)
    return OverlapReport.of(sets, frames={name: len(data) for name, data in rows.datasets.items()}, tolerance=tolerance)


def _choose(store: str, dataset: str | None, other: str | None) -> dict[str, Dataset]:
    """Datasets to compare, by the name that the report gives them."""
    opened = open_store(store)
    if dataset is None:
        return {name: opened[name] for name in opened}
    chosen = {dataset: opened[dataset]}
    if other is not None and (other in opened or not ("/" in other or other.endswith(".zarr"))):
        chosen[other] = opened[other]
    elif other is not None:
        benchmark = open_store(other)
        chosen |= {f"{other}:{name}": benchmark[name] for name in benchmark}
    return chosen


class Rows:
    """The frames of several datasets, numbered through."""

    def __init__(self, datasets: Mapping[str, Dataset]):
        self.datasets = datasets
        self._names = list(datasets)
        self._starts = np.cumsum([0, *(len(data) for data in datasets.values())])

    def place(self, row: int) -> tuple[str, int]:
        """The dataset that holds a row, and where in it."""
        d = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._names[d], row - int(self._starts[d])

    def fetch(self, rows: NDArray[np.int64]) -> list[Frame]:
        """Load the frames of ascending rows, each block that holds any once."""
        found: list[Frame] = []
        for start, data in zip(self._starts, self.datasets.values()):
            mine = rows[(rows >= start) & (rows < start + len(data))] - start
            ends = np.cumsum(data.block_counts)
            block = np.searchsorted(ends, mine, side="right")
            for b in np.unique(block):
                first = int(ends[b] - data.block_counts[b])
                found += data.frames(first, int(ends[b])).take(mine[block == b] - first)
        return found

    def labels(self, rows: NDArray[np.int64]) -> dict[int, tuple[str, str]]:
        """Origin and split of ascending rows."""
        found = {}
        for start, data in zip(self._starts.tolist(), self.datasets.values()):
            mine = rows[(rows >= start) & (rows < start + len(data))] - start
            for window in np.unique(mine // FRAMES_AT_ONCE).tolist():
                first = window * FRAMES_AT_ONCE
                _, origins, splits = data.labels(first, min(first + FRAMES_AT_ONCE, len(data)))
                for i in mine[mine // FRAMES_AT_ONCE == window].tolist():
                    found[start + i] = origins[i - first], SPLITS[splits[i - first]]
        return found

    def theories(self) -> dict[str, str]:
        """Dataset -> the first dataset whose theory agrees with its own."""
        first: dict[str, str] = {}
        for name, data in self.datasets.items():
            like = (known for known in dict.fromkeys(first.values()) if not data.theory.differences(self.datasets[known].theory))
            first[name] = next(like, name)
        return first


def _read(rows: Rows, *, quiet: bool) -> tuple[list[Fingerprints], F64]:
    """Read every frame once: fingerprints, and (F, 2) energy per atom in eV (NaN where missing) and multiplicity (0 where not known)."""
    prints, labels = [], [np.zeros((0, 2))]
    for name, data in rows.datasets.items():
        starts = range(0, len(data), FRAMES_AT_ONCE)
        for start in track(starts, f"{name}: fingerprints", total=len(starts), unit="blocks", quiet=quiet):
            frames = data.frames(start, start + FRAMES_AT_ONCE)
            prints.append(fingerprints(frames))
            energy = np.where(frames.has_energy, frames.energy / frames.natoms, np.nan)
            labels.append(np.column_stack([energy, frames.multiplicity]))
    return prints, np.concatenate(labels)


def _copy_sets(matches: Sequence[Match], rows: Rows, labels: F64) -> list[CopySet]:
    """Gather matches into sets, in the order of their first rows."""
    gathered = _gather(matches)
    texts = rows.labels(np.array(sorted(row for members, _ in gathered for row in members), np.int64))
    theories = rows.theories() if gathered else {}
    sets = []
    for members, displacement in gathered:
        found = [_member(*rows.place(row), *texts[row], energy=labels[row, 0]) for row in members]
        conflict = _conflict(labels[members], [theories[member.dataset] for member in found])
        sets.append(CopySet(members=tuple(found), displacement=displacement, conflict=conflict))
    return sets


def _gather(matches: Sequence[Match]) -> list[tuple[list[int], float]]:
    """Sets of rows, each ascending, with the largest displacement of the matches that join them."""
    numbered = {row: i for i, row in enumerate(sorted({row for match in matches for row in (match.first, match.second)}))}
    sets = Sets(len(numbered))
    for match in matches:
        sets.join(numbered[match.first], numbered[match.second])
    gathered: dict[int, list[int]] = defaultdict(list)
    for row, i in numbered.items():
        gathered[sets.first(i)].append(row)
    displacement: dict[int, float] = defaultdict(float)
    for match in matches:
        first = sets.first(numbered[match.first])
        displacement[first] = max(displacement[first], match.displacement)
    return [(members, displacement[first]) for first, members in gathered.items()]


def _member(dataset: str, index: int, origin: str, split: str, *, energy: float) -> Member:
    return Member(dataset=dataset, index=index, split=split, origin=origin, energy_per_atom=None if np.isnan(energy) else float(energy))


def _conflict(labels: F64, theories: Sequence[str]) -> float | None:
    """The largest spread in eV/atom of (M, 2) energies and multiplicities that should agree, if it exceeds ENERGY_TOLERANCE."""
    comparable: dict[tuple[str, float], list[float]] = defaultdict(list)
    for (energy, multiplicity), theory in zip(labels.tolist(), theories):
        if not np.isnan(energy):
            comparable[theory, multiplicity].append(energy)
    spread = max((max(energies) - min(energies) for energies in comparable.values()), default=0.0)
    return spread if spread > ENERGY_TOLERANCE else None
