"""Errors of forces and gradients by head, against float64, for each way in which the triton kernels may take their products.

python benchmarks/triton_precision.py [--size medium] [--heads 4] [--json FILE]

Heads share a descriptor with fresh weights, on water of 192 atoms. `plain` is float32 by PyTorch's own operators. An error is the root of the mean
square of the difference, as a share of that of the force, or of the gradient of the head's parameters and the descriptor's by the loss of its frames.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dpa2_step import frames_of

WAYS = ("float32, plain", "tf32", "tf32x3", "ieee")


def found(size: str, heads: int, device: str, way: str | None) -> dict[str, list[torch.Tensor]]:
    """Head -> forces, and the gradient, in float64; `way` None is the plain path in float64."""
    from lamtrain.data.batch import collate
    from lamtrain.model.config import ModelConfig
    from lamtrain.model.kernels.choose import PLAIN, tiled
    from lamtrain.model.lam import LamModel

    precision = "float64" if way is None else "float32"
    config = getattr(ModelConfig, size)(["O", "H"], {f"head{k}": "energy_force" for k in range(heads)}).in_precision(precision)
    torch.manual_seed(1)
    double = LamModel(getattr(ModelConfig, size)(["O", "H"], config.heads).in_precision("float64"))  # the same weights, rounded
    model = LamModel(config)
    model.load_state_dict(double.state_dict())
    chosen, own = PLAIN, tiled()
    if way is not None and "plain" not in way:
        inner: Callable[..., Any] | None = own.descriptor
        assert inner is not None
        chosen = replace(own, descriptor=partial(inner, precision=way))
    model = model.to(device).use_kernels(chosen)
    out: dict[str, list[torch.Tensor]] = {}
    frames = frames_of("1x192")
    for k in range(heads):
        batch = collate(frames.with_(head=np.full(1, k, np.int32)), config, dtype=getattr(torch, precision), chunk_atoms=4096).to(device)
        result = model(batch, virial=False, create_graph=True)
        loss = result.energy.sum() + result.forces.square().sum()
        used = [p for name, p in model.named_parameters() if name.startswith(("descriptor.", f"heads.head{k}."))]
        grads = torch.autograd.grad(loss, used, allow_unused=True)
        flat = torch.cat([grad.flatten() for grad in grads if grad is not None])
        out[f"head{k}"] = [result.forces.detach().double().cpu(), flat.double().cpu()]
    return out


def share(a: torch.Tensor, b: torch.Tensor) -> float:
    """The difference of a from b, as a share of b."""
    return float((a - b).square().mean().sqrt() / b.square().mean().sqrt())


def main() -> None:
    """Compare, print a table as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", default="medium")
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    exact, rows = found(options.size, options.heads, options.device, None), []
    print("| head | " + " | ".join(f"{way}: forces, gradient" for way in options.ways) + " |")
    print("|---" * (1 + len(options.ways)) + "|")
    every = {way: found(options.size, options.heads, options.device, way) for way in options.ways}
    for head, own in exact.items():
        errors = {way: [share(a, b) for a, b in zip(every[way][head], own)] for way in options.ways}
        print(f"| {head} | " + " | ".join(f"{force:.1e}, {gradient:.1e}" for force, gradient in errors.values()) + " |", flush=True)
        rows.append({"head": head, **errors})
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
