"""The tree of a command line -> a page: usage, arguments, options and an example of every command."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any

import typer
from tables import code, table

INTRODUCTION = {
    "lamdata": "Turns raw quantum-chemistry outputs and relaxed structures into a store, and shows what a store holds.",
    "lamtrain": "Trains a model on a store, tests it, and exchanges it with DeePMD-kit.",
}
ALL = """Every command has `--help`, and those that print results have `--json` for one JSON document on stdout. An error is one line on stderr: where,
what was found, what to do. Exit codes: 0 done, 1 the data or the model did not pass, 2 usage or config, 3 environment, 130 interrupted (the same
command goes on from there)."""


def command_page(name: str) -> str:
    """Every command of `lamdata` or `lamtrain`, read from its parser."""
    group: Any = typer.main.get_command(importlib.import_module(f"{name}.cli").app)
    context = group.make_context(name, [], resilient_parsing=True)
    parts = [f"# {name}\n", INTRODUCTION[name] + "\n", ALL + "\n"]
    return "\n".join([*parts, *_commands(name, group, context)])


def _commands(name: str, group: Any, context: Any) -> Iterator[str]:
    """Those of a group, and after a command that is one, its own."""
    for word, command in group.commands.items():
        if command.hidden:
            continue
        inner = command.make_context(word, [], parent=context, resilient_parsing=True)
        if hasattr(command, "commands"):
            yield f"## {name} {word}\n\n{command.help}\n"
            yield from _commands(f"{name} {word}", command, inner)
        else:
            yield from _command(name, word, command, inner)


def _command(name: str, word: str, command: Any, context: Any) -> list[str]:
    example = (command.epilog or "").removeprefix("Example: ")
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts = [f"## {name} {word}\n", f"{command.help}\n", f"```text\n{usage}\n```\n"]
    records = [record for parameter in command.params if (record := parameter.get_help_record(context)) is not None]
    rows = [[code(re.sub(r"list\[(\w+)\]", lambda kind: kind[1].lower(), words)), meaning] for words, meaning in records]
    parts += [table(["Argument or option", "Meaning"], rows)]
    return parts + ([f"```bash\n{example}\n```\n"] if example else [])
