"""--help, --version and config errors: quick, without torch, one line each, with the right exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NO_TORCH = "import sys; sys.modules['torch'] = None; from {module} import main; sys.argv = ['x', *{args!r}]; main()"
HELP = """
import contextlib, io, json, sys
sys.modules['torch'] = None
from {module} import main
said = []
for words in {all!r}:
    sys.argv = ['x', *words, '--help']
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main()
        except SystemExit as end:
            said.append([end.code or 0, out.getvalue()])
print(json.dumps(said))
"""


def run_without_torch(module: str, *args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command where torch cannot be imported."""
    code = NO_TORCH.format(module=module, args=list(args))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize("module", ["lamdata.cli", "lamtrain.cli"])
def test_every_command_has_help_without_torch(module: str) -> None:
    top = run_without_torch(module, "--help")
    assert top.returncode == 0
    commands = {
        "lamdata.cli": [
            "init",
            "check",
            "schema",
            "ingest",
            "ls",
            "show",
            "card",
            "validate",
            "overlap",
            "rm",
            "gc",
            "export",
            "select",
            "replace",
            "publish",
            "fetch",
            "search",
        ],
        "lamtrain.cli": [
            "init",
            "train",
            "plan",
            "test",
            "predict",
            "label",
            "cover",
            "card",
            "show",
            "transfer",
            "compare",
            "contest",
            "distil",
            "compress",
            "integrate",
            "run",
            "export",
            "import",
            "publish",
            "doctor",
        ],
    }
    assert all(command in top.stdout for command in commands[module])
    words = [[command] for command in commands[module]]
    words += [["contest", "submit"], ["contest", "score"]] if module == "lamtrain.cli" else []
    done = subprocess.run([sys.executable, "-c", HELP.format(module=module, all=words)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for command, (code, text) in zip(words, json.loads(done.stdout), strict=True):
        assert code == 0 and "Usage" in text and " ".join(command) in text, command


@pytest.mark.parametrize("module", ["lamdata.cli", "lamtrain.cli"])
def test_version(module: str) -> None:
    from lamdata import __version__

    assert run_without_torch(module, "--version").stdout.split() == [module.split(".")[0], __version__]


@pytest.mark.parametrize("module", ["lamdata", "lamdata.cli", "lamtrain", "lamtrain.cli"])
def test_a_module_that_is_run_is_its_command(module: str) -> None:
    """Launchers start a module, not a script; one that does nothing would end with 0."""
    done = subprocess.run([sys.executable, "-m", module, "no-such-command"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "No such command 'no-such-command'" in done.stderr, done


def test_every_config_error_is_named_at_once_without_torch(tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text("train: x\nmixture: m.yaml\nstore: s\nsteps: 0\nbacth: {frames: 8}\nloss: {energy: [-1, 1]}\n")
    result = run_without_torch("lamtrain.cli", "train", str(config))
    assert result.returncode == 2
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 3
    assert f"{config}:4:1: `steps` is 0" in lines[0] or any(f"{config}:4:1" in line for line in lines)
    assert any(f"{config}:5:1: unknown key 'bacth'; did you mean 'batch'?" in line for line in lines)
    assert any(f"{config}:6:1" in line and "negative" in line for line in lines)
    assert "Traceback" not in result.stderr


def test_training_without_torch_says_which_extra_brings_it(tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text("train: x\nmixture: m.yaml\nstore: s\nsteps: 1\n")
    result = run_without_torch("lamtrain.cli", "train", str(config))
    assert result.returncode == 3
    assert "pip install 'lam[train]'" in result.stderr


@pytest.mark.parametrize("module", ["lamdata", "lamtrain"])
def test_the_help_of_every_command_has_an_example_of_it(module: str) -> None:
    import importlib

    import typer

    def without(name: str, command: Any) -> list[str]:
        if inner := getattr(command, "commands", {}):  # a group
            return [found for word, part in inner.items() for found in without(f"{name} {word}", part)]
        return [] if f"{command.epilog} ".startswith(f"Example: {name} ") else [name]

    assert without(module, typer.main.get_command(importlib.import_module(f"{module}.cli").app)) == []
