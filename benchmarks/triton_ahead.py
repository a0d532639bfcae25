"""The triton kernels compiled ahead for GPUs that are not here: registers, spills and shared memory of each, as NVIDIA's tools count them.

python benchmarks/triton_ahead.py [--targets 80 90] [--precisions tf32 tf32x3] [--only pairs_reverse ...] [--data FILE] [--check]

Which kernels, with which constants, is what training steps launch, counted on tensors without numbers: `small` and `medium` (whose kernels are those of
`large`), of water, and of all elements with full lists of neighbours. What is found is kept in the data under the kernel's fingerprint, so that nothing is
compiled twice while its code, constants and warps are the same; what no step launches any more is left out. Needs triton and no GPU. With `--check`
nothing is compiled. Prints the table of `docs/gpu.md`, and exits with 1 where a kernel spills registers to memory, takes more shared memory than
there is, or was not compiled.
"""

from __future__ import annotations

import argparse
import ast
import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

FOUND = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)")
TYPES = {"torch.float32": "*fp32", "torch.int64": "*i64"}
SHARED = {80: 163 << 10, 90: 227 << 10}
"""Bytes that a program may take (CUDA C++ programming guide, compute capabilities)."""
DATA = Path(__file__).with_suffix(".json")
SOURCE = Path(__file__).resolve().parent.parent / "lamtrain/model/kernels/tiled/source"
SIZES = ("medium", "small")
CASES = ("1x192", "full")


def launched(precisions: list[str]) -> list[tuple[str, Any]]:
    """(precision, plan) of every kernel that a step launches, in the order of a step; it is any precision where a kernel has no products."""
    import torch

    from lamtrain.model.kernels.tiled.launch import PLANS

    found: dict[Any, str] = {}
    for precision in precisions:
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        for size in SIZES:
            for case in CASES:
                step(size, case)
        for plan in PLANS:
            found.setdefault(plan, precision if "PRECISION" in dict(plan.constants) else "any")
    return [(precision, plan) for plan, precision in found.items()]


def step(size: str, case: str) -> None:
    """Energies, forces and the gradient of a loss on both, on tensors without numbers; of two layers, as more launch nothing else."""
    import numpy as np
    import torch
    from dpa2_step import frames_of
    from gpu_model import fake, without_numbers
    from torch._subclasses.fake_tensor import FakeTensorMode

    from lamdata.frame import Frame
    from lamdata.frames import Frames
    from lamtrain.data.batch import collate
    from lamtrain.model.config import ModelConfig
    from lamtrain.model.elements import SYMBOLS
    from lamtrain.model.kernels.choose import tiled
    from lamtrain.model.lam import LamModel

    config = getattr(ModelConfig, size)(list(SYMBOLS) if case == "full" else ["O", "H"]).in_precision("float32")
    two = config.descriptor.repformer.model_copy(update={"nlayers": 2})
    config = config.model_copy(update={"descriptor": config.descriptor.model_copy(update={"repformer": two})})
    if case == "full":
        grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
        frames = Frames.from_list([Frame(numbers=np.full(27, 13, np.uint8), positions=1.5 * grid, cell=4.5 * np.eye(3), pbc=(True,) * 3)])
    else:
        frames = frames_of(case)
    model, mode = LamModel(config).use_kernels(tiled()), FakeTensorMode()
    batch = fake(collate(frames, config, dtype=torch.float32, chunk_atoms=model.chunk_atoms), mode)
    without_numbers(model, mode)
    with mode:
        out = model(batch, virial=False, create_graph=True)
        torch.autograd.backward(out.energy.sum() + out.forces.square().sum(), inputs=list(model.parameters()))


@functools.cache
def functions(file: str) -> dict[str, tuple[str, ast.FunctionDef]]:
    """Name -> where it is defined, and its tree without what it is documented with; of a file of kernels and what it imports of the others."""
    out: dict[str, tuple[str, ast.FunctionDef]] = {}
    for node in ast.parse((SOURCE / f"{file}.py").read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.module is not None
            out |= {alias.asname or alias.name: functions(node.module)[alias.name] for alias in node.names}
        elif isinstance(node, ast.FunctionDef):
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:]
            out[node.name] = (file, node)
    return out


def fingerprint(plan: Any) -> str:
    """What is compiled of a plan, in 16 characters: the code of the kernel and of all that it calls, constants, types, warps."""
    code: dict[tuple[str, str], str] = {}
    open_ = [(plan.source, plan.kernel)]
    while open_:
        seen_from, name = open_.pop()
        file, node = functions(seen_from)[name]
        if (file, name) not in code:
            code[file, name] = ast.dump(node)
            open_ += [(file, one.id) for one in ast.walk(node) if isinstance(one, ast.Name) and one.id in functions(file)]
    bounds = [plan.warps, *([plan.registers] if plan.registers else [])]
    whole = [sorted(code.items()), sorted(map(str, plan.constants)), list(map(str, plan.types)), *bounds]
    return hashlib.sha256(repr(whole).encode()).hexdigest()[:16]


