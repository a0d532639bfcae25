"""Descriptors of a sample of training atoms -> what is kept of them, a few numbers an element, and how unlike them others are.

Of each element with n atoms, mean m and covariance S in the sample, and the covariance S_0 of all atoms about the means of their elements:

    d^2(f) = (f - m)^T C^-1 (f - m),    C = (n S + D S_0) / (n + D) + 1e-4 tr(S_0) / D

with D the width of a descriptor: Mahalanobis' distance, in which directions that training never took count most, as the residual of a PCA
does. The leading directions of C are kept, the others as one variance. The score of an atom is d over the 99% quantile of its element in
training, of atoms whose frames had no part in m and C; that of a frame is the root mean square over its atoms, over the 99% quantile of
training frames. So a score above 1 is rare in training, one time in a hundred.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lamdata.elements import SYMBOLS

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

DIRECTIONS = 8  # kept of an element: of 4 to 16, and of last-layer and nearest-neighbour scores, none was better on all sets
FEATURES = 32  # of a frame, at most
POINTS = 512  # training frames that are kept to be drawn
QUANTILE = 0.99
ENOUGH = 100  # atoms of an element from which on it has a quantile of its own
RIDGE = 1e-4  # of the mean variance
ROUNDING = 1e-8  # of the mean square of descriptors, the least mean variance: where training is a single crystal
LEAST, LEAST_OF_FRAMES = 1.0, 0.1  # limits of distances and of frames: one standard deviation, and well below what they come to elsewhere
CURVE = 101  # quantiles of the training's scores that are kept to be drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """What is kept of the training of one head. E elements, D wide descriptors, R directions, K features of a frame."""

    numbers: NDArray[np.int64]  # (E,) atomic numbers
    atoms: NDArray[np.int64]  # (E,) in the sample
    means: F32  # (E, D)
    directions: F32  # (E, R, D)
    variances: F32  # (E, R + 1) along the directions, and of each other one
    limits: F32  # (E,) 99% quantile of d
    limit: float  # of the root mean square of a frame's scores
    curve: F32  # (CURVE,) quantiles of the scores of atoms
    frame_curve: F32  # (CURVE,) of the scores of frames
    centre: F32  # (D,) mean descriptor of a frame
    axes: F32  # (K, D) its principal axes
    points: F32  # (P, K) features of some training frames
    pairs: NDArray[np.int64]  # (Q, 2) atomic numbers, the smaller first, that training has within the cutoff of each other
    frames: int  # in the sample
    of: int  # training frames
    held_out: dict[str, Any]  # what the model does with validation frames, see `calibrate`; {} where there are none

    @property
    def elements(self) -> list[str]:
        """Symbols."""
        return [SYMBOLS[z] for z in self.numbers.tolist()]

    def scores(self, numbers: NDArray[np.uint8], features: F32) -> F64:
        """(A,) of atoms, with descriptors (A, D); each of an element of the sketch."""
        place = np.searchsorted(self.numbers, numbers)
        apart = features - self.means[place]
        out = np.empty(len(numbers))
        for e in np.unique(place).tolist():
            mine = place == e
            out[mine] = distances(apart[mine], self.directions[e], self.variances[e]) / self.limits[e]
        return out

    def frame_scores(self, scores: F64, starts: NDArray[np.int64]) -> F64:
        """(F,) of frames whose atoms, with these scores, begin at `starts` (F,)."""
        return root_mean_square(scores, starts) / self.limit

    def features(self, descriptors: F32) -> F32:
        """(K,) of a frame, from the descriptors (A, D) of its atoms."""
        found: F32 = (self.axes @ (descriptors.mean(0, dtype=np.float64) - self.centre)).astype(np.float32)
        return found

    def to_data(self) -> dict[str, Any]:
        """Tensors and plain numbers, for a checkpoint."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for name, value in values.items()}

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> Sketch:
        """Back from `to_data`."""
        values: dict[str, Any] = {name: value.numpy() if isinstance(value, torch.Tensor) else value for name, value in data.items()}
        return Sketch(**values)


def root_mean_square(values: F64, starts: NDArray[np.int64]) -> F64:
    """(F,) over the atoms of each frame."""
    counts = np.diff(np.append(starts, len(values)))
    found: F64 = np.sqrt(np.add.reduceat(np.square(values), starts) / counts)
    return found


def distances(apart: F32, directions: F32, variances: F32) -> F64:
    """(n,) d of atoms of one element, `apart` (n, D) from its mean."""
    along = apart @ directions.T
    rest = np.square(apart).sum(1, dtype=np.float64) - np.square(along).sum(1, dtype=np.float64)
    found: F64 = np.sqrt((np.square(along, dtype=np.float64) / variances[:-1]).sum(1) + np.maximum(rest, 0.0) / variances[-1])
    return found


