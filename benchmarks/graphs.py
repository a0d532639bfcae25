"""Steps that are recorded and replayed beside the same done one by one: equal weights, and how much faster.

python benchmarks/graphs.py [--device cuda] [--size small] [--kernels plain triton] [--cases 1 4 16] [--steps 40] [--json FILE]

A case is a number of frames a step, of 2 to 64 molecules of water, from a store that is written first. Each is done three times from the same weights: as
a run without `graphs` does it (`steps`), with padded batches and the rate on the device (`padded`), and recorded (`graphs`). Ratios are of the medians over
steps of a shape that was recorded. Ends with 1 where the weights after padded and recorded steps differ in any bit. On a CPU the operators of a
step are replayed from a tape, as the tests do it: that shows that this file runs, and nothing of speed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from end_to_end import write_store
from processor import processor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

FRAMES = 60  # in the store
ROUNDS = 4  # over the same batches
WAYS = ("steps", "padded", "graphs")


def state_of(folder: Path, options: argparse.Namespace, kernels: str, frames: int) -> Any:
    """A run before its first step."""
    from lamtrain.config import TrainConfig
    from lamtrain.data.mixture import open_training_data
    from lamtrain.training.ranks import Ranks
    from lamtrain.training.start import start_run

    values = {
        "train": "graphs", "mixture": str(folder / "mixture.yaml"), "store": str(folder / "water.zarr"), "model": {"size": options.size},
        "steps": 1000, "batch": {"frames": frames}, "kernels": kernels, "learning_rate": {"start": 1e-3, "stop": 1e-5, "decay_steps": 3},
    }  # fmt: skip
    config = TrainConfig.model_validate(values)
    data = open_training_data(config.mixture, config.store)
    return start_run(config, data, folder, resume="never", stream={}, ranks=Ranks(options.device), quiet=True)


def batches_of(state: Any, steps: int, *, padded: bool) -> list[Any]:
    """What the stream gives, on the device, `ROUNDS` times, so that each shape is replayed."""
    from lamtrain.data.batch import collate

    model, count = state.model, state.config.batch.frames
    with state.data.stream(seed=1, batch_frames=count, batch_atoms=None) as stream:
        frames = [state.data.with_model_heads(some) for some, _ in zip(stream, range(-(-steps // ROUNDS)))]
    options = {"dtype": state.dtype, "chunk_atoms": model.chunk_atoms, "padded": padded}
    return [collate(some, model.config, **options).to(state.device) for some in frames] * ROUNDS


def stepper(state: Any, way: str, device: str) -> Callable[[Sequence[Any], int], Any]:
    """(parts, frames) -> a step."""
    from lamtrain.training.graphs import CudaRecorder, Graphs
    from lamtrain.training.ranks import Ranks
    from lamtrain.training.step import train_step

    if way == "steps":
        ranks = Ranks(device)
        return lambda parts, frames: train_step(state, parts, frames=frames, ranks=ranks)
    if state.device.type == "cuda":
        recorder: Any = CudaRecorder(state.device)
    else:
        from tests.lamtrain.training.tape import TapeRecorder

        recorder = TapeRecorder()
    graphs = Graphs(state, recorder)
    if way == "padded":
        graphs._seen = Never()
    return lambda parts, frames: graphs.step(parts, frames=frames)


class Never(set):
    """A set of shapes to which each is new."""

    def __contains__(self, shape: object) -> bool:
        return False


def seconds_of(state: Any, way: str, batches: list[Any], device: str) -> list[float]:
    """Of each step; the device has done it when the clock stops."""
    step, found = stepper(state, way, device), []
    for batch in batches:
        begin = time.perf_counter()
        step([batch], state.config.batch.frames)
        if state.device.type == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - begin)
        state.step += 1
    return found


def measure(folder: Path, options: argparse.Namespace, kernels: str, frames: int) -> dict[str, Any]:
    """One case."""
    from lamtrain.training.trainer import arithmetic

    weights, seconds, peaks, seen = {}, {}, {}, []
    with arithmetic():
        for way in WAYS:
            state = state_of(folder, options, kernels, frames)
            batches = batches_of(state, options.steps, padded=way != "steps")
            if state.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            seconds[way] = seconds_of(state, way, batches, options.device)
            if way == "graphs":
                seen = [batch.shape for batch in batches]
            weights[way] = torch.cat([parameter.detach().double().flatten().cpu() for parameter in state.model.parameters()])
            peaks[way] = torch.cuda.max_memory_allocated() if state.device.type == "cuda" else 0
    again = [k for k, shape in enumerate(seen) if seen[:k].count(shape) > 1]  # neither the first of a shape nor the one that was recorded
    medians = {way: statistics.median([found[k] for k in again] or found) for way, found in seconds.items()}
    return {
        "kernels": kernels, "frames": frames, "shapes": len(set(seen)), "replayed": len(again), "steps": len(seen),
        "ratio": medians["steps"] / medians["graphs"], "ratio_padded": medians["padded"] / medians["graphs"], "seconds": medians,
        "apart": float((weights["graphs"] - weights["padded"]).abs().max()), "apart_plain": float((weights["graphs"] - weights["steps"]).abs().max()),
        "memory": peaks["graphs"] / peaks["steps"] if peaks["steps"] else None,
    }  # fmt: skip


def main() -> int:
    """Measure, print, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", default="small")
    parser.add_argument("--kernels", nargs="+", default=["plain", "triton"])
    parser.add_argument("--cases", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        write_store(Path(temporary), 1, FRAMES)
        print(
            f"{processor()}, {options.device}, {options.size}: graphs beside steps, beside padded steps, memory; weights apart from padded, from plain"
        )
        for kernels in options.kernels:
            for frames in options.cases:
                row = measure(Path(temporary), options, kernels, frames)
                rows.append(row)
                memory = "-" if row["memory"] is None else f"{row['memory']:.2f}"
                print(
                    f"{kernels}, {frames} frames: {row['ratio']:.2f}, {row['ratio_padded']:.2f}, {memory}; {row['apart']:.1e}, {row['apart_plain']:.1e} "
                    f"({row['shapes']} shapes, {row['replayed']} of {row['steps']} steps replayed)",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return int(any(row["apart"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
