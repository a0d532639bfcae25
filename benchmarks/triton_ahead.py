"""The triton kernels compiled ahead for GPUs that are not here: registers, spills and shared memory of each, as NVIDIA's tools count them.

python benchmarks/triton_ahead.py [--sizes medium] [--targets 80 90] [--precision tf32x3] [--only pairs_reverse ...] [--json FILE]

Which kernels, with which constants, is what a training step of 192 atoms of water launches, counted on tensors without numbers (`gpu_model.py`).
Needs triton and no GPU. Exits with 1 where a kernel spills registers to memory.
"""

from __future__ import annotations

import argparse
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
COLUMNS = ("registers", "spilled", "shared")


def launched(sizes: list[str], precision: str) -> list[Any]:
    """The plans of the steps, in the order in which they are first launched."""
    import torch
    from gpu_model import count

    from lamtrain.model.kernels.tiled.launch import PLANS

    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    for size in sizes:
        count(size, "1x192", 1, "triton")
    return list(PLANS)


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
    done = triton.compile(source, target=GPUTarget("cuda", target, 32), options={"num_warps": plan.warps})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(done.asm["cubin"])
        file.flush()
        tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        told = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    match = FOUND.search(told)
    assert match is not None, told
    registers, stack, local = map(int, match.groups())
    return {"registers": registers, "spilled": stack + local, "shared": done.metadata.shared}


def main() -> int:
    """Compile, print a table as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["medium"])
    parser.add_argument("--targets", nargs="+", type=int, default=[80, 90])
    parser.add_argument("--precision", choices=["tf32", "tf32x3"], default="tf32x3")
    parser.add_argument("--only", nargs="+", default=[], help="names of kernels")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ.pop("TRITON_INTERPRET", None)
    rows, seen = [], set()
    print("| kernel | constants | " + " | ".join(f"sm_{one}: {', '.join(COLUMNS)}" for one in options.targets) + " |")
    print("|---" * (2 + len(options.targets)) + "|")
    for plan in launched(options.sizes, options.precision):
        flags = ", ".join(name if value is True else str(value) for name, value in plan.constants if value is True or name == "MODE")
        if (plan.kernel, plan.constants) in seen or (options.only and plan.kernel not in options.only):
            continue
        seen.add((plan.kernel, plan.constants))
        found = {f"sm_{target}": compiled(plan, target) for target in options.targets}
        cells = [", ".join(f"{one[name]:,}" for name in COLUMNS) for one in found.values()]
        print(f"| {plan.kernel} | {flags} | {' | '.join(cells)} |", flush=True)
        rows.append({"kernel": plan.kernel, "constants": dict(plan.constants), **found})
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return int(any(row[f"sm_{target}"]["spilled"] for row in rows for target in options.targets))


if __name__ == "__main__":
    sys.exit(main())
