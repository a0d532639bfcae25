"""LoRA: matrices of a model -> W = W0 + A B, of which A (in, r) and B (r, out) are trained (Hu et al., arXiv:2106.09685, with alpha = r).

The model always holds the sum W: it runs on any kernels, and each of its checkpoints is merged. The chain rule is done here, after the
gradient of W: dA = dW B^T, dB = A^T dW. A begins normal with variance 1/in, B at 0, so that the first W is W0 to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..model.lam import LamModel


def narrowed(model: LamModel, rank: int) -> list[str]:
    """Names of the descriptor's matrices that A and B hold in fewer numbers."""
    return [
        name
        for name, weight in model.named_parameters()
        if name.startswith("descriptor.") and weight.dim() == 2 and rank * sum(weight.shape) < weight.numel()
    ]


class Lora:
    """The updates of some matrices of `model`."""

    def __init__(self, model: LamModel, names: Iterable[str], *, rank: int, seed: int):
        parameters, random = dict(model.named_parameters()), torch.Generator().manual_seed(seed)
        self.weights = {name: parameters[name] for name in names}
        self.base = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.down, self.up = {}, {}
        for name, weight in self.weights.items():
            first = torch.randn(len(weight), rank, generator=random, dtype=torch.float64) * len(weight) ** -0.5
            self.down[name] = nn.Parameter(first.to(weight))
            self.up[name] = nn.Parameter(weight.new_zeros(rank, weight.shape[1]))

    def parameters(self) -> list[nn.Parameter]:
        """All A and B, matrix by matrix."""
        return [factor for name in self.weights for factor in self.of(name).values()]

    def of(self, name: str) -> dict[str, nn.Parameter]:
        """A and B of one matrix, by name."""
        return {f"{name}.down": self.down[name], f"{name}.up": self.up[name]}

    @torch.no_grad()
    def take_gradients(self) -> None:
        """Turn the gradients of the sums into those of A and B."""
        for name, weight in self.weights.items():
            if weight.grad is not None:
                self.down[name].grad = weight.grad @ self.up[name].t()
                self.up[name].grad = self.down[name].t() @ weight.grad
                weight.grad = None

    @torch.no_grad()
    def merge(self) -> None:
        """Write W0 + A B into the model."""
        for name, weight in self.weights.items():
            weight.copy_(self.base[name] + self.down[name] @ self.up[name])

    def state(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint needs to go on."""
        return {part: {name: value.detach() for name, value in getattr(self, part).items()} for part in ("base", "down", "up")}

    @torch.no_grad()
    def restore(self, state: dict[str, dict[str, Any]]) -> None:
        """Go on from `state`; the model holds the sums already."""
        for part in ("base", "down", "up"):
            for name, value in getattr(self, part).items():
                value.copy_(state[part][name])
