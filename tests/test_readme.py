"""The README's blocks, run in order in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_blocks_run_in_order(tmp_path: Path) -> None:
    blocks = re.findall(r"^```(python|bash)\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.M | re.S)
    assert [language for language, _ in blocks] == ["python", "bash", "python"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for language, text in blocks:
        args = [sys.executable, "-c", text] if language == "python" else ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(args, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "runs/copper/test.json").exists()
    assert (tmp_path / "runs/copper/parity.png").exists()
