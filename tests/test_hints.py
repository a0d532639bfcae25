"""What an error or a help text tells a person to type exists: every command and option that a string of the packages names."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from lamdata.cli import app as lamdata_app
from lamtrain.cli import app as lamtrain_app

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*ROOT.glob("lamdata/**/*.py"), *ROOT.glob("lamtrain/**/*.py")])
NAMED = re.compile(r"(?<![\w/.-])(?<!from )(lamdata|lamtrain)\s+([a-z][a-z-]*)([^`;,()\n]*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
PROSE = {
    "nor",
    "and",
    "store",
    "reads",
    "never",
    "turns",
    "is",
    "does",
    "command",
    "has",
    "package",
    "model",
    "that",
    "by",
    "or",
    "writes",
    "checkpoint",
}
ELSEWHERE = {"--pt", "--finetune"}  # options of DeePMD-kit


def options(app: typer.Typer) -> dict[str, set[str]]:
    """Command -> its options; of a group, those of all its commands."""
    return {name: set().union(*leaves(name, found).values()) for name, found in parts(typer.main.get_command(app)).items()}


def leaves(name: str, command: Any) -> dict[str, set[str]]:
    """A command that is none of a group -> its options."""
    if inner := parts(command):
        return {leaf: found for word, part in inner.items() for leaf, found in leaves(f"{name} {word}", part).items()}
    return {name: {opt for param in command.params for opt in (*param.opts, *param.secondary_opts)} | {"--help"}}


def parts(command: Any) -> dict[str, Any]:
    """The commands of a group."""
    return getattr(command, "commands", {})


COMMANDS = {"lamdata": options(lamdata_app), "lamtrain": options(lamtrain_app)}
ANY = {option for commands in COMMANDS.values() for found in commands.values() for option in found} | {"--version"}


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Every string of a file with its line, values that are filled in as X."""
    tree = ast.parse(path.read_text())
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node) if part is not node}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


def faults(text: str) -> Iterator[str]:
    """Commands and options that a text names and that are not there."""
    for program, command, rest in NAMED.findall(text):
        if command not in COMMANDS[program]:
            if command not in PROSE:
                yield f"{program} {command}"
            continue
        yield from (f"{program} {command} {option}" for option in OPTION.findall(rest) if option not in COMMANDS[program][command])
    yield from (option for option in OPTION.findall(text) if option not in ANY and option not in ELSEWHERE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_string_names_a_command_or_an_option_that_is_not_there(path: Path) -> None:
    found = [f"line {line}: {fault}" for line, text in strings(path) for fault in faults(text)]
    assert not found


def test_the_search_finds_what_it_looks_for() -> None:
    assert list(faults("run `lamdata ingset CARD -o STORE`")) == ["lamdata ingset"]
    assert list(faults("run `lamdata validate X --repair --now`")) == ["lamdata validate --now", "--now"]
    assert list(faults("`lamtrain train X --output Y`")) == ["lamtrain train --output"]  # an option of another command
    assert list(faults("`lamdata gc STORE --keep 1 --dry-run`, say --replace")) == []
    assert sum(len(NAMED.findall(text)) for path in FILES for _, text in strings(path)) > 20


@pytest.mark.parametrize("program", COMMANDS)
def test_every_command_answers_in_json(program: str) -> None:
    app = {"lamdata": lamdata_app, "lamtrain": lamtrain_app}[program]
    found = {leaf: opts for name, part in parts(typer.main.get_command(app)).items() for leaf, opts in leaves(name, part).items()}
    assert len(found) > 10 and [leaf for leaf, opts in found.items() if "--json" not in opts] == []


def test_every_extra_that_is_named_can_be_installed() -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    named = {found for path in FILES for found in re.findall(r"""lam\[(\w+)\]|need\([^()]*extra="(\w+)\"""", path.read_text())}
    assert named and {one or other for one, other in named} <= extras


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/design.md"])
def test_the_documents_name_commands_that_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    assert [fault for line in text.splitlines() for fault in faults(line.split("#")[0]) if fault.startswith("lam")] == []
