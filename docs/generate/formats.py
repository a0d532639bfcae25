"""The registry of readers -> the page of formats that are read."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from typing import Any

from tables import code, table

ROOMS = {
    "codes": "What programs print",
    "labelled": "Collections with labels",
    "structures": "Collections of structures",
}
INTRODUCTION = """A source of a card names its format (`format: NAME`) or leaves it to be guessed (`format: auto`) from the file's name and first bytes, the
more telling signs first. Archives (tar, zip) and compressed files (gzip, bzip2, xz, zstd) are read as they are. Numbers come out in eV, Å and eV/Å; where a
format leaves its units open, the card states them (`units`), and where it names labels freely, the card may say which (`keys`). A file that states its own theory is
compared with the card.

A reader of another format is one object, registered under the entry point `lamdata.readers`: see [contributing](contributing.md).
"""


def formats_page() -> str:
    """All formats, by what they are files of."""
    from lamdata.sources import readers
    from lamdata.sources.builtin import BUILTIN

    found = {name: readers()[name] for name in BUILTIN}
    parts = ["# Formats read\n", INTRODUCTION]
    for room, title in ROOMS.items():
        mine = {name: reader for name, reader in found.items() if BUILTIN[name].startswith(room)}
        parts += [f"## {title}\n", table(["Format", "What it is", "Known by"], [[code(n), _what(r), known_by(r)] for n, r in mine.items()])]
        parts += [_section(name, reader, BUILTIN[name]) for name, reader in mine.items()]
    return "\n".join(parts)


def _section(name: str, reader: Any, place: str) -> str:
    text = inspect.cleandoc(_docstring(reader))
    facts = [f"Module `lamdata/sources/{place.partition(':')[0].replace('.', '/')}.py`: {_first_line(_module(reader, place))}"]
    facts += [f"Options: {_options(reader.options)}." if getattr(reader, "options", None) else "No options."]
    units, keys = (", ".join(map(code, getattr(reader, name, ()))) for name in ("open_units", "open_keys"))
    facts += [f"Units that a card may state: {units}." if units else "Its units are fixed."]
    facts += [f"Keys that a card may name: {keys}." if keys else "Its keys are fixed."]
    facts += ["Large files are read by several workers at once."] if hasattr(reader, "spans") else []
    return f"### {name}\n\n{text}\n\n" + "".join(f"- {fact}\n" for fact in facts)


def _options(options: dict[str, Any]) -> str:
    return "; ".join(f"`{name}`" + (f" ({', '.join(map(code, values))})" if values else " (any value)") for name, values in options.items())


def _what(reader: Any) -> str:
    return _first_line(_docstring(reader))


def _docstring(reader: Any) -> str:
    """What a reader says of itself; the one for all text outputs lets what reads a run say it."""
    run = getattr(reader, "run", None)
    return (run.__doc__ if run is not None else type(reader).__doc__) or ""


def _module(reader: Any, place: str) -> str:
    return sys.modules[f"lamdata.sources.{place.partition(':')[0]}"].__doc__ or ""


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0]


def known_by(reader: Any) -> str:
    """What tells a format: the signs and endings that its guess looks for, else the docstring of the guess, else the text in it."""
    signs = getattr(reader, "signs", None)
    if not signs:
        return inspect.getdoc(reader.guess) or "signs: " + ", ".join(map(_shown, _constants(reader.guess)))
    endings = [ending for ending in getattr(reader, "endings", ()) if ending]
    return "signs: " + ", ".join(map(_shown, signs)) + (f"; in {', '.join(map(code, endings))}" if endings else "")


def _constants(function: Any) -> list[str | bytes]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    found = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))]
    return [value for value in found if value.strip()]


def _shown(sign: str | bytes | tuple[bytes, ...]) -> str:
    if isinstance(sign, tuple):
        return " with ".join(map(_shown, sign))
    text = sign.decode("utf-8", "replace") if isinstance(sign, bytes) else sign
    return code(text.strip("\n").replace("\n", "\\n"))
