"""What is kept of kernels compiled ahead (`benchmarks/triton_ahead.py`): under which name, what is wrong with it, and that the docs show it. Needs no triton."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[4] / "benchmarks/triton_ahead.py"
MATHS = '@triton.jit\ndef half(x):\n    """A half."""\n    return x * 0.5\n\n\n@triton.jit\ndef other(x):\n    return x\n'
KERNEL = "from .maths import half\n\n\n@triton.jit\ndef rows(x):\n    return half(x)\n"


@pytest.fixture
def ahead() -> Any:
    spec = importlib.util.spec_from_file_location("triton_ahead", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plan(**changes: Any) -> Any:
    return SimpleNamespace(
        **{"source": "rows", "kernel": "rows", "warps": 4, "registers": None, "constants": (("K", 32),), "types": ("torch.float32",)}
        | changes
    )


def test_a_kernel_is_known_by_all_code_that_it_calls_its_constants_and_warps(ahead, monkeypatch, tmp_path):
    monkeypatch.setattr(ahead, "SOURCE", tmp_path)

    def named(maths: str = MATHS, kernel: str = KERNEL, **changes: Any) -> str:
        (tmp_path / "maths.py").write_text(maths)
        (tmp_path / "rows.py").write_text(kernel)
        ahead.functions.cache_clear()
        name: str = ahead.fingerprint(plan(**changes))
        return name

    own = named()
    assert named(MATHS.replace("A half.", "One half.") + "# as it is\n") == own
    assert named(MATHS.replace("    return x\n", "    return -x\n")) == own  # which it does not call
    others = [
        named(MATHS.replace("0.5", "0.25")),
        named(kernel=KERNEL.replace("half(x)", "half(half(x))")),
        named(warps=8),
        named(registers=168),
        named(constants=(("K", 64),)),
    ]
    assert len({own, *others}) == 6


def test_what_is_wrong_with_a_row_is_said(ahead):
    row: dict[str, Any] = {
        "kernel": "rows",
        "form": "",
        "sizes": "",
        "precision": "tf32",
        "sm_80": {"registers": 255, "spilled": 8, "shared": 1 << 10},
    }
    row["sm_90"] = {"registers": 90, "spilled": 0, "shared": 1 << 18}
    spilled, large = ahead.faults({"a": row}, [80, 90])
    assert "sm_80 spills 8 bytes" in spilled and "of shared memory" in large
    assert ahead.faults({"a": row | {"sm_90": None}}, [90]) == ["rows (; ; tf32) on sm_90 was not compiled"]


def test_the_docs_have_the_table_of_what_was_found(ahead):
    kept = json.loads(ahead.DATA.read_text())["kernels"]
    shown = (SCRIPT.parent.parent / "docs/gpu.md").read_text()
    assert kept and ahead.table(kept, [80, 90]) in shown


def test_all_that_steps_launch_was_compiled_as_it_is_and_nothing_spills():
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stderr}\nrun `python benchmarks/triton_ahead.py`, and put its table into docs/gpu.md"