def compiled(plan: Any, target: int) -> dict[str, int]:
    """What a kernel takes of a multiprocessor: registers and bytes on the stack of a thread, bytes of shared memory of a program."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from lamtrain.model.kernels.tiled.launch import PLANS, kernel_of

    kernel, constants = kernel_of(PLANS.index(plan)), dict(plan.constants)
    names, signature, known, hints = kernel.arg_names, {}, {}, {}
    for k, name in enumerate(names):
        if name in constants or (k < len(plan.types) and plan.types[k] is None):
            signature[name], known[(k,)] = "constexpr", constants.get(name)
        elif k < len(plan.types):
            signature[name], hints[(k,)] = TYPES[str(plan.types[k])], [["tt.divisibility", 16]]
        else:
            signature[name] = "i32"
    source = ASTSource(fn=kernel, signature=signature, constexprs=known, attrs=hints)
    done = triton.compile(source, target=GPUTarget("cuda", target, 32), options={"num_warps": plan.warps, "maxnreg": plan.registers})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(done.asm["cubin"])
        file.flush()
        tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        told = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    match = FOUND.search(told)
    assert match is not None, told
    registers, stack, local = map(int, match.groups())
    return {"registers": registers, "spilled": stack + local, "shared": done.metadata.shared}


def form(plan: Any) -> str:
    """What tells the forms of a kernel apart, in words: the numbers of its sizes are left out."""
    constants = dict(plan.constants)
    words = [constants["MODE"]] if "MODE" in constants else []
    words += [name.lower() for name in ("TANGENT", "JOINT", "GEOMETRY", "WEIGHTS") if constants.get(name)]
    return ", ".join([*words, *(["no attention"] if constants.get("H") == 0 else [])])


def table(rows: dict[str, dict[str, Any]], targets: list[int]) -> str:
    """Markdown: the largest number of each column among the sizes that a form of a kernel is compiled for."""
    columns = [(precision, target) for precision in ("tf32", "tf32x3") for target in targets]
    lines = [
        "| kernel | form | " + " | ".join(f"{precision}, sm_{target}" for precision, target in columns) + " |",
        "|---" * (2 + len(columns)) + "|",
    ]
    forms = dict.fromkeys((row["kernel"], row["form"]) for row in rows.values())
    for kernel, words in forms:
        cells = []
        for precision, target in columns:
            of = [
                row for row in rows.values() if (row["kernel"], row["form"]) == (kernel, words) and row["precision"] in (precision, "any")
            ]
            found = [row[f"sm_{target}"] for row in of if f"sm_{target}" in row]
            cells.append(", ".join(f"{max(one[name] for one in found):,}" for name in ("registers", "spilled", "shared")) if found else "")
        lines.append(f"| `{kernel}` | {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def faults(rows: dict[str, dict[str, Any]], targets: list[int]) -> list[str]:
    """What is wrong with each row, a line."""
    out = []
    for row in rows.values():
        for target in targets:
            name, found = f"{row['kernel']} ({row['form']}; {row['sizes']}; {row['precision']}) on sm_{target}", row.get(f"sm_{target}")
            if found is None:
                out.append(f"{name} was not compiled")
            elif found["spilled"]:
                out.append(f"{name} spills {found['spilled']} bytes")
            elif found["shared"] > SHARED[target]:
                out.append(f"{name} takes {found['shared']} bytes of shared memory of {SHARED[target]}")
    return out


def main() -> int:
    """Compile what was not, keep and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--targets", nargs="+", type=int, default=list(SHARED), choices=list(SHARED))
    parser.add_argument("--precisions", nargs="+", default=["tf32", "tf32x3"], choices=["tf32", "tf32x3"])
    parser.add_argument("--only", nargs="+", default=[], help="names of kernels")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--check", action="store_true", help="compile nothing")
    options = parser.parse_args()
    os.environ.pop("TRITON_INTERPRET", None)
    known = json.loads(options.data.read_text())["kernels"] if options.data.exists() else {}
    rows: dict[str, dict[str, Any]] = {}
    plans: dict[str, Any] = {}
    for precision, plan in launched(options.precisions):
        key = fingerprint(plan)
        sizes = ", ".join(f"{name} {value}" for name, value in plan.constants if name in ("VP", "WP", "T"))
        rows[key] = {"kernel": plan.kernel, "form": form(plan), "sizes": sizes, "precision": precision, "warps": plan.warps}
        rows[key] |= {name: found for name, found in known.get(key, {}).items() if name.startswith("sm_")}
        plans[key] = plan
    for key, row in rows.items():
        for target in options.targets:
            if not options.check and f"sm_{target}" not in row and (not options.only or row["kernel"] in options.only):
                row[f"sm_{target}"] = compiled(plans[key], target)
                print(target, row["kernel"], row["form"], row["sizes"], row["precision"], row[f"sm_{target}"], file=sys.stderr, flush=True)
                keep(options.data, rows)
    if not options.check:
        keep(options.data, rows)
    print(table(rows, options.targets))
    wrong = faults(rows, options.targets)
    print(*wrong, sep="\n", file=sys.stderr)
    return int(bool(wrong))


def keep(data: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Write what is known so far."""
    import triton

    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(row)}" for key, row in rows.items() if any(name.startswith("sm_") for name in row))
    part = data.with_suffix(".part")
    part.write_text(f'{{"triton": "{triton.__version__}", "kernels": {{\n{lines}\n}}}}\n')
    part.replace(data)


if __name__ == "__main__":
    sys.exit(main())
