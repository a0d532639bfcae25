"""A training step of DPA-2, here and in DeePMD-kit: same structures, same sizes, interleaved; prints the ratios.

    python benchmarks/dpa2_step.py --deepmd /path/to/python --json step.json

`--deepmd` is the interpreter of an environment with DeePMD-kit 3.2.0 (default: $LAM_DEEPMD_PYTHON). A step is neighbour lists,
energies, forces, the gradient of a loss on both, clipping and Adam. Each side lives in its own process, asked for one step at a
time in turn, so that a noisy machine disturbs both alike; with one thread the ratio is of CPU time, else of wall time. Memory is
the peak of the process above what it held before its first step (on a GPU, the peak of what torch allocated).
DeePMD-kit cannot hold frames of unlike size in one batch: there they go one after the other and their gradients are summed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

SIZES = ("small", "medium")
PRECISIONS = ("float64", "float32")
SIDES = {"deepmd": "DeePMD-kit --pt", "plain": "plain PyTorch", "cpp": "fused kernels"}


def structures(case: str) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Positions (Å), types (0 oxygen, 1 hydrogen) and cell (Å) of each frame: water at its density."""
    if case == "ragged":
        return [water(n, seed=n) for n in np.linspace(2, 33, 16).astype(int)]
    frames, molecules = {"1x192": (1, 64), "8x30": (8, 10), "8x192": (8, 64), "64x192": (64, 64)}[case]
    return [water(molecules, seed=k) for k in range(frames)]


def water(molecules: int, *, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Molecules near the points of a grid, turned at random, 29.9 Å^3 each."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(molecules ** (1 / 3)))
    length = (29.9 * molecules) ** (1 / 3)
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)[:molecules] * length / side
    shape = np.array([[0, 0, 0], [0.9572, 0, 0], [-0.2400, 0.9266, 0]])
    positions = [center + rng.normal(0, 0.15, 3) + shape @ np.linalg.qr(rng.normal(size=(3, 3)))[0] for center in grid]
    return np.concatenate(positions), np.tile([0, 1, 1], molecules), np.eye(3) * length


def our_step(size: str, precision: str, case: str, kernels: str, device: str) -> Callable[[], None]:
    """One step of this package as a function."""
    import torch

    from lamdata.frame import Frame
    from lamdata.frames import Frames
    from lamtrain.batch import collate
    from lamtrain.model.config import ModelConfig
    from lamtrain.model.lam import LamModel

    frames = Frames.from_list(
        [Frame(numbers=np.array([8, 1])[t].astype(np.uint8), positions=x, cell=c, pbc=(True,) * 3) for x, t, c in structures(case)]
    )
    model = LamModel(getattr(ModelConfig, size)(["O", "H"])).to(getattr(torch, precision)).to(device).train().use_kernels(kernels)
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=0.0, fused=True)
    atoms = {} if device == "cpu" else {"chunk_atoms": 4096}

    def step() -> None:
        batch = collate(frames, model.config, dtype=getattr(torch, precision), **atoms).to(device)
        optimizer.zero_grad(set_to_none=True)
        out = model(batch, virial=False)
        loss = 1e-6 * (out.energy**2).sum() + (out.forces**2).sum()
        loss.backward(inputs=parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        loss.item()

    return step


def deepmd_step(size: str, precision: str, case: str, examples: str) -> Callable[[], None]:
    """One step of DeePMD-kit's PyTorch backend as a function; `examples` holds its input_torch_*.json."""
    import deepmd.pt  # noqa: F401
    import torch
    from deepmd.pt.model.model import get_model
    from deepmd.pt.utils.env import DEVICE
    from deepmd.utils.argcheck import normalize

    model_params = json.loads((Path(examples) / f"input_torch_{size}.json").read_text())["model"]
    model_params["descriptor"]["precision"] = model_params["fitting_net"]["precision"] = precision
    rest = {"learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-8}, "loss": {}}
    training = {"numb_steps": 1, "training_data": {"systems": ["none"]}}
    model = get_model(normalize({"model": model_params, "training": training, **rest})["model"]).train()
    frames = structures(case)
    batches = [frames] if len({len(t) for _, t, _ in frames}) == 1 else [[frame] for frame in frames]
    tensors = [
        (
            torch.tensor(np.stack([x for x, _, _ in batch]), device=DEVICE),
            torch.tensor(np.stack([t for _, t, _ in batch]), device=DEVICE),
            torch.tensor(np.stack([c.ravel() for _, _, c in batch]), device=DEVICE),
        )
        for batch in batches
    ]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0, fused=DEVICE.type != "cpu")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        for coord, types, box in tensors:
            out = model(coord.detach().requires_grad_(True), types, box)
            loss = 1e-6 * (out["energy"] ** 2).sum() + (out["force"] ** 2).sum()
            loss.backward()
            loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()

    return step


def work(arguments: argparse.Namespace) -> None:
    """Serve steps: answer each line on stdin with the seconds of one step, as JSON."""
    import torch

    torch.set_num_threads(arguments.threads)
    side, size, precision, case = arguments.worker
    if side == "deepmd":
        step = deepmd_step(size, precision, case, arguments.examples)
    else:
        step = our_step(size, precision, case, side, arguments.device)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
        if arguments.device == "cuda":
            peak = torch.cuda.max_memory_allocated() / 2**30
        print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "gb": peak}), flush=True)


