"""Activation functions by DeePMD-kit's names."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Callable[[Tensor], Tensor]


def activation(name: str) -> Activation:
    """The function called `name`; `silut:3.0` carries its threshold."""
    kind, _, threshold = name.partition(":")
    if kind in ("silut", "custom_silu"):
        return partial(_silut, threshold=float(threshold or 3.0))
    return _BY_NAME[kind]


def _identity(x: Tensor) -> Tensor:
    return x


def _silut(x: Tensor, *, threshold: float) -> Tensor:
    """SiLU up to `threshold`, then a tanh that continues it with the same value and slope."""
    sigmoid = 1.0 / (1.0 + math.exp(-threshold))
    slope = sigmoid + threshold * sigmoid * (1.0 - sigmoid)
    tail = torch.tanh(slope * (x - threshold)) + threshold * sigmoid
    return torch.where(x >= threshold, tail, x * torch.sigmoid(x))


_GELU = partial(F.gelu, approximate="tanh")
_BY_NAME: dict[str, Activation] = {
    "tanh": torch.tanh,
    "relu": F.relu,
    "relu6": F.relu6,
    "softplus": F.softplus,
    "sigmoid": torch.sigmoid,
    "gelu": _GELU,
    "gelu_tf": _GELU,
    "silu": F.silu,
    "linear": _identity,
    "none": _identity,
}
