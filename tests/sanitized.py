"""The compiled files in C under gcc's sanitizers of addresses and of undefined behaviour, which see each step beyond a buffer.

`python tests/sanitized.py` builds them all so and runs the tests that use them, in a process of its own.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = ("lamdata._distances", "lamdata.store._lattice", "lamdata.store._rows", "lamdata.sources.bytes._scan", "lamtrain.data._edges")
USERS = (
    "lamdata/test_distances.py",
    "lamdata/store/test_lattice.py",
    "lamdata/store/test_gather.py",
    "lamdata/sources/bytes",
    "lamtrain/data",
)
TESTS = ["-m", "pytest", "-q", "-p", "tests.sanitized", "-p", "no:xdist", *(f"tests/{path}" for path in USERS)]
BUILDS = "LAM_SANITIZED"  # the folder of the builds, in the environment of a process that takes them


def libraries() -> list[str] | None:
    """What a process with a sanitized build must begin with; None where gcc has none. Without C++'s no library could throw."""
    try:
        names = [["gcc", f"-print-file-name={name}"] for name in ("libasan.so", "libstdc++.so.6")]
        found = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() for command in names]
    except (OSError, subprocess.CalledProcessError):
        return None
    return found if all(Path(path).is_file() for path in found) else None


def run(command: list[str]) -> int:
    """Build all, and run Python with them; its exit code."""
    preload = libraries()
    if preload is None:
        raise SystemExit("`gcc -print-file-name=libasan.so` finds no sanitizer of addresses")
    with tempfile.TemporaryDirectory(prefix="sanitized-") as folder:
        for name in MODULES:
            source = ROOT / f"{name.replace('.', '/')}.c"
            how = ["-shared", "-fPIC", "-O1", "-g", "-ffp-contract=off", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
            target = ["-o", f"{folder}/{name}.so", "-lm"]
            subprocess.run(["gcc", *how, f"-I{sysconfig.get_path('include')}", str(source), *target], check=True)
        changed = {
            "LD_PRELOAD": " ".join(preload),
            "ASAN_OPTIONS": "detect_leaks=0",
            "OMP_NUM_THREADS": "1",
            BUILDS: folder,
            "PYTHONPATH": str(ROOT),
        }
        return subprocess.run([sys.executable, *command], env=os.environ | changed, cwd=ROOT).returncode


def use() -> None:
    """Take the builds that the environment names, before anybody imports those of the installation."""
    for name in MODULES if BUILDS in os.environ else ():
        spec = importlib.util.spec_from_file_location(name, f"{os.environ[BUILDS]}/{name}.so")
        assert spec is not None and spec.loader is not None and name not in sys.modules
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])


def used(module: object) -> bool:
    """Whether a compiled file is one of these builds."""
    return str(getattr(module, "__file__", "")).startswith(os.environ.get(BUILDS, "\0"))


use()  # as a plugin of pytest it comes before the tests

if __name__ == "__main__":
    sys.exit(run([*TESTS, *sys.argv[1:]]))