class Worker:
    """A process that does steps of one side when asked."""

    def __init__(self, interpreter: str, options: list[str], environment: dict[str, str]):
        self.process = subprocess.Popen(
            [interpreter, __file__, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._answer("ready")

    def step(self) -> dict[str, float]:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self._answer("{"))

    def _answer(self, start: str) -> str:
        for line in self.process.stdout:
            if line.startswith(start):
                return line
        raise RuntimeError(f"a worker ended with status {self.process.wait()}: {self.process.args}")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def compare(arguments: argparse.Namespace, size: str, precision: str, case: str) -> dict:
    """Medians of interleaved steps, as one entry of the report."""
    workers = {side: _start(arguments, side, size, precision, case) for side in arguments.sides}
    times = {side: [] for side in workers}
    for _ in range(arguments.repeats):
        for side, worker in workers.items():
            times[side].append(worker.step())
    for worker in workers.values():
        worker.close()
    clock = "cpu" if arguments.threads == 1 and arguments.device == "cpu" else "wall"
    seconds = {side: statistics.median(t[clock] for t in steps) for side, steps in times.items()}
    memory = {side: steps[-1]["gb"] for side, steps in times.items()}
    best = "cpp" if "cpp" in seconds else "plain"
    entry = {
        "name": f"{case} {size}",
        "precision": precision,
        "threads": arguments.threads,
        "clock": clock,
        "seconds": seconds,
        "gb": memory,
    }
    if "deepmd" in seconds:
        entry |= {"ratio_pt": seconds["deepmd"] / seconds[best], "ratio_pt_expt": None, "memory_ratio": memory["deepmd"] / memory[best]}
        entry["plain_ratio"] = seconds["deepmd"] / seconds["plain"] if "plain" in seconds else None
    return entry


def _start(arguments: argparse.Namespace, side: str, size: str, precision: str, case: str) -> Worker:
    interpreter = arguments.deepmd if side == "deepmd" else sys.executable
    options = ["--worker", side, size, precision, case, "--threads", str(arguments.threads), "--device", arguments.device]
    threads = str(arguments.threads)
    environment = os.environ | {
        "OMP_NUM_THREADS": threads,
        "DP_INTRA_OP_PARALLELISM_THREADS": threads,
        "DP_INTER_OP_PARALLELISM_THREADS": "1",
        "PYTHONPATH": "" if side == "deepmd" else str(Path(__file__).parents[1]),
        "DEVICE": "" if arguments.device == "cuda" else "cpu",
    }
    return Worker(interpreter, [*options, "--examples", arguments.examples], environment)


def report(entries: Iterator[dict]) -> list[dict]:
    """Print each entry as it comes; return them all."""
    cases = []
    for entry in entries:
        cases.append(entry)
        times = "  ".join(f"{SIDES[side]} {seconds:.3f} s {entry['gb'][side]:.2f} GB" for side, seconds in entry["seconds"].items())
        ratios = "  ".join(f"{key} {entry[key]:.2f}" for key in ("ratio_pt", "plain_ratio", "memory_ratio") if entry.get(key))
        print(f"{entry['name']:14s} {entry['precision']}  {times}  {ratios}", flush=True)
    return cases


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deepmd", default=os.environ.get("LAM_DEEPMD_PYTHON"), help="interpreter with DeePMD-kit 3.2.0")
    parser.add_argument("--examples", default="", help="folder with DeePMD-kit's input_torch_small.json and input_torch_medium.json")
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS)
    parser.add_argument("--cases", nargs="+", default=("1x192", "8x30", "ragged"))
    parser.add_argument("--sides", nargs="+", default=tuple(SIDES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    if arguments.worker:
        return work(arguments)
    if arguments.deepmd is None:
        arguments.sides = [side for side in arguments.sides if side != "deepmd"]
    wanted = [(size, precision, case) for size in arguments.sizes for precision in arguments.precisions for case in arguments.cases]
    cases = report(compare(arguments, *each) for each in wanted)
    if arguments.json:
        arguments.json.write_text(json.dumps({"cases": cases}, indent=1))


if __name__ == "__main__":
    main()
