"""Tables, pictures and text -> one HTML page that needs no other file; nothing that was written by others is taken as HTML."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..files import replace_file

STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1100px;padding:0 1rem;color:#1b1b1b;background:#fff}
table{border-collapse:collapse;margin:.6rem 0;font-size:13px;display:block;overflow-x:auto}td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}img{max-width:100%}h2{margin-top:2.2rem;border-top:2px solid #345;padding-top:.6rem}
.failed{color:#b00020}.ran{color:#0a6b2d}.done,.taken{color:#555}code{background:#f2f4f7}summary{cursor:pointer;color:#345}"""


def write_page(path: Path, title: str, parts: Iterable[str]) -> None:
    """Write the page; `parts` are HTML, as the functions below make it."""
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escaped(title)}</title><style>{STYLE}</style></head><body>'
    body = "\n".join([f"<h1>{escaped(title)}</h1>", *parts])
    replace_file(path, f"{head}{body}</body></html>\n".encode())


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table, numbers to the right."""
    head = "".join(f"<th>{escaped(column)}</th>" for column in columns)
    return f"<table><tr>{head}</tr>{''.join('<tr>' + ''.join(map(_cell, row)) + '</tr>' for row in rows)}</table>"


def listing(lines: Iterable[str]) -> str:
    """Lines with a mark before each."""
    return f"<ul>{''.join(f'<li>{escaped(line)}</li>' for line in lines)}</ul>"


def picture(path: Path, name: str) -> str:
    """A PNG, in the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<figure><img alt="{escaped(name)}" src="data:image/png;base64,{data}"><figcaption>{escaped(name)}</figcaption></figure>'


def escaped(value: Any) -> str:
    """Anything as text of HTML."""
    return html.escape(str(value))


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"<td>{escaped(value)}</td>"
    return f'<td class="n">{value:.5g}</td>' if isinstance(value, float) else f'<td class="n">{value:,}</td>'
