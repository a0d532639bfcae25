"""The same 100 steps on the CPU and on a GPU, in float64 and in float32: how far losses and weights are apart.

python benchmarks/gpu_same.py [--device cuda] [--steps 100]

Energy/force and denoise heads, three of each, on random structures; ends with 1 where float64 is apart by more than rounding makes of it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def losses(precision: str, device: str, steps: int) -> list[float]:
    """Of each step of Adam, from the same weights."""
    from lamtrain.config import LossSpec
    from lamtrain.data.batch import collate
    from lamtrain.model.config import ModelConfig
    from lamtrain.model.lam import LamModel
    from lamtrain.recipe import LearningRateSpec
    from lamtrain.tasks import kinds_of
    from lamtrain.training.loss import frame_losses, total_loss
    from lamtrain.training.schedule import Schedule
    from tests.lamtrain.model.test_grouped import HEADS, SIZES, frames_of

    config = ModelConfig.tiny(["H", "C", "O"], HEADS).in_precision(precision)
    torch.manual_seed(1)
    model, frames = LamModel(config).to(device), frames_of(SIZES)
    batch = collate(frames, config, dtype=getattr(torch, precision), chunk_atoms=model.chunk_atoms).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    kinds, schedule, told = list(kinds_of(HEADS).values()), Schedule(LearningRateSpec(), steps), []
    for step in range(steps):
        optimizer.zero_grad()
        output = model(batch, virial=False, create_graph=True)
        loss = total_loss(frame_losses(kinds, output, batch), LossSpec(), schedule, step, frames=len(frames), kinds=kinds)
        loss.backward(inputs=list(model.parameters()))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0, foreach=True)
        optimizer.step()
        told.append(loss.detach())
    return torch.stack(told).tolist()


def main() -> int:
    """Compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    exact = losses("float64", "cpu", options.steps)
    worst = {}
    for precision, device in (("float64", options.device), ("float32", "cpu"), ("float32", options.device)):
        found = losses(precision, device, options.steps)
        worst[precision, device] = max(abs(a / b - 1.0) for a, b in zip(found, exact))
        print(
            f"{precision} on {device}: losses of {options.steps} steps within {worst[precision, device]:.1e} of float64 on the CPU",
            flush=True,
        )
    return 0 if worst["float64", options.device] < 1e-8 else 1


if __name__ == "__main__":
    sys.exit(main())
