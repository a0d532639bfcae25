"""What the stages left -> one HTML page that needs no other file: their states, every table of numbers, every page and every picture."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..page import escaped, picture, table, write_page
from .launch import SAID
from .spec import Process

MOST_ROWS = 60  # of a table; the rest is in the file that is named below it
MOST_BYTES = 4 << 20  # of a document that is shown
Rows = list[list[Any]]


def write_report(process: Process, outcomes: Sequence[Mapping[str, Any]], base: Path) -> Path:
    """Write report.html into the folder of a process, and return its path. `outcomes` are as `lamtrain run --json` prints them."""
    path = base / process.folder / "report.html"
    rows = [[one["stage"], one["kind"], one["state"], one["seconds"], one.get("said") or "; ".join(one["why"])] for one in outcomes]
    parts = [table(["stage", "kind", "state", "seconds", ""], rows)]
    for one in outcomes:
        parts += _stage(one, base / process.folder / one["stage"])
    write_page(path, process.name, parts)
    return path


def _stage(one: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """The part of one stage."""
    name = escaped(one["stage"])
    yield f'<h2 id="{name}">{name} <small class="{escaped(one["state"])}">{escaped(one["kind"])}, {escaped(one["state"])}</small></h2>'
    if one.get("said"):
        yield f'<p class="failed">{escaped(one["said"])}</p>'
    if one["results"]:
        rows = [[name, result["path"], result["hash"][:16]] for name, result in one["results"].items()]
        yield table(["result", "file", "hash"], rows)
    out = folder / "out"
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and not _inside_store(path, out)]
    for path in files:
        if path.suffix == ".md":
            yield page_of(path)
    for path in files:
        if path.suffix == ".png":
            yield picture(path, path.relative_to(out).as_posix())
    for path in [folder / SAID, *files]:
        if path.suffix in (".json", ".csv") and path.is_file():
            yield from _numbers(path, folder)


def _inside_store(path: Path, out: Path) -> bool:
    """Whether a file is a part of a store."""
    return any((folder / "commits").is_dir() for folder in path.parents if folder == out or out in folder.parents)


def page_of(path: Path) -> str:
    """A page of Markdown; its pictures follow with all others, and nothing in it is taken as HTML."""
    from markdown_it import MarkdownIt

    text = re.sub(r"!\[[^\]]*\]\([^)]*\)\s*", "", path.read_text(encoding="utf-8", errors="replace"))
    text = re.sub(r"\[([^\]]*)\]\((?![a-z]+://)[^)]*\)", r"\1", text)  # of a file that stood beside this one, and stands below on this page
    return str(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))


def _numbers(path: Path, folder: Path) -> Iterator[str]:
    """Tables of a document, folded away under its name."""
    name = path.relative_to(folder).as_posix()
    if path.stat().st_size > MOST_BYTES:
        yield f"<p><code>{escaped(name)}</code> has {path.stat().st_size:,} bytes: not shown</p>"
        return
    tables = _of_csv(path) if path.suffix == ".csv" else _of_json(path)
    shown = [f"<p>{escaped(title)}</p>{table(columns, rows)}" for title, columns, rows in tables if rows]
    if shown:
        yield f"<details><summary>{escaped(name)}</summary>{''.join(shown)}</details>"


def _of_csv(path: Path) -> Iterator[tuple[str, list[str], Rows]]:
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.reader(file)
        columns = next(reader, [])
        rows: Rows = [list(row) for row in itertools.islice(reader, MOST_ROWS)]
        more = sum(1 for _ in reader)
    yield (f"the first {MOST_ROWS} of {MOST_ROWS + more:,} rows" if more else ""), columns, rows


def _of_json(path: Path) -> Iterator[tuple[str, list[str], Rows]]:
    try:
        data = json.loads(path.read_bytes())
    except ValueError:
        return
    yield from tables_of(data, "")


def tables_of(data: Any, title: str) -> Iterator[tuple[str, list[str], Rows]]:
    """(title, columns, rows) for plain data: a table of its single values, one for each mapping of mappings or list of them, and so on inside."""
    if isinstance(data, list):
        data = {str(i): part for i, part in enumerate(data)}
    if not isinstance(data, dict):
        return
    single = [[key, _plain(value)] for key, value in data.items() if not isinstance(value, dict) and _plain(value) is not None]
    yield title, ["", ""], single[:MOST_ROWS]
    inner = {key: value for key, value in data.items() if isinstance(value, dict) or (isinstance(value, list) and _plain(value) is None)}
    flat = {
        key: value
        for key, value in inner.items()
        if isinstance(value, dict) and value and all(_plain(x) is not None for x in value.values())
    }
    if len(flat) > 1 and flat.keys() == inner.keys():
        columns = list(dict.fromkeys(name for value in flat.values() for name in value))
        yield (
            title,
            ["", *columns],
            [[key, *(_plain(value.get(name, "")) for name in columns)] for key, value in list(flat.items())[:MOST_ROWS]],
        )
        return
    for key, value in list(inner.items())[:MOST_ROWS]:
        yield from tables_of(value, f"{title}{' / ' if title else ''}{key}")


def _plain(value: Any) -> Any:
    """A value of one cell, or None where it has parts with parts."""
    if isinstance(value, (str, int, float)) or value is None:
        return "-" if value is None else value
    if isinstance(value, list) and all(isinstance(part, (str, int, float)) for part in value):
        shown = ", ".join(f"{part:.4g}" if isinstance(part, float) else str(part) for part in value[:12])
        return f"{shown}, ... ({len(value)})" if len(value) > 12 else shown
    return None
