"""Taken: what came of a step."""

from __future__ import annotations

import math

import torch


class Taken:
    """What came of a step, the same on all ranks; it stays where it was computed until somebody looks."""

    def __init__(self, told: torch.Tensor):
        self.told = told  # (3,) float64: loss, norm, how many ranks were told to stop
        self._numbers: list[float] | None = None

    def _number(self, k: int) -> float:
        if self._numbers is None:
            self._numbers = self.told.tolist()
        return self._numbers[k]

    @property
    def loss(self) -> float:
        """Of the batch, over all ranks."""
        return self._number(0)

    @property
    def norm(self) -> float:
        """Of the gradient, before it was clipped."""
        return self._number(1)

    @property
    def stop(self) -> bool:
        """Whether a rank was told to stop."""
        return self._number(2) > 0

    @property
    def finite(self) -> bool:
        """Whether the step was taken: a gradient or a loss that is not finite leaves the weights as they were."""
        return math.isfinite(self.loss) and math.isfinite(self.norm)
