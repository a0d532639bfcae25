"""Inputs of CP2K: sections and keywords, and what they say of a trajectory's cell, charge and units."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from lamdata.errors import SourceError
from lamdata.frame import F64

from ..bytes.files import SourceFile
from .cp2k_log import FIXED_CELL, periodic_axes, unit_of

STATES = {  # sections of DFT
    "EFIELD": "electric field",
    "PERIODIC_EFIELD": "electric field",
    "EXTERNAL_POTENTIAL": "external potential",
    "SCCS": "solvent",
    "EXCITED_STATES": "excited state",
}
MAX_INPUT = 16 << 20  # bytes


@dataclass(slots=True)
class Section:
    """A section of an input: keywords in upper case -> their words; sections inside by name, the first of each."""

    words: dict[str, list[str]] = field(default_factory=dict)
    inside: dict[str, Section] = field(default_factory=dict)

    def at(self, path: str) -> Section:
        """The section at `A/B/C`, empty where it is not written."""
        here = self
        for name in path.split("/"):
            here = here.inside.get(name, EMPTY)
        return here

    def word(self, *names: str) -> str:
        """The first word of the first of these keywords that is written; "" where none is."""
        return next((self.words[name][0] for name in names if self.words.get(name)), "")


EMPTY = Section()


def parse_input(text: str) -> Section:
    """The sections of an input as they are nested."""
    top = Section()
    open_sections = [top]
    for line in text.splitlines():
        words = re.sub(r"[!#].*", "", line).split()
        if not words:
            continue
        name = words[0].upper()
        if name.startswith("&END"):
            if len(open_sections) > 1:
                open_sections.pop()
        elif name.startswith("&"):
            section = Section()
            open_sections[-1].inside.setdefault(name[1:], section)
            open_sections.append(section)
        else:
            open_sections[-1].words.setdefault(name, words[1:])
    return top


class Cp2kInput:
    """An input file, as far as a trajectory needs it."""

    def __init__(self, file: SourceFile):
        self.file = file
        self.top = parse_input(file.bytes(MAX_INPUT).decode("utf-8", errors="replace"))

    @property
    def project(self) -> str:
        """PROJECT; where it is not written, "": CP2K then says PROJECT."""
        return self.top.at("GLOBAL").word("PROJECT", "PROJECT_NAME")

    def cell_is_fixed(self) -> bool | None:
        """Whether the cell stays as it is; None where the input does not say what it runs."""
        run = self.top.at("GLOBAL").word("RUN_TYPE").upper()
        ensemble = self.top.at("MOTION/MD").word("ENSEMBLE").upper() or "NVE"
        moving = self.top.at("MOTION/MD/REFTRAJ").words.get("VARIABLE_VOLUME")
        if not run:
            return None
        if run in ("MD", "MOLECULAR_DYNAMICS"):
            return ensemble in FIXED_CELL or (ensemble == "REFTRAJ" and (moving is None or moving[:1] in (["F"], [".FALSE."])))
        return run in ("GEO_OPT", "GEOMETRY_OPTIMIZATION", "ENERGY", "ENERGY_FORCE")

    def cell(self) -> F64 | None:
        """Cell (3, 3) in Å; None where it is not written out."""
        return cell_of(self.top.at("FORCE_EVAL/SUBSYS/CELL"))

    def pbc(self) -> tuple[bool, bool, bool]:
        """PERIODIC of the cell."""
        return periodic_axes(self.top.at("FORCE_EVAL/SUBSYS/CELL").word("PERIODIC").upper() or "XYZ")

    def charge(self) -> int:
        """CHARGE, 0 where it is not written."""
        return int(self.top.at("FORCE_EVAL/DFT").word("CHARGE") or 0)

    def multiplicity(self) -> int | None:
        """MULTIPLICITY, None where CP2K chooses it."""
        return int(self.top.at("FORCE_EVAL/DFT").word("MULTIPLICITY") or 0) or None

    def states(self) -> list[str]:
        """What is put around the atoms, or asked of their electrons."""
        inside = self.top.at("FORCE_EVAL/DFT").inside
        return [said for name, said in STATES.items() if name in inside]

    def says(self) -> tuple[object, ...]:
        """What a trajectory takes from it, but the cell."""
        units = (self.unit("TRAJECTORY", "length"), self.unit("FORCES", "force"))
        return (*units, self.cell_is_fixed(), self.charge(), self.multiplicity(), self.pbc())

    def unit(self, key: str, quantity: str) -> float | None:
        """eV, Å or eV/Å in the UNIT of a print key of MOTION/PRINT; None where it is not written."""
        section = self.top.at(f"MOTION/PRINT/{key}")
        return unit_of(" ".join(section.words["UNIT"]), quantity) if section.words.get("UNIT") else None


def cell_of(section: Section) -> F64 | None:
    """Cell (3, 3) in Å of a CELL section; None where it is not written out as three vectors or three lengths."""
    if section.words.get("MULTIPLE_UNIT_CELL", ["1", "1", "1"]) != ["1", "1", "1"]:
        return None
    try:
        rows = {key: _lengths(words) for key, words in section.words.items() if key in ("A", "B", "C", "ABC")}
        if "ABC" in rows and section.words.get("ALPHA_BETA_GAMMA", ["90"] * 3) == ["90"] * 3:
            return np.diag(rows["ABC"])
        return np.array([rows[axis] for axis in "ABC"])
    except (KeyError, ValueError, SourceError):
        return None


def _lengths(words: list[str]) -> list[float]:
    unit = unit_of(words[0], "length") if words[0].startswith("[") else 1.0
    values = [float(word) * unit for word in words if not word.startswith("[")]
    if len(values) != 3:
        raise ValueError("not three lengths")
    return values
