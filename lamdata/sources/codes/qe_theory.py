"""Theory of a pw.x run, as its output states it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

from lamdata.units import RYDBERG

from ..bytes.lines import Lines
from ..bytes.numbers import floats

# QE names functionals by their parts: exchange, correlation and the gradient corrections of each.
FUNCTIONALS = {
    "PBE": "PBE",
    "SLA PW PBX PBC": "PBE",
    "SLA PW PBE PBE": "PBE",
    "PBESOL": "PBEsol",
    "SLA PW PSX PSC": "PBEsol",
    "SLA PZ NOGX NOGC": "LDA",
    "LDA": "LDA",
    "PZ": "LDA",
    "SLA PW REVX PBC": "revPBE",
    "REVPBE": "revPBE",
    "SLA LYP B88 BLYP": "BLYP",
    "BLYP": "BLYP",
}
DISPERSION = {
    "Parameters for Dispersion (Grimme-D2)": "D2",
    "Dispersion Correction ": "D2",
    "DFT-D3 Dispersion": "D3",
    "Dispersion XDM": "XDM",
    "Dispersion T-S": "TS",
    "Dispersion MBD": "MBD",
}


TITLES = {
    "Program PWSCF": "code",
    "Exchange-correlation": "functional",
    "kinetic-energy cutoff": "cutoff",
    "PseudoPot. #": "core",
    "LDA+U calculation": "hubbard_u",
    "Hubbard parameters of DFT+U": "hubbard_u",
    "total magnetization": "spin",
    **dict.fromkeys(DISPERSION, "dispersion"),
    "convergence has been achieved": "end",  # all that is stated stands before
    "convergence NOT achieved": "end",
}


def pw_theory(lines: Lines) -> dict[str, Any]:
    """Read the fields of `Theory` from the header and the first SCF."""
    out: dict[str, Any] = {}
    cores: set[str] = set()
    moments = 0
    while (found := lines.title(TITLES)) is not None and found[0] != "end":
        name, line = found
        if name == "code" and "code" not in out:
            version = re.search(r"v\.?\s?([\d.]+)", line)
            out["code"] = f"Quantum ESPRESSO {version[1]}" if version else "Quantum ESPRESSO"
        elif name == "functional" and "functional" not in out:
            out["functional"] = _functional(line)
        elif name == "cutoff":
            out["cutoff"] = round(floats(line.split("=")[1])[0] * RYDBERG, 2)
        elif name == "core":
            named = line.partition("file")[2].strip(" :\n") or next(lines, "").strip()
            cores.add(posixpath.basename(named))
        elif name == "hubbard_u":
            out["hubbard_u"] = _hubbard(line, lines)
        elif name == "spin":
            moments = max(moments, len(floats(line.split("=")[1])))
        elif name == "dispersion":
            out["dispersion"] = next(kind for mark, kind in DISPERSION.items() if mark in line)
    if "code" not in out:
        return {}
    if cores:
        out["core"] = ", ".join(sorted(cores))
    spin = {0: "none", 1: "collinear"}.get(moments, "noncollinear")
    return {"dispersion": "none", "hubbard_u": "none", "spin": spin} | out


def _functional(line: str) -> str:
    words = " ".join(line.partition("=")[2].partition("(")[0].replace("-", " ").replace("+", " ").split())
    return FUNCTIONALS.get(words.upper(), words)


def _hubbard(line: str, lines: Iterator[str]) -> str:
    """`U(Fe) = 4.0 eV` for each species, whichever way a version prints them."""
    found = []
    for row in lines:
        words = row.split()
        if "U(" in row and "=" in row:  # 7.x: U(Fe-3d) = 4.0000
            found.append(" ".join(words))
        elif len(words) > 2 and words[1].isdigit():  # 6.x: species, L, U, alpha, ...
            found.append(f"U({words[0]}) = {float(words[2]):g}")
        elif found or len(words) > 12:
            break
    return "DFT+U, " + ", ".join(found) if found else "DFT+U"
