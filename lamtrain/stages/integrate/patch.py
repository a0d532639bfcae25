"""A mixture file and new rows -> its text with them, every comment and line that was there kept."""

from __future__ import annotations

import difflib
import io
from collections.abc import Mapping, Sequence
from typing import Any

from lamdata.catalog import Mixture, TaskSpec
from lamdata.errors import ConfigError
from lamdata.located import parse_yaml


def row_values(task: TaskSpec, **changes: Any) -> dict[str, Any]:
    """A row as a mixture file has it: what is not as by default, and its weight."""
    values = {"head": task.head, "dataset": task.dataset, "task": task.task, "weight": task.weight}
    return (
        values | task.model_dump(mode="json", exclude_defaults=True) | {key: value for key, value in changes.items() if value is not None}
    )


def with_rows(text: str, rows: Sequence[TaskSpec], *, where: str) -> str:
    """The text of a mixture with rows added behind its last; raises ConfigError where they cannot be put in by lines."""
    before, places = parse_yaml(text, where=where)
    lines = text.splitlines(keepends=True)
    first = places.get(("heads", 0))
    if not isinstance(first, tuple) or not lines[first[0] - 1].lstrip().startswith("-"):
        raise ConfigError("its heads are not one below the other", where=where, hint="write a line `- {head: ...}` for each, and again")
    indent = len(lines[first[0] - 1]) - len(lines[first[0] - 1].lstrip())
    end = _end(lines, first[0] - 1, indent)
    if end and not lines[end - 1].endswith("\n"):
        lines[end - 1] += "\n"
    added = [f"{' ' * indent}- {_flow(row_values(row))}\n" for row in rows]
    out = "".join([*lines[:end], *added, *lines[end:]])
    after, _ = parse_yaml(out, where=where)
    wanted = {**before, "heads": [*before["heads"], *(row_values(row) for row in rows)]}
    if Mixture.model_validate(after) != Mixture.model_validate(wanted):
        raise ConfigError("rows cannot be put in by lines", where=where, hint="write a line `- {head: ...}` for each head, and again")
    return out


def _end(lines: Sequence[str], first: int, indent: int) -> int:
    """The line after the last one of a list that begins at `first`; comments and empty lines behind it stay behind."""
    end = first + 1
    for i in range(first + 1, len(lines)):
        stripped = lines[i].strip()
        if not stripped or stripped.startswith("#"):
            continue
        inside = len(lines[i]) - len(lines[i].lstrip())
        if inside < indent or (inside == indent and not stripped.startswith("-")):
            break
        end = i + 1
    return end


def _flow(values: Mapping[str, Any]) -> str:
    """Plain data in one line."""
    from ruamel.yaml import YAML

    yaml, out = YAML(typ="safe", pure=True), io.StringIO()
    yaml.default_flow_style, yaml.width, yaml.sort_base_mapping_type_on_output = True, 100_000, False  # type: ignore[assignment]
    yaml.dump(dict(values), out)
    return out.getvalue().strip()


def patch_of(before: str, after: str, *, name: str) -> str:
    """The difference, as `diff -u` says it."""
    lines = difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
