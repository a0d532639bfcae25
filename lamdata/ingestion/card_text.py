"""Proposals -> the text of a card: what `lamdata init --from` writes, everything that was guessed marked."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.compat import StringIO

from ..errors import LamError
from ..sources import SourceFile, read_theory, reader
from ..theory import Theory
from .theories import Theories

LOOKED_AT = 5  # files of a source of which more than the name is read
MAX_LISTED = 8  # files that are named one by one


@dataclass(slots=True, kw_only=True)
class Proposal:
    """One source of the card: files of one format, and what was seen in the first."""

    path: str
    members: str | None
    format: str
    files: list[SourceFile]
    keys: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    group: str | None = None
    atoms: set[str] = field(default_factory=set)  # elements of which it has an isolated atom with an energy
    elements: set[str] = field(default_factory=set)  # of the frames that were looked at
    structures: bool = False  # frames were read, and none has a label
    notes: list[str] = field(default_factory=list)
    theory: Theories = field(default_factory=Theories)
    stated: dict[str, Any] = field(default_factory=dict)  # the theory of the first file


def card_text(proposals: Sequence[Proposal], unread: Sequence[str]) -> str:
    """Write a card; the files that no reader knows are named at its end."""
    name = (
        re.sub(r"[^A-Za-z0-9._+()-]+", "-", posixpath.basename(proposals[0].path.rstrip("/")).split(".")[0].replace("*", "")).strip("-._")
        or "mine"
    )
    name = name if name[0].isalnum() else f"data{name}"
    lines = [
        "# A proposal: look at each `# guess`, and take the question mark from each unit that is right.",
        f"dataset: {_scalar(name)}",
        f"title: {_scalar(name)}  # guess, as is the name of the dataset",
        "contributors: []",
        "citations: []",
        "doi: null",
        "url: null",
        "license: null  # not known: who may use it?",
        *_theory_lines(proposals),
        "# split: {validation: 0.1, test: 0.1}  # shares of the groups, as without this line; or `split: test` on a source; or a file that lists them",
        "sources:",
    ]
    for one in proposals:
        lines += _source_lines(one)
    if unread:
        lines.append(
            f"# {len(unread)} other files, which are no source by themselves: {', '.join(unread[:MAX_LISTED])}{', ...' * (len(unread) > MAX_LISTED)}"
        )
    return "\n".join(lines) + "\n"


def _theory_lines(proposals: Sequence[Proposal]) -> list[str]:
    """What the first files state of their theory, where they agree."""
    stated = list(_stated_theories(proposals))
    lines = ["theory:"]
    for name in Theory.model_fields:
        values = {_scalar(theory[name]) for _, theory in stated if theory.get(name) is not None}
        if len(values) == 1:
            origin = next(file for file, theory in stated if theory.get(name) is not None)
            lines.append(f"  {name}: {values.pop()}  # stated by {origin}")
        elif values or name != "model":  # which only labels of a model have
            lines.append(f"  {name}: null  # {'the files differ: ' + ', '.join(sorted(values)) if values else 'not stated'}")
    return lines


def _stated_theories(proposals: Sequence[Proposal]) -> Iterator[tuple[str, dict[str, Any]]]:
    for one in proposals:
        for file in one.files[:LOOKED_AT]:
            try:
                yield file.name, read_theory(file, use=reader(one.format))
            except LamError:
                continue


def _source_lines(one: Proposal) -> list[str]:
    lines = [f"  - path: {_scalar(one.path)}"]
    if one.members is not None:
        lines.append(f"    members: {_scalar(one.members)}")
    lines.append(f"    format: {_scalar(one.format)}  # guess")
    if one.group is not None:
        lines.append(f"    group: {one.group}  # guess")
    for title, table in (("keys", one.keys), ("units", one.units), ("options", one.options)):
        if table:
            inside = ", ".join(f"{key}: {_scalar(value)}" for key, value in table.items())
            lines.append(f"    {title}: {{{inside}}}  # guess")
    return lines + [f"    # {note}" for note in one.notes]


def _scalar(value: Any) -> str:
    """A value as YAML 1.2 in one line, quoted where it must be or where it stands for a guess."""
    if isinstance(value, str) and (value.endswith("?") or any(c in value for c in "{}[],*#")):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    out = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.width = 10_000
    yaml.dump(value, out)
    return out.getvalue().removesuffix("...\n").strip()
