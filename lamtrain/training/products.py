"""Products of float32 matrices whose factors are rounded first: faster where the hardware has units for them, and less exact.

TF32 keeps 10 bits of each factor, bfloat16 7; sums stay float32. `benchmarks/products.py` shows what a model loses.
"""

from __future__ import annotations

import torch

from lamdata.errors import SetupError

NAMES: dict[str, str] = {"ieee": "highest", "tf32": "high", "bf16": "medium"}  # torch's own words


def set_products(kind: str, device: torch.device) -> None:
    """Use `ieee`, `tf32` (CUDA) or `bf16` (CPU) products from here on; raises SetupError where `device` has no such units."""
    torch.set_float32_matmul_precision(NAMES[kind])
    if kind == "ieee" or _has_units(kind, device):
        return
    torch.set_float32_matmul_precision("highest")
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "this CPU"
    hint = "tf32 is for CUDA devices from Ampere on, bf16 for CPUs with AVX512-BF16 or AMX; elsewhere set matmul: ieee"
    raise SetupError(f"{where} has no {kind} products", where="matmul", hint=hint)


def _has_units(kind: str, device: torch.device) -> bool:
    """Whether products of this kind, which are switched on, are made: a GPU says so, a CPU shows it."""
    if device.type == "cuda":
        return kind == "tf32" and torch.cuda.get_device_capability(device) >= (8, 0)
    return kind == "bf16" and device.type == "cpu" and _rounds()


def _rounds() -> bool:
    """Whether a product loses the bits that TF32 and bfloat16 have no room for; torch has no public question about a CPU's units."""
    factor = torch.full((64, 64), 1 + 2**-12, dtype=torch.float32)
    return float((factor @ factor)[0, 0]) == 64.0
