"""CALYPSO results -> structures: `results/pso_opt_N` (relaxed) and `pso_ini_N` (as generated).

Each structure is a POSCAR without symbols; in pso_opt a line with the enthalpy per atom (eV) stands before it, 610612509 where the
relaxation failed. The symbols are `NameOfAtoms` of `../input.dat`, or option `symbols`. An enthalpy is E + pV at the pressure of
the search, which these files do not hold, so it is no energy and no label is made of it; option `energy: enthalpy` takes it as one for a
search at zero pressure. The group is the file: the structures of one generation descend from another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
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
NAMES = re.compile(r"^\s*NameOfAtoms\s*=\s*(.+?)\s*(#.*)?$", re.MULTILINE | re.IGNORECASE)


class CalypsoReader:
    """`pso_opt_*` and `pso_ini_*`."""

    name = "calypso"
    options = {"symbols": (), "energy": ("none", "enthalpy")}
    open_units = False

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the structures; a failed one comes as a `Rejection`."""
        named = _symbols(file, spec)
        lines = file.bytes(MAX_BYTES).decode("utf-8", "replace").splitlines()
        relaxed = file.basename.startswith("pso_opt")
        at, i = 0, 0
        while at < len(lines):
            if not lines[at].strip() and not looks_like_poscar(lines, at):
                at += 1
                continue
            origin = f"{file.name}#{i}"
            try:
                enthalpy = float(lines[at]) if relaxed else None
                structure = parse_poscar(lines, at + relaxed, named=named)
            except (Unusable, ValueError) as bad:
                raise SourceError(f"not a CALYPSO result: {bad}", where=f"{file.name}:{at + 1}") from None
            at, i = structure.end, i + 1
            if enthalpy is not None and abs(enthalpy - FAILED) < 1.0:
                yield Rejection(origin=origin, reason="failed relaxation (CALYPSO's 610612509)", value=enthalpy)
                continue
            energy = enthalpy * len(structure.symbols) if enthalpy is not None and spec.options.get("energy") == "enthalpy" else None
            yield build(
                origin=origin, group=file.name, symbols=structure.symbols, positions=structure.positions, cell=structure.cell, energy=energy
            )

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """The name."""
        return bool(re.fullmatch(r"pso_(opt|ini)_\d+", file.basename))


def _symbols(file: SourceFile, spec: SourceSpec) -> list[str]:
    if "symbols" in spec.options:
        return str(spec.options["symbols"]).split()
    given = file.sibling("../input.dat") or file.sibling("input.dat")
    found = NAMES.search(given.bytes(MAX_INPUT).decode("utf-8", "replace")) if given is not None else None
    if found is None:
        raise SourceError("no input.dat with NameOfAtoms above it", where=file.name, hint='say `options: {symbols: "Li H"}` in the card')
    return found[1].split()
