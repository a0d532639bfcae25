"""A model, its sketch and frames -> a score of each frame and its atoms, and what is kept of any number of them; memory grows with distinct frames by a hash alone.

Copies count once, and what is drawn or named is chosen by score or by a hash of what a frame is: order and repetition change nothing.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamdata.elements import SYMBOLS
from lamdata.frame import Frame, Rejection

from ...prediction.answers import Answer, Tally, answers
from ...prediction.model import Model
from ...prediction.structures import content_of
from ...tasks import MILLI
from .pairs import Pair, pair_name, unseen_pairs
from .sketch import Sketch

WORST, DRAWN = 20, 2000  # frames that are named, and at most drawn
KINDS = 5  # frames with large and with small errors, at least, that an area under a curve is of
USUAL = 0.05  # share of frames that may be unlike training's though training covers them
BINS = np.concatenate([[0.0], np.geomspace(0.05, 50.0, 61), [np.inf]])  # of scores


class Distinct:
    """A source without its copies, and without frames of elements that are not known, which are counted."""

    def __init__(self, source: Iterable[Frame | Rejection], known: Iterable[int]):
        self.source, self.known = source, frozenset(known)
        self.frames = self.copies = self.unread = 0
        self.strange: dict[int, int] = {}  # atomic number -> distinct frames
        self.refused = 0  # frames of them
        self._met: set[bytes] = set()

    def __iter__(self) -> Iterator[Frame | Rejection]:
        """Each frame the first time that it comes."""
        for item in self.source:
            if isinstance(item, Rejection):
                self.unread += 1
                yield item
                continue
            content = content_of(item)
            self.frames += 1
            if content in self._met:
                self.copies += 1
                continue
            self._met.add(content)
            others = sorted(set(np.unique(item.numbers).tolist()) - self.known)
            for z in others:
                self.strange[z] = self.strange.get(z, 0) + 1
            self.refused += bool(others)
            yield Rejection(origin=item.origin, reason=f"nothing known of {', '.join(SYMBOLS[z] for z in others)}") if others else item

    @property
    def distinct(self) -> int:
        """Frames, copies left out."""
        return len(self._met)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One frame."""

    answer: Answer
    content: bytes
    atoms: NDArray[np.float64]  # (A,) scores
    score: float  # above 1 where training does not cover it
    unseen: tuple[Pair, ...]  # pairs of elements that training has nowhere within the cutoff
    features: NDArray[np.float32]  # (K,)

    @property
    def force_error(self) -> float | None:
        """meV/Å, root mean square of components; None without labels."""
        label, predicted = self.answer.label.forces, self.answer.predicted.forces
        if label is None or predicted is None or self.answer.label.converged is False:
            return None
        return MILLI * float(np.sqrt(np.square(predicted - label).mean()))

    @property
    def order(self) -> tuple[float, bytes]:
        """The highest score first."""
        return -self.score, self.content

    def row(self, sketch: Sketch) -> dict[str, Any]:
        """As plain data."""
        label, worst = self.answer.label, int(np.argmax(self.atoms))
        out = {
            "origin": label.origin,
            "group": label.group,
            "atoms": len(self.atoms),
            "score": self.score,
            "atoms_beyond": int(np.count_nonzero(self.atoms > 1.0)),
            "worst_atom": f"{SYMBOLS[label.numbers[worst]]} {worst}",
            "worst_atom_score": float(self.atoms[worst]),
            "unseen_pairs": " ".join(pair_name(pair) for pair in self.unseen),
            "expected_force_error_mev_per_angstrom": expected_error(self.atoms, sketch),
            "force_rmse_mev_per_angstrom": self.force_error,
        }
        return out


def expected_error(atoms: NDArray[np.float64], sketch: Sketch) -> float | None:
    """meV/Å, by the scores of a frame's atoms; None where the model was never calibrated. Far beyond the limits it is a guess."""
    slope = sketch.held_out.get("error_by_score")
    return None if slope is None else MILLI * slope * float(np.sqrt(np.square(atoms).mean()))