@dataclass(frozen=True, slots=True)
class Shape:
    """Means and covariances of the elements of some atoms."""

    numbers: NDArray[np.int64]  # (E,)
    means: F32  # (E, D)
    directions: F32  # (E, R, D)
    variances: F32  # (E, R + 1)

    def distances(self, numbers: NDArray[np.uint8], features: F32) -> F64:
        """(A,) d of atoms; NaN of elements that are not here."""
        out = np.full(len(numbers), np.nan)
        for e, z in enumerate(self.numbers.tolist()):
            mine = numbers == z
            out[mine] = distances(features[mine] - self.means[e], self.directions[e], self.variances[e])
        return out


def shape_of(numbers: NDArray[np.uint8], features: F32) -> Shape:
    """Fit means, directions and variances to atoms (A,) with descriptors (A, D)."""
    found, counts = np.unique(numbers, return_counts=True)
    wide = features.astype(np.float64)
    means = np.stack([wide[numbers == z].mean(0) for z in found])
    apart = [wide[numbers == z] - mean for z, mean in zip(found, means)]
    squares = [some.T @ some for some in apart]
    width = features.shape[1]
    common = sum(squares) / max(len(wide) - len(found), 1)
    ridge = RIDGE * max(float(np.trace(common)) / width, ROUNDING * float(np.square(wide).mean()))
    kept = min(DIRECTIONS, width - 1)
    directions, variances = [], []
    for square, count in zip(squares, counts):
        values, vectors = np.linalg.eigh((square + width * common) / (count + width))
        directions.append(vectors[:, ::-1][:, :kept].T)
        variances.append(np.append(values[::-1][:kept], values[::-1][kept:].mean()) + ridge)
    return Shape(found.astype(np.int64), means.astype(np.float32), np.array(directions, np.float32), np.array(variances, np.float32))


def build_sketch(numbers: NDArray[np.uint8], features: F32, starts: NDArray[np.int64], *, pairs: NDArray[np.int64], of: int) -> Sketch:
    """The sketch of frames whose atoms (A,), with descriptors (A, D), begin at `starts` (F,); `of` is how many training frames there are."""
    shape = shape_of(numbers, features)
    counts = np.diff(np.append(starts, len(numbers)))
    frame = np.repeat(np.arange(len(starts)), counts)
    apart = _apart(numbers, features, frame)
    limits = _limits(numbers, apart, shape.numbers)
    scores = apart / limits[np.searchsorted(shape.numbers, numbers)]
    known = np.where(np.isfinite(scores), scores, 1.0)  # the only atoms of their element: nothing is known of what is usual
    of_frames = root_mean_square(known, starts)
    limit = max(float(np.quantile(of_frames, QUANTILE, method="higher")), LEAST_OF_FRAMES)
    centre, axes, points = _axes(np.add.reduceat(features.astype(np.float64), starts) / counts[:, None])
    steps = np.linspace(0.0, 1.0, CURVE)
    return Sketch(
        numbers=shape.numbers,
        atoms=np.unique(numbers, return_counts=True)[1].astype(np.int64),
        means=shape.means,
        directions=shape.directions,
        variances=shape.variances,
        limits=limits.astype(np.float32),
        limit=limit,
        curve=np.quantile(known, steps).astype(np.float32),
        frame_curve=(np.quantile(of_frames, steps) / limit).astype(np.float32),
        centre=centre,
        axes=axes,
        points=points[:POINTS],
        pairs=pairs,
        frames=len(starts),
        of=of,
        held_out={},
    )


def _apart(numbers: NDArray[np.uint8], features: F32, frame: NDArray[np.int64]) -> F64:
    """(A,) d of each atom by a shape that its frame had no part in: that of the other half of the frames."""
    apart = np.full(len(numbers), np.nan)
    for half in (0, 1):
        mine = frame % 2 == half
        if mine.any() and not mine.all():
            apart[mine] = shape_of(numbers[~mine], features[~mine]).distances(numbers[mine], features[mine])
    return apart if np.isfinite(apart).any() else shape_of(numbers, features).distances(numbers, features)


def _limits(numbers: NDArray[np.uint8], apart: F64, elements: NDArray[np.int64]) -> F64:
    """(E,) 99% quantile of each element; of a rare one that of all, or its largest."""
    of_all = float(np.nanquantile(apart, QUANTILE, method="higher"))
    limits = []
    for z in elements.tolist():
        mine = apart[numbers == z]
        mine = mine[np.isfinite(mine)]
        limit = np.quantile(mine, QUANTILE, method="higher") if len(mine) >= ENOUGH else mine.max(initial=of_all)
        limits.append(max(float(limit), LEAST))
    return np.array(limits, np.float64)


def _axes(means: F64) -> tuple[F32, F32, F32]:
    """Centre (D,), principal axes (K, D) and coordinates (F, K) of mean descriptors (F, D); each axis so that its largest part is positive."""
    centre = means.mean(0)
    _, vectors = np.linalg.eigh((means - centre).T @ (means - centre))
    axes = vectors[:, ::-1].T[:FEATURES]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    return centre.astype(np.float32), axes.astype(np.float32), ((means - centre) @ axes.T).astype(np.float32)
