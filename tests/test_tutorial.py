"""The tutorial: its commands and options exist, its rule of comparison can fail, and its pages say what is printed."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.test_hints import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("**/*.md"))


def _runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial", ROOT / "docs/tutorial/run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tutorial"] = module
    spec.loader.exec_module(module)
    return module


tutorial = _runner()


def lines(text: str) -> Iterator[str]:
    """Commands in the fenced blocks of a page, without prompt, comment and output."""
    for block in re.findall(r"^```(?:console|bash)[^\n]*\n(.*?)^```", text, flags=re.M | re.S):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            yield line.removeprefix("$ ") if line.startswith("$ ") or "\n$ " not in f"\n{block}" else ""


def faults(line: str) -> list[str]:
    """What a command names that does not exist: the command, or an option."""
    words = shlex.split(line, comments=True)
    if not words or words[0] not in COMMANDS:
        return []
    program, command = words[0], words[1] if len(words) > 1 else ""
    if command.startswith("--"):
        return [] if command in ("--help", "--version", "--install-completion", "--show-completion") else [line]
    if command not in COMMANDS[program]:
        return [f"{program} {command}"]
    options = [word.partition("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)]
    return [f"{program} {command} {option}" for option in options if option not in COMMANDS[program][command]]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_of_a_page_exist(page: Path) -> None:
    text = page.read_text()
    assert [fault for line in lines(text) for fault in faults(line)] == []
    if page.parent.name == "tutorial" or page.name == "coming-from.md":
        inline = re.findall(r"`((?:lamdata|lamtrain) [a-z][^`]*)`", text)
        assert [fault for line in inline for fault in faults(line)] == []


def test_the_search_for_faults_finds_them() -> None:
    page = "```console\n$ lamdata ingset x\nlamdata says --so\n$ lamtrain train t.yaml \\\n    --stepz 3\n```\n"
    assert [fault for line in lines(page) for fault in faults(line)] == ["lamdata ingset", "lamtrain train --stepz"]
    assert sum(line.split(" ")[0] in COMMANDS for page in PAGES for line in lines(page.read_text())) > 60


def test_every_page_of_the_tutorial_does_something_and_shows_what() -> None:
    assert [page.name[0] for page in tutorial.PAGES] == list("12345678")
    for page in tutorial.PAGES:
        done = list(tutorial.steps(page.read_text()))
        assert [step for step in done if step.kind == "console"] and [step for step in done if step.shown], page.name


@pytest.mark.parametrize(
    ("shown", "printed", "equal"),
    [
        ("a  b\nc", "a b c", True),
        ("90 frames", "91 frames", False),  # a count
        ("1,024 frames", "1,025 frames", False),
        ("rmse 12.3", "rmse 13.1", True),
        ("rmse 12.3", "rmse 15.1", False),
        ("rmse 0.02", "rmse 0.03", True),  # a unit of the last digit
        ("rmse 0.02", "rmse 0.04", False),
        ("error 2.1e-06", "error 2.2e-06", True),
        ("error 2.1e-06", "error 9.9e-06", False),
        ("energy -1.5", "energy 1.5", False),
        ("took ... and left x", "took 3.1 s, or 2 min, and left x", True),
        ("took ... and left x", "took 3.1 s and left y", False),
        ("head\n──────\nrow", "head\n────────\nrow", True),
        ("all", "all of it", False),
        ("all of it", "all", False),
        ("nothing ...", "nothing", True),
        ("", "error: x", False),
    ],
)
def test_a_page_and_a_run_say_the_same_by_the_rule(shown: str, printed: str, equal: bool) -> None:
    assert tutorial.same(shown, printed) is equal


def test_a_page_is_run_compared_and_written(tmp_path: Path) -> None:
    page = tmp_path / "1-page.md"
    text = 'So:\n\n```python title="a.py"\nprint(1.5)\n```\n\n```console\n$ python a.py\n{one}$ false || echo "error: no" >&2\n{two}```\n\n```python\nprint("x")\n```\n\n```text\n{three}```\n'
    page.write_text(text.format(one="1.9\n", two="", three="x\n"))
    assert tutorial.run_page(page, tmp_path, write=False) == 2
    assert "1.9" in page.read_text()
    assert tutorial.run_page(page, tmp_path, write=True) == 2
    assert page.read_text() == text.format(one="1.5\n", two="error: no\n", three="x\n")
    assert tutorial.run_page(page, tmp_path, write=False) == 0
    page.write_text("```console\n$ false\n```\n")
    with pytest.raises(SystemExit):
        tutorial.run_page(page, tmp_path, write=False)


@pytest.mark.slow  # three minutes on one core: two trainings, a fine-tune, a distillation, a process
def test_the_pages_say_what_is_printed(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(ROOT / "docs/tutorial/run.py"), "--folder", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert json.loads((tmp_path / "runs/pool/test.json").read_text())["heads"]
