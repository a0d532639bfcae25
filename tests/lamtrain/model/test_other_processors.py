"""The compiled operators on processors that this machine is not: by a cross compiler and an emulator, where both are installed."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCE = Path(__file__).with_name("self_test.cpp")
NATIVE, ARM = ["c++"], ["aarch64-linux-gnu-g++", "-static"]


def flags(kind: str) -> list[str]:
    modules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]
    found = next(module["extra-compile-args"] for module in modules if module["name"].endswith(f"._{kind}"))
    return ["-O1" if flag == "-O3" else flag for flag in found]


def build(compiler: list[str], kind: str, out: Path, *more: str) -> None:
    subprocess.run([*compiler, *flags(kind), *more, str(SOURCE), "-o", str(out)], check=True)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(ARM[0]) or not shutil.which("qemu-aarch64"), reason="needs g++-aarch64-linux-gnu and qemu-user")
def test_the_operators_are_right_on_arm(tmp_path):
    build(ARM, "baseline", tmp_path / "arm")
    done = subprocess.run(["qemu-aarch64", str(tmp_path / "arm")], capture_output=True, text=True)
    assert done.returncode == 0 and "vectors of 16 bytes, 32 registers" in done.stdout, done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++"), reason="needs a C++ compiler")
@pytest.mark.parametrize("kind", ["avx2", "baseline"])
def test_the_operators_read_and_write_nothing_outside_their_arrays(tmp_path, kind):
    if kind == "avx2" and " avx2 " not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor does not run avx2")
    build(NATIVE, kind, tmp_path / kind, "-fsanitize=address,undefined", "-fno-sanitize=alignment")
    done = subprocess.run([str(tmp_path / kind)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++"), reason="needs a C++ compiler")
def test_the_widest_vectors_compile(tmp_path):
    build(NATIVE, "avx512", tmp_path / "avx512")
