"""Products of float32 matrices whose factors are rounded first: faster where the hardware has units for them, and less exact.

TF32 keeps 10 bits of each factor, bfloat16 7; sums stay float32. `benchmarks/products.py` shows what a model loses.
"""

from __future__ import annotations

import torch

from lamdata.errors import SetupError


def set_products(kind: str, device: torch.device) -> None:
    """Use `ieee`, `tf32` (CUDA) or `bf16` (CPU) products from here on; raises SetupError where `device` has no such units."""
    if kind != "ieee" and not _has_units(kind, device):
        where = torch.cuda.get_device_name(device) if device.type == "cuda" else "this CPU"
        hint = "tf32 is for CUDA devices from Ampere on, bf16 for CPUs with AVX512-BF16 or AMX; elsewhere set matmul: ieee"
        raise SetupError(f"{where} has no {kind} products", where="matmul", hint=hint)
    torch.backends.cuda.matmul.fp32_precision = kind if device.type == "cuda" else "ieee"
    torch.backends.mkldnn.matmul.fp32_precision = kind if device.type == "cpu" else "ieee"


def _has_units(kind: str, device: torch.device) -> bool:
    if device.type == "cuda":
        return kind == "tf32" and torch.cuda.get_device_capability(device) >= (8, 0)
    return kind == "bf16" and device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
