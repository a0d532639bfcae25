"""Devices: what a person calls one -> the device, or one line that says what there is."""

from __future__ import annotations

import re

import torch

from lamdata.errors import ConfigError, SetupError


def device_of(name: str = "auto") -> torch.device:
    """`auto` is CUDA where there is one. Raises ConfigError for a word that names none, SetupError for one that is not there."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ConfigError(f"no device called {name!r}", where="--device", hint="auto, cpu, cuda or cuda:N")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= count:
        there = f"this machine has {count} GPU{'s' * (count != 1)} that PyTorch can use"
        raise SetupError(f"{name} is not there: {there}", where="--device", hint="--device cpu")
    return device
