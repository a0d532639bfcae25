"""Type -> vector: a row of a learned matrix, or a learned projection of the element's electron configuration."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .econf import electron_configurations
from .layers import skip_repeats


class TypeEmbedding(nn.Module):
    """One row for each element, and one, `masked`, for an atom whose element is hidden.

    The reference passes a one-hot (or configuration) vector x through x W (+ b), with a skip where widths allow.
    Parameters: `weight` (elements or 118, tebd_dim), `masked` (tebd_dim,), `bias` (tebd_dim,) or None.
    """

    inputs: Tensor

    def __init__(self, config: ModelConfig):
        super().__init__()
        width = config.descriptor.dim_tebd
        econf = config.descriptor.use_econf_tebd
        inputs = electron_configurations(config.elements) if econf else torch.eye(len(config.elements))
        self.register_buffer("inputs", inputs, persistent=False)
        self.weight = nn.Parameter(torch.randn(inputs.shape[1], width) * (inputs.shape[1] + width) ** -0.5)
        self.masked = nn.Parameter(torch.randn(width) * (inputs.shape[1] + width) ** -0.5)
        self.bias = nn.Parameter(torch.randn(width)) if config.descriptor.use_tebd_bias else None
        self.one_hot, self.repeats = not econf, skip_repeats(inputs.shape[1], width)

    def forward(self) -> Tensor:
        """(ntypes, tebd_dim)."""
        table = self.weight if self.one_hot else self.inputs @ self.weight
        if self.bias is not None:
            table = table + self.bias
        if self.repeats:
            table = table + self.inputs.repeat(1, self.repeats)
        return torch.cat([table, self.masked.unsqueeze(0)])
