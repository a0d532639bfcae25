"""Dense layers as DeePMD-kit defines them: y = dt * act(x W + b) + skip, with W stored (in, out).

A skip exists where the output is as wide as the input (x) or twice as wide ([x, x]); `dt` is a learned step on such layers.
First weights: normal with variance 1 / (in + out), biases normal with variance 1, steps normal around 0.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .activations import activation


class Dense(nn.Module):
    """x W + b: (..., in) -> (..., out)."""

    bias: nn.Parameter | None
    if TYPE_CHECKING:  # nn.Module says Any

        def __call__(self, x: Tensor) -> Tensor:
            """As `forward`."""

    def __init__(self, dim_in: int, dim_out: int, *, bias: bool = True, glorot: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim_in, dim_out))
        self.bias = nn.Parameter(torch.randn(dim_out)) if bias else None
        if glorot:
            nn.init.xavier_uniform_(self.weight)
        else:
            nn.init.normal_(self.weight, std=(dim_in + dim_out) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.t(), self.bias)


class SkipDense(Dense):
    """dt * act(x W + b) + skip(x); see the module."""

    bias: nn.Parameter

    def __init__(self, dim_in: int, dim_out: int, *, activation_function: str, resnet_dt: bool):
        super().__init__(dim_in, dim_out)
        self.act = activation(activation_function)
        self.repeats = skip_repeats(dim_in, dim_out)
        self.dt = nn.Parameter(0.1 + 0.001 * torch.randn(dim_out)) if resnet_dt and self.repeats else None

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(F.linear(x, self.weight.t(), self.bias), x, dt=self.dt)

    def finish(self, linear: Tensor, x: Tensor | None, *, dt: Tensor | None) -> Tensor:
        """All but the product: `linear` (..., out) is x W + b, computed by whoever knows a cheaper way."""
        y = self.act(linear)
        if dt is not None:
            y = y * dt
        if not self.repeats:
            return y
        assert x is not None
        return y + (x if self.repeats == 1 else torch.cat([x, x], -1))


def skip_repeats(dim_in: int, dim_out: int) -> int:
    """How often the input is repeated to make the skip: 1, 2, or 0 for no skip."""
    return {dim_in: 1, 2 * dim_in: 2}.get(dim_out, 0)


def mlp(dim_in: int, widths: list[int], *, activation_function: str, resnet_dt: bool) -> nn.Sequential:
    """Layers with skips: (..., dim_in) -> (..., widths[-1])."""
    dims = [dim_in, *widths]
    return nn.Sequential(
        *(SkipDense(a, b, activation_function=activation_function, resnet_dt=resnet_dt) for a, b in zip(dims[:-1], dims[1:]))
    )
