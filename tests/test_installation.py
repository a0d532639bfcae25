"""What is built once serves where there is no compiler, no repository, and any torch from 2.6 on; a build or a first import may be killed.

`./run test --torch 2.6.0 -m slow tests/test_installation.py` tries it under another torch.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.conftest import tree
from tests.kill import run

ROOT = Path(__file__).resolve().parents[1]
COMPILED = {
    "lamdata/_distances",
    "lamdata/store/_rows",
    "lamdata/sources/bytes/_scan",
    "lamtrain/data/_edges",
    *(f"lamtrain/model/kernels/_{kind}" for kind in ("avx512", "avx2", "baseline")),
}
STEPS = """
import lamtrain, shutil, sys, torch
from pathlib import Path
from lamtrain.config import read_config
from lamtrain.model.kernels.choose import kernels
from lamtrain.model.kernels.native import available
from lamtrain.training.trainer import train
assert Path(lamtrain.__file__).is_relative_to(sys.argv[1]), lamtrain.__file__
assert not any(map(shutil.which, ("c++", "g++", "cc", "gcc", "clang")))
assert available() and kernels("auto") is kernels("cpp")
print(torch.__version__, train(read_config(Path(sys.argv[2])), out=Path("run"), device="cpu", quiet=True))
"""


BUILD = [sys.executable, "-c", "from setuptools import setup; setup()", "-q", "build_ext", "--inplace"]
LOAD = "import lamtrain; from lamtrain.model.kernels.native import native, _load, KINDS; assert all(map(_load, KINDS)), list(map(_load, KINDS))"


def test_what_is_compiled_names_every_header_it_includes() -> None:
    """So that a header that changed is compiled again."""
    for module in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]:
        (source,) = module["sources"]
        assert set(module.get("depends", ())) == included(ROOT / source), source


def included(file: Path) -> set[str]:
    names = re.findall(r'^#include "(.+)"', file.read_text(), re.MULTILINE)
    direct = {(file.parent / name).resolve() for name in names}
    return {str(one.relative_to(ROOT)) for one in direct}.union(*map(included, direct))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what git tracks, so that nothing compiled in the tree gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(clone(folder / "tree"))]
    done = subprocess.run(pip, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def clone(folder: Path) -> Path:
    subprocess.run(["git", "-c", f"safe.directory={ROOT}", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


@pytest.mark.slow  # compiles the operators for three kinds of processor
def test_it_holds_every_compiled_part_and_the_types(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split(".")[0] for name in names if name.endswith((".so", ".pyd"))} == COMPILED
    assert {"lamdata/py.typed", "lamtrain/py.typed"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


@pytest.mark.slow  # compiles the operators for three kinds of processor
def test_it_trains_with_its_operators_without_a_compiler(wheel: Path, small: Path, tmp_path: Path) -> None:
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)], check=True)
    alone = {key: value for key, value in os.environ.items() if key not in ("PATH", "PYTHONPATH")} | {"PYTHONPATH": str(site), "PATH": ""}
    step = [sys.executable, "-c", STEPS, str(site), str(small / "train.yaml")]
    done = subprocess.run(step, cwd=work, env=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (work / "run" / "last.pt").exists()
    version = subprocess.run([sys.executable, "-m", "lamdata.cli", "--version"], cwd=work, env=alone, capture_output=True, text=True)
    assert version.returncode == 0 and version.stdout.startswith("lamdata "), version


@pytest.mark.slow  # compiles the operators eight times
def test_a_build_that_was_killed_is_finished_by_the_next(tmp_path: Path) -> None:
    whole = clone(tmp_path / "whole")
    seconds = run(BUILD, whole)
    built = compiled(whole)
    assert len(built) == len(COMPILED)
    rng = random.Random(6)
    for number in range(6):
        folder = clone(tmp_path / str(number))
        run(BUILD, folder, kill_after=seconds * rng.uniform(0.02, 0.98))
        run(BUILD, folder)
        assert {name: len(file) for name, file in compiled(folder).items()} == {name: len(file) for name, file in built.items()}
        done = subprocess.run([sys.executable, "-c", LOAD], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow  # starts torch twice forty times
def test_a_first_import_that_was_killed_leaves_nothing_that_the_next_waits_for(small: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    train = [
        sys.executable,
        "-c",
        "from lamtrain.cli import main; main()",
        "train",
        str(small / "train.yaml"),
        "--set",
        "steps=1",
        "--quiet",
    ]
    alone = ["env", f"HOME={home}", f"TMPDIR={home}", f"PYTHONPATH={ROOT}", *train]
    first = tmp_path / "first"
    first.mkdir()
    seconds = run(alone, first)
    left = set(tree(home))
    rng = random.Random(7)
    for number in range(14):
        folder = tmp_path / str(number)
        folder.mkdir()
        run(alone, folder, kill_after=seconds * rng.uniform(0.02, 0.9))
        start = time.monotonic()
        run(alone, folder)
        print(f"usual {seconds:.1f} s, after a kill {time.monotonic() - start:.1f} s")
        assert (folder / "runs" / "small" / "last.pt").exists()
    assert set(tree(home)) == left


def compiled(folder: Path) -> dict[str, bytes]:
    return {name: file for name, file in tree(folder).items() if name.endswith(".so") and not name.startswith("build/")}
