"""vasprun.xml -> its parts as they pass: elements of the head, and of each ionic step what is asked for.

An ionic step that is as plain as VASP writes it is taken from the text, many times as fast as by a parser of XML, which gets the rest
and decides for all of it whether it is well formed. What is heavy and not asked for is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import cast
from xml.etree import ElementTree

import numpy as np

from lamdata.errors import SourceError
from lamdata.frame import F64

from ..bytes.files import SourceFile
from ..bytes.numbers import columns
from ..bytes.scan import plain_elements, take_rows
from .vasp_labels import FREE

HEAVY = {"dos", "eigenvalues", "projected", "kpoints", "dielectricfunction", "dynmat", "set"}
DEEP = 100  # levels; VASP nests about ten
SIGMA0 = "e_0_energy"
CHUNK = 1 << 16  # bytes read at once
PIECE = 1 << 14  # bytes given to the parser at once
LARGEST = 1 << 19  # bytes of an ionic step that is held to be taken from the text
BEGIN, END = b"<calculation>", b"</calculation>"
TABLES = {
    "basis": "structure/crystal/varray[@name='basis']",
    "positions": "structure/varray[@name='positions']",
    "forces": "varray[@name='forces']",
    "stress": "varray[@name='stress']",
}
LOOP, STRUCTURE = 0, 1  # places in PATHS; then energies of loops, energies of the step, tables
PATHS = (
    "/scstep",
    "/structure",
    *(f"/scstep/energy/i@{name}" for name in (FREE, SIGMA0)),
    *(f"/energy/i@{name}" for name in (FREE, SIGMA0)),
    *("/" + path.replace("[@name='", "@").removesuffix("']") for path in TABLES.values()),
)
PATHS_IN_BYTES = tuple(path.encode() for path in PATHS)
Energies = Mapping[str, float | None]  # FREE and SIGMA0, eV; None where it is missing or overflowed to stars


@dataclass(slots=True)
class FromText:
    """An ionic step that was taken from the text."""

    loops: list[dict[str, float | None]] = field(default_factory=list)  # of each electronic step before the structure
    stated: dict[str, float | None] = field(default_factory=lambda: {FREE: None, SIGMA0: None})
    tables: dict[str, F64] = field(default_factory=dict)

    def table(self, name: str) -> F64 | None:
        """The table of that name."""
        return self.tables.get(name)


class FromElement:
    """An ionic step as a parser of XML gives it."""

    def __init__(self, calculation: ElementTree.Element):
        own = takewhile(lambda child: child.tag != "structure", calculation)  # electronic steps after it are those of a response
        self._element = calculation
        self.loops: Sequence[Energies] = [_energies(child) for child in own if child.tag == "scstep"]
        self.stated: Energies = _energies(calculation)

    def table(self, name: str) -> F64 | None:
        """The first table of that name; nan where a number overflowed to stars, ValueError where it has no three columns."""
        found = self._element.find(TABLES[name])
        if found is None:
            return None
        rows = [columns(v.text or "", count=3) for v in found.iterfind("v")]
        if any(len(row) != 3 for row in rows):
            raise ValueError(f"rows of {sorted({len(row) for row in rows})} numbers in {TABLES[name].rpartition('/')[2]}")
        return np.array(rows, np.float64).reshape(-1, 3)


Calculation = FromText | FromElement


def _energies(element: ElementTree.Element) -> dict[str, float | None]:
    """The last energy of each name directly below."""
    return {
        name: _number(next(reversed([i.text or "" for i in element.iterfind(f"energy/i[@name='{name}']")]), "")) for name in (FREE, SIGMA0)
    }


def _number(text: str | bytes) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def from_text(text: bytes, start: int, stop: int) -> FromText | None:
    """The ionic step that is `text[start:stop]`; None where it is not as plain as VASP writes it."""
    if (found := plain_elements(text, start, stop, PATHS_IN_BYTES)) is None:
        return None
    out, before, names, names_of_tables = FromText(), True, (FREE, SIGMA0), tuple(TABLES)
    for which, begin, end in found:
        if which == LOOP:
            if before:
                out.loops.append({FREE: None, SIGMA0: None})
        elif which == STRUCTURE:
            before = False
        elif which < 6:
            if text.find(b"<", begin, end) >= 0:
                return None
            if which >= 4:
                out.stated[names[which - 4]] = _number(text[begin:end])
            elif before:
                out.loops[-1][names[which - 2]] = _number(text[begin:end])
        elif (name := names_of_tables[which - 6]) not in out.tables:
            if (table := _table(text, begin, end)) is None:
                return None
            out.tables[name] = table
    return out


def _table(text: bytes, begin: int, end: int) -> F64 | None:
    """Lines of `<v> 1.0 2.0 3.0 </v>` between two tags; None where there is anything else."""
    count, first = text.count(b"<v>", begin, end), text.find(b"\n", begin, end) + 1
    out = np.empty((count, 3))
    if text.count(b"<", begin, end) != 2 * count or not first or text[begin:first].strip():
        return None
    done, at = take_rows(text, first, "nnn", out, after=b"<v>", until=b"<")
    return out if done == count and at <= end and not text[at:end].strip() else None


def count_steps(file: SourceFile) -> int:
    """How many ionic steps begin in a file, whole or not."""
    count, rest = 0, b""
    with file.open() as stream:
        while more := stream.read(CHUNK):
            text = rest + more
            count += text.count(BEGIN)
            rest = text[1 - len(BEGIN) :]
    return count


def read_parts(file: SourceFile) -> Iterator[ElementTree.Element | Calculation]:
    """Yield the children of the root, whole, without the heavy parts; refuse what VASP never writes."""
    if b"<!DOCTYPE" in file.head(4096):
        raise SourceError("declares a document type: refused", where=file.name)
    tree, text, plain = _Tree(file), b"", True
    with file.open() as stream:
        while more := stream.read(CHUNK):
            text += more
            while True:
                begin = text.find(BEGIN)
                if begin < 0:
                    kept = len(text) - len(BEGIN) + 1
                    yield from tree.feed(text[: max(kept, 0)])
                    text = text[max(kept, 0) :]
                    break
                yield from tree.feed(text[:begin])
                text = text[begin:]
                end = text.find(END) + len(END)
                if end < len(END) and len(text) < LARGEST:
                    break
                plain = plain and tree.between_children
                step = from_text(text, 0, end) if plain and end >= len(END) else None
                if step is not None:
                    yield step
                else:
                    end = end if end >= len(END) else len(text)
                    yield from tree.feed(text[:end])
                text = text[end:]
        yield from tree.feed(text)
        yield from tree.close()


class _Tree:
    """A parser of XML that keeps no more than the child of the root that it is in."""

    def __init__(self, file: SourceFile):
        self._parser: ElementTree.XMLPullParser[ElementTree.Element] = ElementTree.XMLPullParser(("start", "end"))
        self._where = file.name
        self._inside: list[ElementTree.Element] = []
        self._heavy, self._odd = 0, False

    @property
    def between_children(self) -> bool:
        """Whether the root is open and nothing below it, and no comment can have been begun."""
        return len(self._inside) == 1 and not self._odd

    def feed(self, text: bytes) -> Iterator[ElementTree.Element | Calculation]:
        """Yield the children that end in the text."""
        self._odd = self._odd or b"<!" in text
        for at in range(0, len(text), PIECE):  # all that a piece holds is built before the heavy of it is dropped
            self._parser.feed(text[at : at + PIECE])
            yield from self._children()

    def close(self) -> Iterator[ElementTree.Element | Calculation]:
        """The end: an error where the document is not whole."""
        self._parser.close()
        yield from self._children()

    def _children(self) -> Iterator[ElementTree.Element | Calculation]:
        inside = self._inside
        events = cast(Iterator[tuple[str, ElementTree.Element]], self._parser.read_events())  # as of these two kinds
        for event, element in events:
            if event == "start":
                inside.append(element)
                self._heavy += element.tag in HEAVY
                if len(inside) > DEEP:
                    raise SourceError("nested too deeply", where=self._where)
                continue
            inside.pop()
            in_heavy, self._heavy = self._heavy, self._heavy - (element.tag in HEAVY)
            if len(inside) == 1:
                yield FromElement(element) if element.tag == "calculation" else element
                inside[0].remove(element)
                element.clear()
            elif in_heavy and len(inside) > 1 and inside[1].tag != "atominfo":
                element.clear()
