"""Pages: what a registry holds, and what a version is, as HTML that asks nobody for anything; every word of others is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

COLUMNS = ("version", "kind", "title", "licence", "elements", "frames", "theory or heads", "published")
STYLE = """:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8886;vertical-align:top}
td{overflow-wrap:anywhere}.wide{overflow-x:auto}code{font-size:.9em}"""


def front_page(entries: Sequence[Mapping[str, Any]]) -> str:
    """All versions, a row each, with links to theirs."""
    rows = [[_link(entry), *map(_text, _row(entry))] for entry in entries]
    body = _table(COLUMNS, rows) if rows else "<p>Nothing is published yet.</p>"
    hint = "<p>To have one: <code>lamdata fetch NAME@VERSION --registry URL</code>, where URL is that of this folder.</p>"
    return _page("Registry", body + hint)


def version_page(entry: Mapping[str, Any], sizes: Mapping[str, int]) -> str:
    """What is said of one version, and its files with links."""
    address = f"{entry['name']}@{entry['version']}"
    hidden = {"format", "name", "version", "listed", "title"}
    facts = [[_text(key), _text(_said(value))] for key, value in entry.items() if key not in hidden and value not in (None, [], {})]
    files = [[f'<a href="{quote(path)}">{_text(path)}</a>', f"{size:,}"] for path, size in sorted(sizes.items())]
    head = f'<p><a href="../index.html">Registry</a></p><p>{_text(entry["title"])}</p>'
    return _page(address, f"{head}{_table(('what', 'is'), facts)}<h2>Files</h2>{_table(('file', 'bytes'), files)}")


def _row(entry: Mapping[str, Any]) -> list[str]:
    frames = f"{sum(entry['frames'].values()):,}" if entry["frames"] else ""
    said = "; ".join(entry["heads"]) or "; ".join(entry["theory"])
    licence = entry["license"] or "unknown"
    return [entry["kind"], entry["title"], licence, " ".join(entry["elements"]), frames, said, entry["published"]]


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {'unknown' if part is None else part}" for key, part in value.items())
    return "; ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _link(entry: Mapping[str, Any]) -> str:
    address = f"{entry['name']}@{entry['version']}"
    return f'<a href="{quote(address)}/index.html">{_text(address)}</a>'


def _text(value: object) -> str:
    return escape(str(value))


def _table(columns: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML."""
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _page(title: str, body: str) -> str:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{_text(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body><h1>{_text(title)}</h1>\n{body}\n</body></html>\n'
