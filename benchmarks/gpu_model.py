"""A training step on paper: operators, bytes and FLOPs of each phase, counted on tensors without numbers, and what a GPU would need for them.

python benchmarks/gpu_model.py [--sizes small medium] [--cases 1x192 16x192] [--heads 1 29] [--json FILE]

Nothing is computed: tensors are fake (shapes alone). Bytes are those of inputs and outputs of every operator that is not a view, as PyTorch's own
operators move them; FLOPs are those of products (`torch.utils.flop_counter`). Three limits of a step are given for each GPU: launches at 5 us
each, traffic at the peak of its memory, products at the peak of FP32 outside tensor cores; the largest is the least that such a step can take.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from dpa2_step import frames_of
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

LAUNCH = 5e-6  # s
GPUS = {"A100": (2.0e12, 19.5e12), "H100": (3.35e12, 67e12), "H200": (4.8e12, 67e12)}  # bytes/s of memory, FP32 FLOP/s; data sheets, SXM
PHASES = ("energies", "forces", "gradient", "limit and step")
ROOM = (torch.ops.aten.empty, torch.ops.aten.empty_like, torch.ops.aten.new_empty, torch.ops.aten.empty_strided)
SKIPPED = (torch.ops.aten.detach, torch.ops.aten.lift_fresh, torch.ops.aten._unsafe_view, *ROOM)  # nothing is launched


class Count(TorchDispatchMode):
    """Operators, the bytes that they read and write, and the FLOPs of products."""

    def __init__(self) -> None:
        super().__init__()
        self.operators = self.bytes = self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func.namespace in ("aten", "lamtrain") and not func.is_view and func.overloadpacket not in SKIPPED:
            self.operators += 1
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in _tensors((args, kwargs, out)))
            if func.overloadpacket in flop_registry:
                self.flops += flop_registry[func.overloadpacket](*args, **kwargs, out_val=out)
        return out


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)


def fake(value: Any, mode: FakeTensorMode) -> Any:
    """The same without numbers."""
    if isinstance(value, torch.Tensor):
        return mode.from_tensor(value)
    if isinstance(value, tuple):
        return tuple(fake(item, mode) for item in value)
    if isinstance(value, dict):
        return {key: fake(item, mode) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{f.name: fake(getattr(value, f.name), mode) for f in dataclasses.fields(value)})
    return value


def without_numbers(model: torch.nn.Module, mode: FakeTensorMode) -> None:
    """Put fake tensors in place of the weights and buffers of a model."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            module._parameters[name] = torch.nn.Parameter(mode.from_tensor(parameter.detach()))
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = mode.from_tensor(buffer)


def count(size: str, case: str, heads: int, kernels: str) -> dict[str, Any]:
    """Phase -> operators, bytes and FLOPs of one step in float32, with as many atoms in a chunk as a GPU takes."""
    import numpy as np

    from lamtrain.data.batch import collate
    from lamtrain.model.config import ModelConfig
    from lamtrain.model.kernels.choose import tiled
    from lamtrain.model.lam import LamModel

    names = {f"head{k}": "energy_force" for k in range(heads)}
    config = getattr(ModelConfig, size)(["O", "H"], names).in_precision("float32")
    frames = frames_of(case)
    frames = frames.with_(head=(np.arange(len(frames)) % heads).astype(np.int32))
    model = LamModel(config).use_kernels(tiled() if kernels == "triton" else kernels)  # which needs neither a GPU nor triton here
    batch = collate(frames, config, dtype=torch.float32, chunk_atoms=model.chunk_atoms if kernels == "triton" else 4096)
    mode = FakeTensorMode()
    out: dict[str, Any] = {"atoms": len(frames.numbers), "phases": {}}
    without_numbers(model, mode)
    batch = fake(batch, mode)
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, fused=True)
    loss: list[torch.Tensor] = []

    def gradient() -> None:
        torch.autograd.backward(loss[0], inputs=parameters)

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(parameters, 5.0, foreach=True)
        optimizer.step()

    def energies() -> None:
        model(batch, forces=False, virial=False)

    def forces() -> None:
        output = model(batch, virial=False, create_graph=True)
        loss[:] = [output.energy.square().sum() + output.forces.square().sum()]

    with mode:
        for name, work in zip(PHASES, (energies, forces, gradient, update)):
            if name == "limit and step":  # the first makes the optimizer's state
                work()
            with Count() as seen:
                work()
            out["phases"][name] = {"operators": seen.operators, "bytes": seen.bytes, "flops": seen.flops}
    first, second = out["phases"]["energies"], out["phases"]["forces"]
    for key in first:
        second[key] -= first[key]  # the forces alone
    out["whole"] = {key: sum(phase[key] for phase in out["phases"].values()) for key in first}
    return out


def limits(whole: dict[str, float]) -> dict[str, dict[str, float]]:
    """GPU -> the three limits, s."""
    return {
        name: {"launches": whole["operators"] * LAUNCH, "traffic": whole["bytes"] / memory, "products": whole["flops"] / peak}
        for name, (memory, peak) in GPUS.items()
    }


def main() -> None:
    """Count, print tables as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["small", "medium"])
    parser.add_argument("--cases", nargs="+", default=["1x192", "16x192"])
    parser.add_argument("--heads", nargs="+", type=int, default=[1, 29])
    parser.add_argument("--kernels", default="plain")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    print("| model | frames x atoms | heads | operators | MB an atom | MFLOP an atom | FLOP a byte | " + " | ".join(GPUS) + " |")
    print("|---" * (7 + len(GPUS)) + "|")
    for size in options.sizes:
        for case in options.cases:
            for heads in options.heads:
                if heads > int(case.split("x")[0]) and heads != 1:
                    continue
                found = count(size, case, heads, options.kernels) | {"size": size, "case": case, "heads": heads}
                rows.append(found)
                whole, atoms = found["whole"], found["atoms"]
                bound = [max(of, key=lambda name, of=of: of[name]) for of in limits(whole).values()]
                cells = [f"{1000 * limits(whole)[gpu][name]:.1f} ms, {name}" for gpu, name in zip(GPUS, bound)]
                per_atom = (
                    f"{whole['bytes'] / atoms / 1e6:.1f} | {whole['flops'] / atoms / 1e6:.0f} | {whole['flops'] / whole['bytes']:.1f}"
                )
                print(f"| {size} | {case} | {heads} | {whole['operators']:,} | {per_atom} | {' | '.join(cells)} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
