"""A model and structures -> what it says of each, in order and in batches, and which it was not asked about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lamdata.frame import Frame, Rejection
from lamdata.frames import Frames

from ..data.neighbors import Edges
from ..evaluation.evaluate import BATCH_ATOMS
from .model import Model, nonfinite
from .structures import refusals

BATCH_FRAMES = 256


@dataclass(frozen=True, slots=True)
class Answer:
    """One frame as it was read, the same with what the model says, and the energies of its atoms (A,) in eV."""

    label: Frame
    predicted: Frame
    atomic: NDArray[np.float64]
    features: NDArray[np.float32] | None = None  # (A, D) the descriptor, where it was asked for, and
    edges: Edges | None = None  # what the model sees


@dataclass(slots=True)
class Tally:
    """What became of the frames."""

    frames: int = 0
    atoms: int = 0
    rejected: int = 0
    truncated: int = 0
    outside: int = 0
    scored: int = 0
    without_energy: Counter[str] = field(default_factory=Counter)  # composition -> frames whose shift is not determined
    fitted: int = 0
    unconverged: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def answers(
    model: Model, head: str, source: Iterable[Frame | Rejection], tally: Tally, *, describe: bool = False
) -> Iterator[Answer | Rejection]:
    """Of every frame in order; a `Rejection` for what is none, and for what the model cannot be asked about or answers with no number.

    With `describe` there are features and edges, too, and forces only where some frame of a batch has them to compare with.
    """
    for batch, unread in _batches(source):
        yield from _counted(unread, tally)
        frames = Frames.from_list(batch)
        refused = refusals(frames, elements=model.elements[head])
        asked = [frame for row, frame in enumerate(batch) if row not in refused]
        yield from _counted([Rejection(origin=batch[row].origin, reason=reason) for row, reason in refused.items()], tally)
        if not asked:
            continue
        together = Frames.from_list(asked)
        edges = model.neighbors(together) if describe else None
        forces = not describe or bool(together.has_forces.any())
        found = model.evaluate(together, head=head, edges=edges, features=describe, forces=forces)
        tally.truncated += found.truncated
        tally.outside += found.outside
        bad, starts = nonfinite(found), found.starts
        for row, (label, frame) in enumerate(zip(asked, found.frames)):
            if bad[row]:
                yield from _counted([Rejection(origin=label.origin, reason="energy or forces of the model are not finite")], tally)
                continue
            tally.frames += 1
            tally.atoms += len(label.numbers)
            tally.left_out.update(label.left_out)
            predicted = replace(frame, cell=label.cell, group=label.group, origin=label.origin, split=label.split)
            atoms = slice(starts[row], starts[row + 1])
            features = None if found.features is None else found.features[atoms]
            yield Answer(label, predicted, found.atomic_energies[atoms], features, None if edges is None else edges[row])


def _counted(rejections: Iterable[Rejection], tally: Tally) -> Iterator[Rejection]:
    for rejection in rejections:
        tally.rejected += 1
        yield rejection


def _batches(source: Iterable[Frame | Rejection]) -> Iterator[tuple[list[Frame], list[Rejection]]]:
    """Frames until there are atoms enough, with what came between them and is no frame."""
    some: list[Frame] = []
    unread: list[Rejection] = []
    atoms = 0
    for item in source:
        if isinstance(item, Rejection):
            unread.append(item)
            continue
        if some and (atoms + len(item.numbers) > BATCH_ATOMS or len(some) == BATCH_FRAMES):
            yield some, unread
            some, unread, atoms = [], [], 0
        some.append(item)
        atoms += len(item.numbers)
    if some or unread:
        yield some, unread
