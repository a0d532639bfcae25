"""Descriptors by the `type` of their config."""

from __future__ import annotations

from torch import nn

from .config import ModelConfig
from .dpa1 import Dpa1
from .dpa1_config import Dpa1Config
from .dpa1_table import TabulatedDpa1
from .dpa2 import Dpa2

DESCRIPTORS: dict[str, type[nn.Module]] = {"dpa1": Dpa1, "dpa2": Dpa2}


def build_descriptor(config: ModelConfig) -> nn.Module:
    """The module of `config.descriptor`, its first weights from torch's generator; a `DescriptorModule`."""
    if isinstance(config.descriptor, Dpa1Config) and config.descriptor.table is not None:
        return TabulatedDpa1(config)
    return DESCRIPTORS[config.descriptor.type](config)
