"""Arithmetic that kinds of tasks share: sums and flags of a batch, and what is made of totals and counts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import Sums

if TYPE_CHECKING:
    from torch import Tensor

    from ..model.inputs import Batch


def mean_of_atoms(values: Tensor, chosen: Tensor, batch: Batch) -> Tensor:
    """(F,) mean of `values` (A,) over the chosen atoms of each frame, float64; 0 where none is chosen."""
    zero = values.new_zeros(batch.nframes).double()
    counts = zero.index_add(0, batch.frame, chosen.double())
    sums = zero.index_add(0, batch.frame, (values * chosen).double())
    return sums / counts.clamp(min=1.0)


def flags(values: NDArray[np.bool_]) -> Tensor:
    """A mask as a tensor."""
    import torch

    return torch.from_numpy(np.array(values))


def pairs(label: NDArray[np.floating], predicted: Tensor, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n, 2) components of labels and predictions (A, 3) on chosen atoms."""
    return np.stack([label[chosen].ravel(), predicted.detach().cpu().numpy()[chosen].ravel()], 1)


def root_mean_square(sums: Sums, **named: tuple[str, float]) -> dict[str, float]:
    """Sum -> (key, scale): the root of total over count, where there is a count."""
    known = {name: key for name, key in named.items() if sums.get(f"{name}_count")}
    return {key: math.sqrt(sums[name] / sums[f"{name}_count"]) * scale for name, (key, scale) in known.items()}


def mean(sums: Sums, **named: str) -> dict[str, float]:
    """Sum -> key: total over count, where there is a count."""
    return {key: sums[name] / sums[f"{name}_count"] for name, key in named.items() if sums.get(f"{name}_count")}