def score_frames(
    model: Model, head: str, sketch: Sketch, source: Iterable[Frame | Rejection], tally: Tally
) -> Iterator[Scored | Rejection]:
    """Of each frame in order."""
    first = np.zeros(1, np.int64)
    for answer in answers(model, head, source, tally, describe=True):
        if isinstance(answer, Rejection):
            yield answer
            continue
        assert answer.features is not None and answer.edges is not None
        numbers = answer.label.numbers
        atoms = sketch.scores(numbers, answer.features)
        yield Scored(
            answer=answer,
            content=content_of(answer.label),
            atoms=atoms,
            score=float(sketch.frame_scores(atoms, first)[0]),
            unseen=unseen_pairs(numbers, answer.edges, sketch),
            features=sketch.features(answer.features),
        )


@dataclass(slots=True)
class Coverage:
    """What is kept of scored frames."""

    frames: int = 0
    beyond: int = 0  # frames with a score above 1
    with_unseen: int = 0  # frames with an unseen pair
    frame_bins: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(BINS) - 1, np.int64))
    atom_bins: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(BINS) - 1, np.int64))
    elements: dict[int, list[int]] = field(default_factory=dict)  # atomic number -> atoms, of them beyond their limit
    unseen: dict[Pair, int] = field(default_factory=dict)  # pair -> frames
    worst: list[Scored] = field(default_factory=list)  # the highest score first
    _points: list[tuple[bytes, float, NDArray[np.float32], float | None]] = field(default_factory=list)  # by hash

    def add(self, scored: Scored) -> None:
        """Take in one frame."""
        self.frames += 1
        self.beyond += scored.score > 1.0
        self.frame_bins[np.searchsorted(BINS, scored.score, side="right") - 1] += 1
        self.atom_bins += np.histogram(scored.atoms, BINS)[0]
        numbers = scored.answer.label.numbers
        for z in np.unique(numbers).tolist():
            counts = self.elements.setdefault(z, [0, 0])
            mine = scored.atoms[numbers == z]
            counts[0] += len(mine)
            counts[1] += int(np.count_nonzero(mine > 1.0))
        self.with_unseen += bool(scored.unseen)
        for pair in scored.unseen:
            self.unseen[pair] = self.unseen.get(pair, 0) + 1
        if len(self.worst) < WORST or scored.order < self.worst[-1].order:
            self.worst = sorted([*self.worst, scored], key=lambda one: one.order)[:WORST]
        self._points.append((scored.content, scored.score, scored.features, scored.force_error))
        if len(self._points) >= 2 * DRAWN:
            self._points = heapq.nsmallest(DRAWN, self._points, key=lambda point: point[0])

    @property
    def atoms(self) -> int:
        """Of all frames."""
        return sum(atoms for atoms, _ in self.elements.values())

    @property
    def atoms_beyond(self) -> int:
        """Beyond the limits of their elements."""
        return sum(beyond for _, beyond in self.elements.values())

    def points(self) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float64]]:
        """Scores (n,), features (n, K) and errors of forces (n,) in meV/Å, NaN without, of some frames, a fair part where there are many."""
        some = heapq.nsmallest(DRAWN, self._points, key=lambda point: point[0])
        errors = [np.nan if error is None else error for _, _, _, error in some]
        return np.array([point[1] for point in some]), np.array([point[2] for point in some]), np.array(errors)


def usually(share: float, frames: int) -> float:
    """The share of n frames that may be so where `share` of the model's own held-out frames are: p = max(5%, twice that), and 2 sqrt(p (1 - p) / n)."""
    usual = max(USUAL, 2.0 * share)
    return usual + 2.0 * math.sqrt(max(usual * (1.0 - usual), 0.0) / frames)


def area_under_curve(scores: NDArray[np.float64], bad: NDArray[np.bool_]) -> float | None:
    """The chance that a bad frame has a higher score than one that is not (Mann and Whitney); None where there are too few of a kind."""
    if min(np.count_nonzero(bad), np.count_nonzero(~bad)) < KINDS:
        return None
    values, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    n = int(bad.sum())
    return float((ranks[bad].sum() - n * (n + 1) / 2) / (n * (len(bad) - n)))
