"""What the stages left -> one HTML page that needs no other file: their states, every table of numbers, every page and every picture."""

from __future__ import annotations

import base64
import csv
import html
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...files import replace_file
from .launch import SAID
from .spec import Process

MOST_ROWS = 60  # of a table; the rest is in the file that is named below it
MOST_BYTES = 4 << 20  # of a document that is shown
STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1100px;padding:0 1rem;color:#1b1b1b;background:#fff}
table{border-collapse:collapse;margin:.6rem 0;font-size:13px;display:block;overflow-x:auto}td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}img{max-width:100%}h2{margin-top:2.2rem;border-top:2px solid #345;padding-top:.6rem}
.failed{color:#b00020}.ran{color:#0a6b2d}.done,.taken{color:#555}code{background:#f2f4f7}summary{cursor:pointer;color:#345}"""
Rows = list[list[Any]]


def write_report(process: Process, outcomes: Sequence[Mapping[str, Any]], base: Path) -> Path:
    """Write report.html into the folder of a process, and return its path. `outcomes` are as `lamtrain run --json` prints them."""
    path = base / process.folder / "report.html"
    rows = [[one["stage"], one["kind"], one["state"], one["seconds"], one.get("said") or "; ".join(one["why"])] for one in outcomes]
    parts = [f"<h1>{_text(process.name)}</h1>", _table(["stage", "kind", "state", "seconds", ""], rows)]
    for one in outcomes:
        parts += _stage(one, base / process.folder / one["stage"])
    page = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(process.name)}</title><style>{STYLE}</style></head><body>'
    replace_file(path, (page + "\n".join(parts) + "</body></html>\n").encode())
    return path


def _stage(one: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """The part of one stage."""
    name = _text(one["stage"])
    yield f'<h2 id="{name}">{name} <small class="{_text(one["state"])}">{_text(one["kind"])}, {_text(one["state"])}</small></h2>'
    if one.get("said"):
        yield f'<p class="failed">{_text(one["said"])}</p>'
    if one["results"]:
        rows = [[name, result["path"], result["hash"][:16]] for name, result in one["results"].items()]
        yield _table(["result", "file", "hash"], rows)
    out = folder / "out"
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and not _inside_store(path, out)]
    for path in files:
        if path.suffix == ".md":
            yield _page(path)
    for path in files:
        if path.suffix == ".png":
            yield _picture(path, out)
    for path in [folder / SAID, *files]:
        if path.suffix in (".json", ".csv") and path.is_file():
            yield from _numbers(path, folder)


def _inside_store(path: Path, out: Path) -> bool:
    """Whether a file is a part of a store."""
    return any((folder / "commits").is_dir() for folder in path.parents if folder == out or out in folder.parents)


def _picture(path: Path, out: Path) -> str:
    data, name = base64.b64encode(path.read_bytes()).decode(), _text(path.relative_to(out).as_posix())
    return f'<figure><img alt="{name}" src="data:image/png;base64,{data}"><figcaption>{name}</figcaption></figure>'


def _page(path: Path) -> str:
    """A page of Markdown; its pictures follow with all others, and nothing in it is taken as HTML."""
    from markdown_it import MarkdownIt

    text = re.sub(r"!\[[^\]]*\]\([^)]*\)\s*", "", path.read_text(encoding="utf-8", errors="replace"))
    return str(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))


def _numbers(path: Path, folder: Path) -> Iterator[str]:
    """Tables of a document, folded away under its name."""
    name = path.relative_to(folder).as_posix()
    if path.stat().st_size > MOST_BYTES:
        yield f"<p><code>{_text(name)}</code> has {path.stat().st_size:,} bytes: not shown</p>"
        return
    tables = _of_csv(path) if path.suffix == ".csv" else _of_json(path)
    shown = [f"<p>{_text(title)}</p>{_table(columns, rows)}" for title, columns, rows in tables if rows]
    if shown:
        yield f"<details><summary>{_text(name)}</summary>{''.join(shown)}</details>"


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


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    return f"<table><tr>{head}</tr>{''.join('<tr>' + ''.join(map(_cell, row)) + '</tr>' for row in rows)}</table>"


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"<td>{_text(value)}</td>"
    return f'<td class="n">{value:.5g}</td>' if isinstance(value, float) else f'<td class="n">{value:,}</td>'


def _text(value: Any) -> str:
    return html.escape(str(value))
