"""CALYPSO results -> structures: `results/pso_opt_N` (relaxed) and `pso_ini_N` (as generated).

Each structure is a POSCAR without symbols; in pso_opt a line with the enthalpy per atom (eV) stands before it, 610612509 where the
relaxation failed. The symbols are `NameOfAtoms` of `../input.dat`, or option `symbols`. An enthalpy is E + pV at the pressure of
the search, which these files do not hold, so it is no energy and no label is made of it; option `energy: enthalpy` takes it as one for a
search at zero pressure. The group is the file: the structures of one generation descend from another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import Frame, Rejection

from ..build import Unusable, build
from ..bytes.files import SourceFile
from .poscar import looks_like_poscar, parse_poscar

FAILED = 610612509.0  # eV per atom, CALYPSO's sentinel
MAX_BYTES = 256 << 20
MAX_INPUT = 1 << 20  # bytes of input.dat
LEFT_OUT = ("energy: the enthalpy is E + pV; `options: {energy: enthalpy}` takes it for a search at zero pressure",)


class CalypsoReader:
    """`pso_opt_*` and `pso_ini_*`."""

    name = "calypso"
    options: dict[str, tuple[str, ...]] = {"symbols": (), "energy": ("none", "enthalpy")}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the structures; a failed one comes as a `Rejection`."""
        search = _Search(file, spec)
        lines = file.bytes(MAX_BYTES).decode("utf-8", "replace").splitlines()
        relaxed = file.basename.startswith("pso_opt")
        taken = spec.options.get("energy") == "enthalpy"
        if taken and search.pressure:
            raise SourceError(f"the search is at {search.pressure:g} kbar: its enthalpy is no energy", where=file.name)
        at, i = 0, 0
        while at < len(lines):
            if not lines[at].strip() and not looks_like_poscar(lines, at):
                at += 1
                continue
            origin = f"{file.name}#{i}"
            try:
                enthalpy = float(lines[at]) if relaxed else None
                structure = parse_poscar(lines, at + relaxed, named=search.symbols)
            except (Unusable, ValueError) as bad:
                raise SourceError(f"not a CALYPSO result: {bad}", where=f"{file.name}:{at + 1}") from None
            at, i = structure.end, i + 1
            if enthalpy is not None and abs(enthalpy - FAILED) < 1.0:
                yield Rejection(origin=origin, reason="failed relaxation (CALYPSO's 610612509)", value=enthalpy)
            elif not search.makes(structure.symbols):
                yield Rejection(origin=origin, reason="not of the composition that input.dat states", value=" ".join(search.symbols))
            else:
                yield build(
                    origin=origin,
                    group=file.name,
                    symbols=structure.symbols,
                    positions=structure.positions,
                    cell=structure.cell,
                    energy=enthalpy * len(structure.symbols) if enthalpy is not None and taken else None,
                    left_out=LEFT_OUT if relaxed and not taken else (),
                )

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """The name, and a structure at its start, in pso_opt below an enthalpy."""
        lines = head.decode("utf-8", "replace").splitlines()
        while lines and not lines[0].strip() and not looks_like_poscar(lines, 0):
            lines = lines[1:]
        found = re.fullmatch(r"pso_(opt|ini)_\d+", file.basename)
        return found is not None and looks_like_poscar(lines, int(found[1] == "opt"))


class _Search:
    """What is searched: of option `symbols`, or of the input.dat above the results."""

    def __init__(self, file: SourceFile, spec: SourceSpec):
        given = file.sibling("../input.dat") or file.sibling("input.dat")
        text = given.bytes(MAX_INPUT).decode("utf-8", "replace") if given is not None else ""
        chosen, stated = str(spec.options.get("symbols", "")).split(), _words(text, "NameOfAtoms")
        if chosen and stated and chosen != stated:
            said = f"input.dat says that its atoms are {' '.join(stated)}, the card says {' '.join(chosen)}"
            raise SourceError(said, where=file.name, hint="leave `options: {symbols}` out")
        self.symbols = chosen or stated
        if not self.symbols:
            hint = 'say `options: {symbols: "Li H"}` in the card'
            raise SourceError("no input.dat with NameOfAtoms above it", where=file.name, hint=hint)
        fixed = bool(stated) and _words(text, "VSC")[:1] not in (["T"], ["True"])
        self.numbers = [int(word) for word in _words(text, "NumberOfAtoms") if word.isdigit()] if fixed else []
        pressure = _words(text, "PSTRESS")
        self.pressure = float(pressure[0]) if pressure else 0.0  # kbar

    def makes(self, symbols: Sequence[str | int]) -> bool:
        """Whether a structure has whole units of the formula that is searched."""
        if len(self.numbers) != len(self.symbols):
            return True
        units = {list(symbols).count(name) / count for name, count in zip(self.symbols, self.numbers) if count}
        return len(units) == 1 and units.pop().is_integer() and len(symbols) == sum(map(list(symbols).count, self.symbols))


def _words(text: str, key: str) -> list[str]:
    """The words after `key =`, [] where it is not written."""
    found = re.search(rf"^\s*{key}\s*=\s*([^#\n]*)", text, re.MULTILINE | re.IGNORECASE)
    return found[1].split() if found else []
