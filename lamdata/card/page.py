"""Headings, tables, pictures -> one HTML page that asks no network for anything; every text in it is taken as text.

The page carries plotly.js (MIT) and a short script of ours, and a policy by which a browser runs these two, known by their hashes, and nothing else, and
loads nothing from anywhere: so neither a name in a store nor a picture in a run can bring in code. Pictures are plain data for plotly, drawn when they
come into view; beneath each is a table of the same numbers, for those who do not see it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..command import local_path
from ..errors import need
from ..notebook import html_table
from ..places import open_place

LINK = re.compile(r"https?://[^\s<>\"'`]+")
CODE = re.compile(r"`([^`]+)`")
Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What plotly is to draw, and the same in words and numbers."""

    title: str
    said: str  # what is to be seen, for those who do not
    traces: list[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)
    columns: Sequence[str] = ()
    rows: Rows = ()
    height: int = 320  # px


def text(value: object) -> str:
    """Any value as HTML: numbers with separators, an address of the web as a link, `None` as unknown."""
    if value is None or value == "":
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return "<br>".join(map(text, value)) or "none"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.5g}"
    said, parts, end = str(value), [], 0
    for found in LINK.finditer(said):
        address = found[0].rstrip(".,;:)")
        parts += [escape(said[end : found.start()]), f'<a href="{escape(address)}" rel="noopener noreferrer">{escape(address)}</a>']
        end = found.start() + len(address)
    return "".join(parts) + escape(said[end:])


class Page:
    """A page that grows part by part."""

    def __init__(self, title: str, *, lead: str) -> None:
        self.title = title
        self._parts = [f"<h1>{escape(title)}</h1>", f"<p>{text(lead)}</p>"]
        self._contents: list[tuple[int, str, str]] = []
        self._pictures: list[dict[str, Any]] = []
        self._structures: list[dict[str, Any]] = []

    def heading(self, said: str, *, level: int) -> None:
        """A heading, which the contents list."""
        name = f"s{len(self._contents)}"
        self._contents.append((level, name, said))
        self._parts.append(f'<h{level} id="{name}">{escape(said)}</h{level}>')

    def say(self, said: str) -> None:
        """A paragraph."""
        self._parts.append(f"<p>{_prose(said)}</p>")

    def items(self, said: Iterable[str]) -> None:
        """A list; nothing for nothing."""
        if lines := "".join(f"<li>{_prose(line)}</li>" for line in said):
            self._parts.append(f"<ul>{lines}</ul>")

    def facts(self, facts: Mapping[str, Any]) -> None:
        """Names and what is known of them."""
        self._parts.append("<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{text(value)}</dd>" for name, value in facts.items()) + "</dl>")

    def table(self, title: str, columns: Sequence[str], rows: Rows, *, folded: bool = False) -> None:
        """A table, folded away where it is long or stands below a picture."""
        if rows:
            shown = _table(title, columns, rows)
            self._parts.append(f"<details><summary>{escape(title)}</summary>{shown}</details>" if folded else shown)

    def markup(self, made: str) -> None:
        """HTML of our own making, everything in it escaped."""
        self._parts.append(made)

    def code(self, code: str, *, language: str) -> None:
        """Text to copy."""
        self._parts.append(f'<pre tabindex="0" role="group" aria-label="{escape(language)}"><code>{escape(code)}</code></pre>')

    def picture(self, picture: Picture) -> None:
        """A picture with its table beneath."""
        number = len(self._pictures)
        self._pictures.append({"traces": picture.traces, "layout": picture.layout})
        box = f'<div class="plot" data-picture="{number}" style="height:{picture.height}px" role="img" aria-label="{escape(picture.title)}. {escape(picture.said)}"></div>'
        below = f"<details><summary>The numbers of {escape(picture.title)}</summary>{_table(picture.title, picture.columns, picture.rows)}</details>"
        self._parts.append(f"<figure>{box}<figcaption>{text(picture.said)}</figcaption>{below}</figure>")

    def image(self, data: bytes, *, title: str, said: str) -> None:
        """A picture that is there as PNG."""
        source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        self._parts.append(
            f'<figure><img src="{source}" alt="{escape(title)}. {escape(said)}"><figcaption>{text(said)}</figcaption></figure>'
        )

    def structures(self, frames: Sequence[Mapping[str, Any]], look: Mapping[str, tuple[str, float]]) -> None:
        """Structures that turn: by the mouse, or by buttons."""
        number = len(self._structures)
        kept = ("symbols", "positions", "cell", "bonds")
        self._structures.append({"look": dict(look), "frames": [{key: frame[key] for key in kept} for frame in frames]})
        choices = "".join(f'<option value="{i}">{escape(_name(frame))}</option>' for i, frame in enumerate(frames))
        turns = "".join(
            f'<button type="button" data-turn="{way}" aria-label="turn {way}">{arrow}</button>'
            for way, arrow in (("left", "←"), ("right", "→"), ("up", "↑"), ("down", "↓"))
        )
        said = f"{len(frames)} structures as balls and sticks, one at a time; the tables below have their atoms"
        self._parts.append(
            f'<figure class="viewer" data-structures="{number}"><div class="bar"><label>Structure <select>{choices}</select></label>'
            f'<span role="group" aria-label="turn">{turns}</span></div>'
            f'<div class="plot" style="height:420px" role="img" aria-label="{said}"></div></figure>'
        )

    def to_bytes(self) -> bytes:
        """The whole page; equal parts give equal bytes."""
        library = need("plotly.offline", extra="cards").get_plotlyjs()
        scripts = [library.replace("</script", "<\\/script"), _own("page.js")]
        data = {"pictures": self._pictures, "structures": self._structures}
        policy = f"default-src 'none'; script-src {' '.join(map(_hash, scripts))}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
        head = (
            f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
            f'<title>{escape(self.title)}</title><link rel="icon" href="data:,"><style>{_own("page.css")}</style>'
        )
        body = f'<a class="skip" href="#main">To the content</a>{self._navigation()}<main id="main" tabindex="-1">{"".join(self._parts)}</main>'
        note = "<noscript><p>Pictures need JavaScript; every number of theirs is in a table.</p></noscript>"
        kept = f'<script type="application/json" id="data">{_json(data)}</script>'
        code = "".join(f"<script>{script}</script>" for script in scripts)
        return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{note}{body}\n{kept}\n{code}</body></html>\n'.encode()

    def _navigation(self) -> str:
        """Links to the headings of the first two levels."""
        links = "".join(
            f'<li class="l{level}"><a href="#{name}">{escape(said)}</a></li>' for level, name, said in self._contents if level <= 3
        )
        return f'<nav aria-label="Contents"><ul>{links}</ul></nav>' if links else ""


def write_page(page: Page, path: Path) -> int:
    """Write a page in one piece, and return its bytes."""
    data = page.to_bytes()
    open_place(str(local_path(path.parent))).write(path.name, data)
    return len(data)


def _prose(said: str) -> str:
    """A text in which what stands between backticks is code."""
    return CODE.sub(r"<code>\1</code>", text(said))


def _name(frame: Mapping[str, Any]) -> str:
    return f"{frame['formula']}, {len(frame['symbols'])} atoms, {frame['origin']}"


def _table(title: str, columns: Sequence[str], rows: Rows) -> str:
    return f'<div class="wide" tabindex="0" role="group" aria-label="{escape(title)}">{html_table(title, columns, rows)}</div>'


def _json(value: Any) -> str:
    """JSON that ends no script and begins no comment, whatever the texts in it are."""
    said = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return said.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8").strip()
