"""Muon: the momentum of each matrix, orthogonalized, is its step; matrices of one shape take it together."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

MOMENTUM, TURNS, EPS = 0.95, 5, 1e-7
QUINTIC = (3.4445, -4.7750, 2.0315)  # a x + b x^3 + c x^5, which takes singular values of 0.01 to near 1 in five turns


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum (K. Jordan et al. 2024, kellerjordan.github.io/posts/muon), at the rate that moves matrices as far as AdamW does.

    With B <- 0.95 B + 0.05 g, X = 0.05 g + 0.95 B and O the nearest orthogonal matrix to X by `orthogonal`: W <- (1 - rate decay) W - 0.2 rate sqrt(max(rows, columns)) O
    (arXiv 2502.16982, equation 4). That of PyTorch (2.9 on) rounds to bfloat16 and takes a matrix at a time.

    `found_inf`, where it is set, is 1 for a step that must leave all as it was, and is read on the device.
    """

    found_inf: Tensor | None = None

    def __init__(self, params: Iterable[Any], *, lr: float, weight_decay: float):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step of all matrices that have a gradient."""
        for group in self.param_groups:
            alike: dict[tuple[torch.Size, torch.device], list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike.setdefault((matrix.shape, matrix.device), []).append(matrix)
            for matrices in alike.values():
                self._move(matrices, rate=group["lr"], decay=group["weight_decay"])

    def _move(self, matrices: list[Tensor], *, rate: float | Tensor, decay: float) -> None:
        """A step of matrices of one shape."""
        kept = [self.state[matrix].setdefault("momentum_buffer", torch.zeros_like(matrix)) for matrix in matrices]
        before, gradients = torch.stack(kept), torch.stack([matrix.grad for matrix in matrices if matrix.grad is not None])
        momentum = torch.lerp(before, gradients, 1 - MOMENTUM)
        moves = orthogonal(torch.lerp(gradients, momentum, MOMENTUM)).mul_(-0.2 * math.sqrt(max(matrices[0].shape)) * rate)
        if self.found_inf is None:
            torch._foreach_mul_(matrices, 1 - rate * decay)
        else:
            stay = self.found_inf > 0
            momentum, moves = torch.where(stay, before, momentum), torch.where(stay, 0.0, moves)
            torch._foreach_mul_(matrices, 1 - rate * decay * torch.where(stay, 0.0, moves.new_ones(())))
        torch._foreach_copy_(kept, momentum.unbind())
        torch._foreach_add_(matrices, moves.unbind())


def orthogonal(stack: Tensor) -> Tensor:
    """(k, m, n): of each matrix U S V^T about U V^T, the singular values between 0.7 and 1.2, by five turns of a quintic Newton-Schulz iteration."""
    a, b, c = QUINTIC
    x = stack.mT if stack.shape[1] > stack.shape[2] else stack
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=EPS)
    for _ in range(TURNS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if stack.shape[1] > stack.shape[2] else x
