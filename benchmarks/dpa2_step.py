"""A training step of DPA-2, here and in DeePMD-kit: same structures, same sizes, interleaved; prints the ratios.

    python benchmarks/dpa2_step.py --deepmd /path/to/python --json step.json

`--deepmd` is the interpreter of an environment with DeePMD-kit 3.2.0 (default: $LAM_DEEPMD_PYTHON). Both get the model that
`ModelConfig.small` or `medium` stands for: its examples/water/dpa2/input_torch_{small,medium}.json. A step is neighbour lists,
energies, forces, the gradient of a loss on both, clipping and Adam. Each side lives in its own process, asked for one step at a
time in turn, so that a noisy machine disturbs both alike; with one thread the ratio is of CPU time, else of wall time. Memory is
the peak of the process above what it held before its first step (on a GPU, the peak of what torch allocated).

`pt` is `dp --pt train`; `pt_expt` is `dp --pt-expt train` with `enable_compile`, which compiles for minutes in the step before
the first one measured, and whose memory is therefore not compared. DeePMD-kit cannot hold frames of unlike size in one batch of a model with a
three-body block unless they are padded to the largest: its time for the ragged case is the sum over the 16 frames, one after the
other, their gradients summed (padded to the largest, 16 frames would have twice the atoms). Ours takes as many frames at a time as have
220 atoms, on a GPU all (`--at-once`, as `batch.at_once` of a training). `memory_ratio` is that of `pt` and of our fastest; `plain_ratio` is
the faster of DeePMD-kit's paths against ours without compiled operators. LAM_KERNELS_FOR=baseline takes the operators of another kind of
processor (lamtrain/model/kernels/native.py), ATEN_CPU_CAPABILITY=avx2 and DNNL_MAX_CPU_ISA=AVX2 keep PyTorch from wider vectors.

`--remaining` counts and names, instead, what a step leaves to PyTorch: products, elementwise passes and the rest, with their share of its time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from processor import processor

if TYPE_CHECKING:
    from lamdata.frames import Frames  # not where DeePMD-kit is installed

SIZES = ("small", "medium")
PRECISIONS = ("float64", "float32")
THEIRS = ("pt", "pt_expt")
OURS = ("plain", "closed", "cpp", "triton")
CASES = ("1x192", "8x30", "ragged")
GPU_CASES = ("4x192", "16x192", "64x192")
AT_ONCE = 220  # atoms
SCALING = (99, 300, 999, 3000, 9999)  # atoms
RATIOS = ("ratio_pt", "ratio_pt_expt", "plain_ratio", "memory_ratio")


def structures(case: str) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Positions (Å), types (0 oxygen, 1 hydrogen) and cell (Å) of each frame: water at its density. `case` is FRAMESxATOMS or ragged."""
    if case == "ragged":
        return [water(n, seed=n) for n in np.linspace(2, 33, 16).astype(int)]
    frames, atoms = map(int, case.split("x"))
    return [water(atoms // 3, seed=k) for k in range(frames)]


def water(molecules: int, *, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Molecules near the points of a grid, turned at random, 29.9 Å^3 each."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(molecules ** (1 / 3)))
    length = (29.9 * molecules) ** (1 / 3)
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)[:molecules] * length / side
    shape = np.array([[0, 0, 0], [0.9572, 0, 0], [-0.2400, 0.9266, 0]])
    positions = [center + rng.normal(0, 0.15, 3) + shape @ np.linalg.qr(rng.normal(size=(3, 3)))[0] for center in grid]
    return np.concatenate(positions), np.tile([0, 1, 1], molecules), np.eye(3) * length


def frames_of(case: str) -> Frames:
    """The structures of a case as this package takes them."""
    from lamdata.frame import Frame
    from lamdata.frames import Frames

    return Frames.from_list(
        [Frame(numbers=np.array([8, 1])[t].astype(np.uint8), positions=x, cell=c, pbc=(True,) * 3) for x, t, c in structures(case)]
    )


def our_step(size: str, precision: str, case: str, kernels: str, device: str, at_once: int = 0) -> Callable[[], None]:
    """One step of this package as a function; with `kernels` as forces-NAME only neighbour lists, energy and forces."""
    import torch

    from lamdata.store.batching import cut_batches
    from lamtrain.data.batch import Batch, collate
    from lamtrain.model.config import ModelConfig
    from lamtrain.model.lam import LamModel

    torch.set_flush_denormal(True)  # as lamtrain.training.trainer does
    frames = frames_of(case)
    forces_only, kernels = kernels.startswith("forces-"), kernels.removeprefix("forces-")
    model = LamModel(getattr(ModelConfig, size)(["O", "H"])).to(getattr(torch, precision)).to(device).use_kernels(kernels)
    model.train(not forces_only)
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=0.0, fused=True)

    def batches() -> Iterator[Batch]:
        for part in cut_batches(frames, batch_atoms=at_once) if at_once else [frames]:
            yield collate(part, model.config, dtype=getattr(torch, precision), chunk_atoms=model.chunk_atoms).to(device)

    def forces() -> None:
        with torch.no_grad():
            for batch in batches():
                model(batch, virial=False)

    def add_gradients(batch: Batch) -> torch.Tensor:
        out = model(batch, virial=False)
        loss = 1e-6 * (out.energy**2).sum() + (out.forces**2).sum()
        loss.backward(inputs=parameters)
        return loss.detach()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = sum(map(add_gradients, batches()))
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        loss.item()

    return forces if forces_only else step


def deepmd_step(model_params: dict, case: str, *, compiled: bool) -> Callable[[], None]:
    """One step of DeePMD-kit as a function: of `--pt`, or of `--pt-expt` with `enable_compile` (its own wrapper around inductor)."""
    import torch
    from deepmd.utils.argcheck import normalize

    training = {"numb_steps": 1, "training_data": {"systems": ["none"]}}
    rest = {"learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-8}, "loss": {}}
    params = normalize({"model": model_params, "training": training, **rest})["model"]
    model, weights = _compiled_deepmd(params) if compiled else _plain_deepmd(params)
    device = weights[0].device
    frames = structures(case)
    batches = [frames] if len({len(t) for _, t, _ in frames}) == 1 else [[frame] for frame in frames]
    tensors = [[torch.tensor(np.stack([frame[k] for frame in batch]), device=device) for k in range(3)] for batch in batches]
    optimizer = torch.optim.Adam(weights, lr=0.0, fused=device.type != "cpu")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        for positions, types, cell in tensors:
            out = model(positions.detach().requires_grad_(True), types, cell.flatten(1))
            loss = 1e-6 * (out["energy"] ** 2).sum() + (out["force"] ** 2).sum()
            loss.backward()
            loss.item()
        torch.nn.utils.clip_grad_norm_(weights, 5.0)
        optimizer.step()

    return step


def _plain_deepmd(params: dict) -> tuple[Callable, list]:
    import deepmd.pt  # noqa: F401
    from deepmd.pt.model.model import get_model
    from deepmd.pt.utils.env import DEVICE

    model = get_model(params).to(DEVICE).train()
    return model, list(model.parameters())


def _compiled_deepmd(params: dict) -> tuple[Callable, list]:
    """As `Trainer._compile_model` of deepmd/pt_expt/train/training.py does for one task."""
    import deepmd.pt_expt  # noqa: F401
    from deepmd.pt_expt.model.get_model import get_model
    from deepmd.pt_expt.train.training import _CompiledModel, _detect_task_buffers, _get_model_structure_key

    model = get_model(params).train()
    buffers = _detect_task_buffers(model, [model])
    key, order = _get_model_structure_key(model), tuple(buffers or ())
    compiled = _CompiledModel(model, structure_key=key, task_buf_order=order, task_buffers=buffers or None, compile_opts={}).train()
    return compiled, list(model.parameters())


def work(arguments: argparse.Namespace) -> None:
    """Serve steps: answer each line on stdin with the seconds of one step, as JSON."""
    import torch

    torch.set_num_threads(arguments.threads)
    side, size, precision, case = arguments.worker
    if side in THEIRS:
        step = deepmd_step(json.loads(arguments.model), case, compiled=side == "pt_expt")
    else:
        step = our_step(size, precision, case, side, arguments.device, arguments.at_once)
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
    """A process that does steps of one side when asked. Raises RuntimeError with its last line of complaint if it ends."""

    def __init__(self, interpreter: str, options: list[str], environment: dict[str, str]):
        self.complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115  lives as long as the process
        self.process = subprocess.Popen(
            [interpreter, __file__, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
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
        self.complaints.seek(0)
        last = (self.complaints.read().strip().splitlines() or ["nothing said"])[-1]
        raise RuntimeError(f"ended with status {self.process.wait()}: {last}")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def compare(arguments: argparse.Namespace, size: str, precision: str, case: str) -> dict:
    """Medians of interleaved steps, as one entry of the report."""
    workers, missing = {}, {}
    for side in arguments.sides:
        try:
            workers[side] = _start(arguments, side, size, precision, case)
        except RuntimeError as err:
            missing[side] = str(err)
    steps = {side: [] for side in workers}
    for _ in range(arguments.repeats):
        for side, worker in workers.items():
            steps[side].append(worker.step())
    for worker in workers.values():
        worker.close()
    clock = "cpu" if arguments.threads == 1 and arguments.device == "cpu" else "wall"
    seconds = {side: statistics.median(each[clock] for each in taken) for side, taken in steps.items()}
    memory = {side: taken[-1]["gb"] for side, taken in steps.items()}
    ratios = _ratios(seconds, memory) if any(side in seconds for side in THEIRS) else {}
    about = {"name": f"{case} {size}", "precision": precision, "threads": arguments.threads, "clock": clock, "at_once": arguments.at_once}
    return {**about, "seconds": seconds, "gb": memory, "missing": missing, **ratios}


def _ratios(seconds: dict[str, float], memory: dict[str, float]) -> dict[str, float | None]:
    best = min((side for side in OURS if side in seconds), key=seconds.get)
    plain = min((seconds[side] for side in ("plain", "closed") if side in seconds), default=None)
    fastest = min(seconds[side] for side in THEIRS if side in seconds)
    return {
        "ratio_pt": seconds["pt"] / seconds[best] if "pt" in seconds else None,
        "ratio_pt_expt": seconds["pt_expt"] / seconds[best] if "pt_expt" in seconds else None,
        "memory_ratio": memory["pt"] / memory[best] if "pt" in memory else None,
        "plain_ratio": fastest / plain if plain else None,
    }


def _start(arguments: argparse.Namespace, side: str, size: str, precision: str, case: str) -> Worker:
    threads = str(arguments.threads)
    options = ["--worker", side, size, precision, case, "--threads", threads]
    options += ["--device", arguments.device, "--at-once", str(arguments.at_once)]
    environment = os.environ | {"OMP_NUM_THREADS": threads, "DEVICE": "" if arguments.device == "cuda" else "cpu"}
    if side not in THEIRS:
        return Worker(sys.executable, options, environment | {"PYTHONPATH": str(Path(__file__).parents[1])})
    environment |= {"DP_INTRA_OP_PARALLELISM_THREADS": threads, "DP_INTER_OP_PARALLELISM_THREADS": "1", "PYTHONPATH": ""}
    return Worker(arguments.deepmd, [*options, "--model", json.dumps(deepmd_params(size, precision))], environment)


def deepmd_params(size: str, precision: str) -> dict:
    """The `model` section of DeePMD-kit's input.json for one of our sizes."""
    from lamtrain.deepmd.options import params_of
    from lamtrain.model.config import ModelConfig

    params = params_of(getattr(ModelConfig, size)(["O", "H"]))
    params["descriptor"]["precision"] = params["fitting_net"]["precision"] = precision
    return params


def report(entries: Iterator[dict]) -> list[dict]:
    """Print each entry as it comes; return them all."""
    cases = []
    for entry in entries:
        cases.append(entry)
        times = "  ".join(f"{side} {seconds:.3f} s {entry['gb'][side]:.2f} GB" for side, seconds in entry["seconds"].items())
        ratios = "  ".join(f"{key} {entry[key]:.2f}" for key in RATIOS if entry.get(key))
        reasons = "  ".join(f"no {side}: {why}" for side, why in entry["missing"].items())
        print(f"{entry['name']:14s} {entry['precision']}  {times}  {ratios}  {reasons}".rstrip(), flush=True)
    return cases


PRODUCTS = {"mm", "bmm", "addmm", "baddbmm", "dot"}
WITHOUT_WORK = set(
    "empty empty_like new_empty empty_strided new_empty_strided detach alias item is_nonzero lift_fresh _local_scalar_dense view t transpose as_strided "
    "unsqueeze squeeze expand expand_as slice select split split_with_sizes narrow reshape permute flatten unflatten _reshape_alias _unsafe_view "
    "to contiguous linear matmul zeros zeros_like new_zeros ones_like result_type resolve_conj resolve_neg set_ unbind".split()
)
COPIES = {"copy_", "cat", "fill_", "zero_", "clone", "index", "index_select", "_to_copy", "stack"}


def remaining(arguments: argparse.Namespace) -> list[dict]:
    """What our last side of --sides leaves to PyTorch in a step, by operator: kind, calls, share of the time of PyTorch's operators."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    torch.set_num_threads(arguments.threads)
    entries = []
    for size, precision, case in _wanted(arguments):
        step = our_step(size, precision, case, arguments.sides[-1], "cpu", arguments.at_once)
        step()
        with profile(activities=[ProfilerActivity.CPU]) as taken:
            step()
        events = [event for event in taken.key_averages() if event.self_cpu_time_total > 0]
        whole = sum(event.self_cpu_time_total for event in events)
        left = [event for event in events if event.key.startswith("aten::") and event.key[6:] not in WITHOUT_WORK]
        rows = [{"name": e.key[6:], "kind": _kind(e.key[6:]), "calls": e.count, "share": e.self_cpu_time_total / whole} for e in left]
        rows.sort(key=lambda row: -row["share"])
        entries.append({"name": f"{case} {size}", "precision": precision, "operators": rows})
        print(f"{case} {size} {precision}: {sum(row['share'] for row in rows):.0%} of the step in PyTorch's own operators")
        for kind in ("product", "pass", "copy"):
            of = [row for row in rows if row["kind"] == kind]
            named = ", ".join(f"{row['name']} {row['calls']}" for row in of if row["share"] > 0.001)
            print(f"  {kind:8s} {sum(row['calls'] for row in of):5d} calls {sum(row['share'] for row in of):5.1%}  {named}", flush=True)
    return entries


def _kind(name: str) -> str:
    if name in PRODUCTS:
        return "product"
    return "copy" if name in COPIES else "pass"


def _wanted(arguments: argparse.Namespace) -> list[tuple[str, str, str]]:
    return [(size, precision, case) for size in arguments.sizes for precision in arguments.precisions for case in arguments.cases]


def scaling(arguments: argparse.Namespace) -> list[dict]:
    """Time and memory for each atom of one frame of growing size, for forces alone and for a training step; print and return them."""
    kernels, rows = arguments.sides[-1], []
    print(f"{'atoms':>6s}  {'forces us/atom':>14s} {'kB/atom':>8s}  {'step us/atom':>14s} {'kB/atom':>8s}")
    for atoms in SCALING:
        row = {"atoms": atoms}
        for name, side in (("forces", f"forces-{kernels}"), ("step", kernels)):
            worker = _start(arguments, side, arguments.sizes[0], arguments.precisions[0], f"1x{atoms}")
            steps = [worker.step() for _ in range(arguments.repeats)]
            worker.close()
            seconds = statistics.median(step["cpu" if arguments.threads == 1 else "wall"] for step in steps)
            row |= {f"{name}_us_per_atom": seconds / atoms * 1e6, f"{name}_kb_per_atom": steps[-1]["gb"] / atoms * 2**20}
        rows.append(row)
        print("{:6d}  {:14.0f} {:8.0f}  {:14.0f} {:8.0f}".format(*row.values()), flush=True)
    return rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deepmd", default=os.environ.get("LAM_DEEPMD_PYTHON"), help="interpreter with DeePMD-kit 3.2.0")
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS)
    parser.add_argument("--cases", nargs="+", help="FRAMESxATOMS or ragged (default: 1x192 8x30 ragged, on a GPU up to 64x192)")
    parser.add_argument("--sides", nargs="+", default=(*THEIRS, *OURS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--scaling", action="store_true", help="our cost per atom from 100 to 10,000 atoms, of the last of --sides, instead"
    )
    parser.add_argument("--remaining", action="store_true", help="what a step of the last of --sides leaves to PyTorch, instead")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--at-once", type=int, help=f"atoms that our side holds at once; 0 for all (default: {AT_ONCE}, on a GPU 0)")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cuda = arguments.device == "cuda"
    arguments.cases = arguments.cases or [*CASES, *(GPU_CASES if cuda else ())]
    arguments.at_once = (0 if cuda else AT_ONCE) if arguments.at_once is None else arguments.at_once
    return arguments


def main() -> None:
    arguments = parse()
    if arguments.worker:
        return work(arguments)
    if arguments.deepmd is None:
        arguments.sides = [side for side in arguments.sides if side in OURS]
    if arguments.device == "cpu":
        arguments.sides = [side for side in arguments.sides if side != "triton"]
    print(processor(), flush=True)
    if arguments.scaling:
        document = {"scaling": scaling(arguments)}
    elif arguments.remaining:
        document = {"remaining": remaining(arguments)}
    else:
        document = {"cases": report(compare(arguments, *each) for each in _wanted(arguments))}
    if arguments.json:
        arguments.json.write_text(json.dumps({"processor": processor(), **document}, indent=1))


if __name__ == "__main__":
    main()
