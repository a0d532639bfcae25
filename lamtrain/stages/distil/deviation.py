"""Deviation: forces of teacher and student on the same frames -> which frames are worth training on, and whether the student has converged."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lamdata.frames import Frames
from lamdata.store import cut_batches

from ...evaluation.evaluate import BATCH_ATOMS
from ...prediction.model import Model, nonfinite
from .config import DEFINITIONS, AdaptiveSpec, KeepSpec

F64 = NDArray[np.float64]
CHOICE = 4  # what a seed is for


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """F frames with A atoms in all."""

    largest: F64  # (F,) eV/Å, the largest over the atoms of |F_teacher - F_student|; inf where one of them gave no number
    squares: float  # sum over components of the squares of what is between them, (eV/Å)^2, of frames where both gave numbers
    components: int  # of those

    def deviations(self, definition: str) -> F64:
        """(F,) eV/Å as defined: `difference`, or `std`, the population standard deviation of two forces, half of that."""
        return DEFINITIONS[definition] * self.largest

    @property
    def force_rmse(self) -> float | None:
        """eV/Å by component; None where there is no frame."""
        return float(np.sqrt(self.squares / self.components)) if self.components else None


def compare(teacher: Model, student: Model, head: str, frames: Frames, *, step: Callable[[int], None] = lambda _: None) -> Compared:
    """Ask both for the forces of all frames; `step` is told of frames as they are done."""
    largest: list[F64] = []
    squares, components = 0.0, 0
    for part in cut_batches(frames, batch_atoms=BATCH_ATOMS):
        said = [model.evaluate(part, head=head) for model in (teacher, student)]
        apart = np.square(np.asarray(said[0].forces, np.float64) - said[1].forces)
        bad = nonfinite(said[0]) | nonfinite(said[1])
        norms = np.sqrt(np.maximum.reduceat(np.nan_to_num(apart.sum(1)), part.starts[:-1]))
        largest.append(np.where(bad, np.inf, norms))
        fine = np.repeat(~bad, part.natoms)
        squares += float(apart[fine].sum())
        components += 3 * int(fine.sum())
        step(len(part))
    return Compared(largest=np.concatenate([np.empty(0), *largest]), squares=squares, components=components)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The frames of a round by what the student makes of them. `lost` are those that no trajectory came to because it had blown up."""

    low: float  # eV/Å as defined
    accurate: int
    candidates: NDArray[np.int64]  # rows
    failed: int
    lost: int
    converged: bool

    @property
    def share(self) -> float:
        """Of accurate frames, among those that there should have been."""
        return self.accurate / max(self.accurate + len(self.candidates) + self.failed + self.lost, 1)


def judge(deviations: F64, keep: KeepSpec, *, lost: int, lows: Sequence[float] = ()) -> Judged:
    """Sort the frames of a round; `lows` are the lower thresholds of the rounds before it, which an adaptive one is compared with.

    With an adaptive threshold a round in which a trajectory blew up does not converge.
    """
    order = np.argsort(-deviations, kind="stable")
    below = order[deviations[order] < keep.high]  # the worst first
    failed, adaptive = len(order) - len(below), keep.adaptive
    if adaptive is None:
        candidates = below[deviations[below] >= keep.low]
        low = keep.low
    else:
        candidates = below[: max(adaptive.least, round(adaptive.share * len(order)))]
        low = float(deviations[candidates[-1]]) if len(candidates) else keep.high
    accurate = len(below) - len(candidates)
    found = Judged(low=low, accurate=accurate, candidates=np.sort(candidates), failed=failed, lost=lost, converged=False)
    converged = found.share >= keep.accurate if adaptive is None else not lost and _stands_still([*lows, low], adaptive)
    return replace(found, converged=converged)


def _stands_still(lows: Sequence[float], adaptive: AdaptiveSpec) -> bool:
    last = lows[-(adaptive.checks + 1) :]
    return len(last) > adaptive.checks and all(abs(after - before) < adaptive.tolerance for before, after in itertools.pairwise(last))


def choose(rows: NDArray[np.int64], most: int, *, seed: Sequence[int]) -> NDArray[np.int64]:
    """`most` of them at most, each as likely as any other, in order."""
    drawn = np.random.default_rng([*seed, CHOICE]).permutation(len(rows))[:most]
    return np.sort(rows[drawn])
