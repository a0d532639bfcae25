"""What a model loses, and a step gains, when factors of float32 products are rounded: errors against float64, and the ratio of times.

    python benchmarks/products.py [--size medium] [--device cuda]

Energies and forces of 192 atoms of water from one set of random weights. The time is that of energies and forces, interleaved.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from dpa2_step import frames_of
from processor import processor

from lamdata.errors import SetupError
from lamtrain.data.batch import collate
from lamtrain.model.config import ModelConfig
from lamtrain.model.lam import LamModel
from lamtrain.training.products import set_products


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("small", "medium"), default="medium")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(1)
    frames = frames_of("1x192")
    torch.manual_seed(1)
    model = LamModel(getattr(ModelConfig, arguments.size)(["O", "H"])).double().eval().to(device)
    exact = model(collate(frames, model.config, dtype=torch.float64).to(device))
    model, batch = model.float(), collate(frames, model.config, dtype=torch.float32).to(device)
    kinds = [kind for kind in ("ieee", "tf32", "bf16") if available(kind, device)]
    outputs, seconds = {}, {kind: [] for kind in kinds}
    for _ in range(arguments.repeats):
        for kind in kinds:
            set_products(kind, device)
            start = time.perf_counter()
            outputs[kind] = model(batch)
            outputs[kind].forces.sum().item()
            seconds[kind].append(time.perf_counter() - start)
    print(f"{arguments.size}, {torch.cuda.get_device_name(device) if device.type == 'cuda' else f'{processor()}, one thread'}")
    for kind in kinds:
        energy = (outputs[kind].energy - exact.energy).abs().item() / len(frames.numbers)
        force = ((outputs[kind].forces - exact.forces).norm() / exact.forces.norm()).item()
        ratio = statistics.median(seconds["ieee"]) / statistics.median(seconds[kind])
        print(f"{kind:5}  energy {energy:.1e} eV/atom  forces {force:.1e} of their norm  speed {ratio:.2f}")


def available(kind: str, device: torch.device) -> bool:
    try:
        set_products(kind, device)
    except SetupError:
        return False
    return True


if __name__ == "__main__":
    main()
