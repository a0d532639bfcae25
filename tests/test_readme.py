"""The README's blocks, one after the other in one shell, with no help but what they say themselves; the model has learned."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a clone is to the blocks after `./run`: a folder with this interpreter's environment in `.venv`."""
    if not (Path(sys.prefix) / "bin/activate").exists():
        pytest.skip("this interpreter does not belong to a virtual environment")
    folder = tmp_path / "clone"
    folder.mkdir()
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def outside() -> dict[str, str]:
    """The environment of a shell in which nothing was activated."""
    ours = {Path(sys.prefix) / "bin", Path(sys.executable).parent}
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if Path(part) not in ours)
    return {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"} | {"PATH": path}


def test_the_blocks_run_in_order(clone: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"^```(python|bash)\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.M | re.S)
    assert [language for language, _ in blocks] == ["bash", "python", "bash", "python", "python"]
    environment = outside() | {"TMPDIR": str(tmp_path)}
    blocks += re.findall(r"^```(python|bash)\n(.*?)^```", (ROOT / "docs/fine-tune.md").read_text(), flags=re.M | re.S)  # goes on from there
    script = "\n".join(text if language == "bash" else f"python - <<'END'\n{text}END" for language, text in blocks)
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=clone, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    (tuned,) = tmp_path.glob("*/runs/alloy/test.json")
    alloy = json.loads(tuned.read_text())["heads"]["main"]
    assert alloy["force_rmse_mev_per_angstrom"] < alloy["before"]["force_rmse_mev_per_angstrom"]
    config = (tuned.parents[2] / "alloy.yaml").read_text()
    for line in re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/fine-tune.md").read_text(), flags=re.S)[0].splitlines():
        assert line in config.splitlines(), "the page shows what init writes"
    (table,) = tmp_path.glob("*/runs/copper/test.json")
    assert (table.parent / "parity.png").exists()
    ((head, row),) = json.loads(table.read_text())["heads"].items()
    assert row["energy_rmse_mev_per_atom"] < row["energy_std_mev_per_atom"] / 3, head
    assert row["force_rmse_mev_per_angstrom"] < row["force_std_mev_per_angstrom"] / 3, head
    assert [path.name for path in clone.iterdir()] == [".venv"]
