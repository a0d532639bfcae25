"""Theory of a pw.x run, as its output states it, and of a cp.x run, as its input does: one set of names for both."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

from lamdata.units import RYDBERG

from ..bytes.lines import Lines
from ..bytes.numbers import floats
from .qe_deck import Deck

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
    "SCAN": "SCAN",
    "PBE0": "PBE0",
    "HSE": "HSE06",
}
# What else the energy is of, by the term that is printed among its parts.
STATES = {
    "electric field correction": "electric field or dipole correction",
    "gate field correction": "charged gate",
    "monopole field correction": "charged gate",
    "External forces energy": "external forces",
    "pot.stat. contrib. (-muN)": "fixed Fermi level",
    "solvation energy": "solvent",
    "electrostatic embedding": "solvent",
    "Electronic Dipole per cell": "electric field",  # of the Berry phase
    "constraint energy (Ryd)": "moments constrained",
    "the spin up/dw Fermi energies": "moment fixed",
}
DISPERSION = {
    "Parameters for Dispersion (Grimme-D2)": "D2",
    "Dispersion Correction ": "D2",
    "DFT-D3 Dispersion": "D3",
    "Dispersion XDM": "XDM",
    "Dispersion T-S": "TS",
    "Dispersion MBD": "MBD",
}

# vdw_corr of an input.
VDW_CORR = {
    **dict.fromkeys(("grimme-d2", "dft-d"), "D2"),
    **dict.fromkeys(("grimme-d3", "dft-d3"), "D3"),
    **dict.fromkeys(("ts", "ts-vdw", "tkatchenko-scheffler"), "TS"),
    "xdm": "XDM",
    "mbd": "MBD",
    "mbd_vdw": "MBD",
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
    **dict.fromkeys(STATES, "state"),
    "convergence has been achieved": "end",  # all that is stated stands before
    "convergence NOT achieved": "end",
}


def pw_theory(lines: Lines) -> dict[str, Any]:
    """Read the fields of `Theory` from the header and the first SCF."""
    out: dict[str, Any] = {}
    cores: set[str] = set()
    states: set[str] = set()
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
        elif name == "state":
            states.add(next(state for mark, state in STATES.items() if mark in line))
        elif name == "dispersion":
            out["dispersion"] = next(kind for mark, kind in DISPERSION.items() if mark in line)
    if "code" not in out:
        return {}
    if cores:
        out["core"] = ", ".join(sorted(cores))
    if states:
        out["state"] = ", ".join(sorted(states))
    spin = {0: "none", 1: "collinear"}.get(moments, "noncollinear")
    return {"dispersion": "none", "hubbard_u": "none", "spin": spin} | out


def deck_theory(deck: Deck) -> dict[str, Any]:
    """Read the fields of `Theory` from an input of cp.x; the functional only where it is not left to the pseudopotentials."""
    out: dict[str, Any] = {"code": "Quantum ESPRESSO", "core": ", ".join(sorted(set(deck.pseudopotentials())))}
    if functional := deck.word("input_dft"):
        out["functional"] = _functional(f"= {functional}")
    if cutoff := deck.number("ecutwfc"):
        out["cutoff"] = round(cutoff * RYDBERG, 2)
    correction = deck.word("vdw_corr").lower()
    old = "D2" if deck.flag("london") else "none"
    out["dispersion"] = old if correction in ("", "none") else VDW_CORR.get(correction, correction)
    out["spin"] = {0: "none", 1: "none", 2: "collinear"}.get(int(deck.number("nspin")), "noncollinear")
    out["hubbard_u"] = "DFT+U" if deck.flag("lda_plus_u") or "HUBBARD" in deck.text.upper() else "none"
    if fields := [key for key in ("tefield", "lelfield", "dipfield") if deck.flag(key)]:
        out["state"] = f"electric field ({', '.join(fields)})"
    return {name: value for name, value in out.items() if value != ""}


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
