"""Duplicates: fingerprints of many structures -> which of them are one and the same, each pair confirmed by superposition.

Frames with equal keys are searched by a k-d tree of their fingerprints; what is near there is laid on each other, atom on atom.
Memory: the fingerprints, and the frames of LOADED candidates at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..frame import Frame
from ..frames import Frames
from .fingerprint import Fingerprints, Key, fingerprints
from .superposition import FURTHEST, Structure, superpose

TOLERANCE = 5e-4  # Å: well above what files lose by printing four decimals, well below what atoms move in a step of dynamics
NEAREST = 16  # nearest fingerprints looked at first; twice as many in a crowd, until the crowd ends
TREE_COLUMNS = 12  # a k-d tree gains nothing from more; the others are compared afterwards
LOADED = 2048  # candidate frames held at once
PAIRS_AT_ONCE = 1 << 18

Fetch = Callable[[NDArray[np.int64]], Sequence[Frame]]  # ascending rows -> their frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Two rows that hold one structure."""

    first: int
    second: int
    displacement: float  # Å, root mean square over the atoms


def find_duplicates(frames: Sequence[Frame], *, tolerance: float = TOLERANCE) -> list[Match]:
    """Find the copies among frames in memory: matches that join each set of copies, as few as will do.

    >>> water = Frame(numbers=np.array([8, 1, 1]), positions=np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]))
    >>> turned = Frame(numbers=water.numbers[::-1], positions=water.positions[::-1, ::-1] + 1)
    >>> [(match.first, match.second) for match in find_duplicates([water, turned])]
    [(0, 1)]
    """
    prints = fingerprints(Frames.from_list(frames))
    return match_fingerprints([prints], fetch=lambda rows: [frames[row] for row in rows], tolerance=tolerance)


def match_fingerprints(prints: Sequence[Fingerprints], *, fetch: Fetch, tolerance: float = TOLERANCE) -> list[Match]:
    """Find the copies among structures whose fingerprints are at hand, rows counted through all of `prints`; `fetch` loads frames.

    In a crowd of more than NEAREST near structures, copies already found stand back for the first of their set.
    """
    sets = Sets(sum(len(part.keys) for part in prints))
    matches: list[Match] = []
    buckets, nearest = _buckets(prints), NEAREST
    while buckets:
        pairs, crowded = _near_pairs(buckets, nearest=nearest, within=2 * FURTHEST * tolerance)
        matches += _confirmed(pairs, sets, fetch=fetch, tolerance=tolerance)
        buckets, nearest = [_first_of_each(bucket, sets) for bucket in crowded], 2 * nearest
    return matches


class Sets:
    """Rows joined into sets (union-find); a set is known by its smallest row. Also which rows were found to differ."""

    def __init__(self, rows: int):
        self._parent = np.arange(rows)
        self._apart: set[int] = set()

    def first(self, row: int) -> int:
        """The smallest row of the set that `row` is in."""
        parent = self._parent
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return int(row)

    def join(self, one: int, other: int) -> None:
        """Make the sets of two rows one."""
        one, other = sorted((self.first(one), self.first(other)))
        self._parent[other] = one

    def keep_apart(self, one: int, other: int) -> None:
        """Remember that two rows differ."""
        self._apart.add(one * len(self._parent) + other)

    def settled(self, one: int, other: int) -> bool:
        """Whether two rows are in one set or known to differ."""
        return self.first(one) == self.first(other) or one * len(self._parent) + other in self._apart


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bucket:
    """Rows of one key."""

    rows: NDArray[np.int64]  # (n,)
    vectors: NDArray[np.float32]  # (n, D) Å


def _buckets(prints: Sequence[Fingerprints]) -> list[_Bucket]:
    """Gather the rows of each key that two rows or more have."""
    found: dict[Key, tuple[list[int], list[NDArray[np.float32]]]] = {}
    row = 0
    for part in prints:
        for key, vector in zip(part.keys, part.vectors):
            rows, vectors = found.setdefault(key, ([], []))
            rows.append(row)
            vectors.append(vector)
            row += 1
    return [_Bucket(rows=np.array(rows), vectors=np.stack(vectors)) for rows, vectors in found.values() if len(rows) > 1]


def _near_pairs(buckets: Sequence[_Bucket], *, nearest: int, within: float) -> tuple[NDArray[np.int64], list[_Bucket]]:
    """Return pairs of rows (P, 2) whose fingerprints differ by at most `within`, Å, nearest first, and the buckets with too many."""
    pairs, crowded = [np.zeros((0, 2), np.int64)], []
    for bucket in buckets:
        found, more = _near_in(bucket.vectors, nearest=min(nearest, len(bucket.rows)), within=within)
        pairs.append(bucket.rows[found])
        if more and nearest < len(bucket.rows):
            crowded.append(bucket)
    return np.concatenate(pairs), crowded


def _near_in(vectors: NDArray[np.float32], *, nearest: int, within: float) -> tuple[NDArray[np.int64], bool]:
    """The same in one bucket: pairs of its places, and whether any place has `nearest` near ones, so perhaps more."""
    from scipy.spatial import cKDTree

    within = within * (1 + 1e-5) + 1e-6  # float32
    columns = vectors[:, np.argsort(-vectors.std(axis=0), kind="stable")[:TREE_COLUMNS]]  # those that tell most apart
    tree = cKDTree(columns)
    pairs, gaps, more = [], [], False
    at_once = max(1, PAIRS_AT_ONCE // nearest)
    for start in range(0, len(vectors), at_once):
        _, near = tree.query(columns[start : start + at_once], k=range(1, nearest + 1), p=np.inf, distance_upper_bound=within)
        place, rank = np.nonzero(near < len(vectors))
        more |= bool(np.bincount(place).max() == nearest)
        pair = np.unique(np.sort(np.column_stack([place + start, near[place, rank]]), axis=1), axis=0)
        gap = np.abs(vectors[pair[:, 0]] - vectors[pair[:, 1]]).max(axis=1)
        keep = (gap <= within) & (pair[:, 0] < pair[:, 1])
        pairs.append(pair[keep])
        gaps.append(gap[keep])
    return np.concatenate(pairs)[np.argsort(np.concatenate(gaps), kind="stable")], more


def _first_of_each(bucket: _Bucket, sets: Sets) -> _Bucket:
    """Keep one row of each set."""
    _, kept = np.unique([sets.first(row) for row in bucket.rows], return_index=True)
    return _Bucket(rows=bucket.rows[kept], vectors=bucket.vectors[kept])


def _confirmed(pairs: NDArray[np.int64], sets: Sets, *, fetch: Fetch, tolerance: float) -> Iterator[Match]:
    """Superpose pairs that are not settled yet, and join those that are one structure."""
    for start in range(0, len(pairs), LOADED // 2):
        some = [pair for pair in pairs[start : start + LOADED // 2].tolist() if not sets.settled(*pair)]
        rows = np.unique(some).astype(np.int64)
        ready = {row: Structure(frame) for row, frame in zip(rows.tolist(), fetch(rows))} if some else {}
        for one, other in some:
            if sets.settled(one, other):
                continue
            displacement = superpose(ready[one], ready[other], tolerance=tolerance)
            if displacement is None:
                sets.keep_apart(one, other)
            else:
                sets.join(one, other)
                yield Match(first=one, second=other, displacement=displacement)
