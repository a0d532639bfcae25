"""What rounded factors of products cost a trained model, by head: forces and energies against float64, on a machine without units for them.

python benchmarks/rounded_products.py MODEL MIXTURE STORE [--frames 8] [--json FILE]

Every product of matrices that PyTorch's own operators make, those of derivatives included, has its factors rounded before it and its sums in float32, as
tensor cores take them: `tf32` keeps 10 bits of the mantissa and rounds as `cvt.rna.tf32.f32` does, `bf16` keeps 7, `tf32x3` is the sum of
three products of TF32, of a factor's rounding and of what it left out. The triton kernels make sums over neighbours and of three-body terms without
products of matrices, so they round less often than this does. The order of sums, and tensor cores' own accumulation, are not emulated. Frames are held-out ones.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
WAYS = ("float32", "tf32x3", "tf32", "bf16")


def tf32(x: Tensor) -> Tensor:
    """To ten bits of mantissa, halves away from zero."""
    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def bf16(x: Tensor) -> Tensor:
    """To seven bits of mantissa."""
    return x.bfloat16().float()


def three(product: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """As Triton makes it: the small parts first."""
    large_a, large_b = tf32(a), tf32(b)
    return product(tf32(a - large_a), large_b) + product(large_a, tf32(b - large_b)) + product(large_a, large_b)


class Rounded(TorchDispatchMode):
    """Round the factors of every product; counts them."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.products = way, 0

    def product(self, call: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
        self.products += 1
        if self.way == "tf32x3":
            return three(call, a, b)
        rounded = {"tf32": tf32, "bf16": bf16}[self.way]
        return call(rounded(a), rounded(b))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (aten.mm.default, aten.bmm.default):
            return self.product(func, *args)
        if func in (aten.addmm.default, aten.baddbmm.default):
            plain = aten.mm.default if func is aten.addmm.default else aten.bmm.default
            return kwargs.get("beta", 1) * args[0] + kwargs.get("alpha", 1) * self.product(plain, *args[1:3])
        return func(*args, **kwargs)


def outputs(model: Any, frames: Any, way: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Energies and forces, eV and eV/Å; `way` None is float64."""
    from lamtrain.data.batch import collate

    dtype = torch.float64 if way is None else torch.float32
    batch = collate(frames, model.config, dtype=dtype, chunk_atoms=1 << 30)
    with nullcontext() if way in (None, "float32") else Rounded(way) as mode:
        out = model(batch, virial=False)
    assert mode is None or mode.products
    return out.energy.detach().double().numpy(), out.forces.detach().double().numpy()


def main() -> None:
    """Compare, print a table as Markdown."""
    from lamtrain import checkpoint
    from lamtrain.data.mixture import open_training_data

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("mixture", type=Path)
    parser.add_argument("store")
    parser.add_argument("--frames", type=int, default=8, help="held-out ones of each head")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    saved, data = checkpoint.load(options.model), open_training_data(options.mixture, options.store)
    exact, single = (saved.build(precision=precision).eval().use_kernels("plain") for precision in ("float64", "float32"))
    rows = []
    print("| head | RMS force, of the model's error | " + " | ".join(f"{way}: forces, energy" for way in WAYS) + " |")
    print("|---" * (2 + len(WAYS)) + "|")
    for index, head in enumerate(single.config.heads):
        if single.config.heads[head] != "energy_force":
            continue
        held = data.of_head(head)[0].test
        frames = held.frames(0, min(options.frames, len(held)))
        frames = frames.with_(head=np.full(len(frames), index, np.int32))
        energy, forces = outputs(exact, frames, None)
        row: dict[str, Any] = {"head": head, "frames": len(frames), "force": rms(forces), "model": rms(forces - frames.forces)}
        for way in WAYS:
            e, f = outputs(single, frames, way)
            row[way] = {"forces": rms(f - forces), "energy": rms((e - energy) / frames.natoms)}
        rows.append(row)
        cells = [f"{1000 * row[way]['forces']:.2g}, {1000 * row[way]['energy']:.2g}" for way in WAYS]
        print(f"| {head} | {1000 * row['force']:.0f}, {1000 * row['model']:.0f} | {' | '.join(cells)} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def rms(x: Any) -> float:
    """The root of the mean square."""
    return float(np.sqrt(np.square(x).mean()))


if __name__ == "__main__":
    main()
