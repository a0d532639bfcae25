"""`./run check` on a copy of the tree: each kind of fault that it is there for, planted, fails it by name."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STAMP = "cat run pyproject.toml constraints.txt $(find lamdata lamtrain -name '*.c' -o -name '*.h' -o -name '*.cpp' | LC_ALL=C sort) | sha256sum"  # of an installation, as `run` has it
COPIED = (
    "run",
    "pyproject.toml",
    "constraints.txt",
    "lamdata",
    "lamtrain",
    "benchmarks",
    "tests/__init__.py",
    "tests/test_layers.py",
    ".mypy_cache",
)
PLANTS = {
    "ruff check": ("lamdata/unused.py", '"""Planted."""\n\nimport shelve\n'),
    "ruff format --check": ("lamdata/crooked.py", '"""Planted."""\n\nONE = [1,2 ]\n'),
    "mypy": ("lamtrain/data/untyped.py", '"""Planted."""\n\n\ndef weigh(frame):\n    return frame\n'),
    "mypy --config-file benchmarks/mypy.ini": ("benchmarks/stale.py", "from lamtrain.config import read_config\n\nread_config()\n"),
    "pytest tests/test_layers.py": ("lamdata/distances.py", "\nfrom lamdata.store import open_store as open_store  # noqa: E402\n"),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and what checks them, beside this interpreter as the copy's installation."""
    missing = [tool for tool in ("ruff", "mypy") if importlib.util.find_spec(tool) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: pip install 'lam[dev]'")
    folder = tmp_path_factory.mktemp("copy")
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy2(source, target)
    (folder / ".venv").mkdir()
    for part in Path(sys.prefix).iterdir():
        if part.name != ".installed":
            (folder / ".venv" / part.name).symlink_to(part)
    stamp = subprocess.run(["bash", "-c", STAMP], cwd=folder, capture_output=True, text=True, check=True).stdout.split()[0]
    (folder / ".venv/.installed").write_text(f"{stamp}\n")
    return folder


@pytest.mark.slow  # ruff, mypy and the layers over a copy of the tree, again and again
def test_planted_faults_fail_the_check_each_by_name(copy: Path) -> None:
    for name, text in PLANTS.values():
        with (copy / name).open("a") as file:
            file.write(text)
    done = subprocess.run(["./run", "check"], cwd=copy, capture_output=True, text=True)
    assert "installing" not in done.stderr
    parts = dict(re.findall(r"^checking: (.*?)\n(.*?)^failed: \1$", done.stdout, flags=re.M | re.S))
    assert done.returncode == 1 and list(parts) == list(PLANTS), done.stdout
    for tool, (name, _) in PLANTS.items():
        assert Path(name).stem in parts[tool], parts[tool]
