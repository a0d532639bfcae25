"""Theory of a CP2K run, as its output states it."""

from __future__ import annotations

import re
from typing import Any

from lamdata.units import HARTREE

from ..bytes.lines import Lines
from ..bytes.numbers import floats

FUNCTIONALS: dict[tuple[str, ...], str] = {("BECKE88", "LYP"): "BLYP", ("LYP", "BECKE88"): "BLYP"}
USUAL = re.compile(  # terms of the energy of atoms alone
    r"Overlap energy|Self energy|Core Hamiltonian|Hartree|Exchange-correlation|Dispersion|Electronic entropic|Fermi|DFT\+U|Coulomb|Exx|gCP"
    r"|Repulsive|Core-Core|Electronic energy|Total|GAPW|DFTB|xTB|Halogen|Nonbonded|SRB|Bond|Correction|Charge equilibration|.*Exchange energy"
    r"|.*repulsion|EEQ|Zeroth|First|Second|Third|Coulombic",
    re.IGNORECASE,
)
DENSITY = ("GPW", "GAPW", "GAPW_XC", "LRIGPW", "RIGPW", "OFGPW")  # methods that have a functional; the others are functionals themselves


TITLES = {
    "CP2K| version string": "code",
    "\n FUNCTIONAL|": "functional",
    "HFX_INFO| FRACTION": "exact",
    "QS| Method:": "method",
    "QS| Density cutoff": "cutoff",
    "Spin unrestricted": "spin",
    "Spin restricted": "spin",
    "DFT| Restricted": "spin",
    "vdW POTENTIAL|": "dispersion",
    "DFT+U": "hubbard_u",
    "Orbital Basis Set": "basis",
    "Potential information for": "potential",
    " energy:  ": "term",
    "ENERGY|": "end",  # all that is stated stands before
}


def cp2k_theory(lines: Lines) -> dict[str, Any]:
    """Read the fields of `Theory` from what stands before the first SCF."""
    out: dict[str, Any] = {}
    parts: list[str] = []
    basis: set[str] = set()
    potential: set[str] = set()
    states: list[str] = []
    method = ""  # DFTB, xTB, PM6, ...: brings its own dispersion, of which the output says little
    while (found := lines.title(TITLES)) is not None and found[0] != "end":
        name, line = found
        last = line.split()[-1]
        if name == "code":
            out["code"] = f"CP2K {last}"
        elif name == "functional" and (stated := re.match(r" FUNCTIONAL\| ([A-Z0-9_]+):", line)):
            parts.append(stated[1])
        elif name == "method" and last.upper() not in DENSITY:
            method = last
        elif name == "exact":
            out["exact"] = floats(line.partition(":")[2])[-1]
        elif name == "cutoff":
            out["cutoff"] = round(floats(line.partition(":")[2])[0] * HARTREE, 2)
        elif name == "spin":
            out["spin"] = "collinear" if "UKS" in line or "unrestricted" in line else "none"
        elif name == "dispersion" and "DFT-D" in line:
            out["dispersion"] = re.sub(r".*DFT-(D\d).*", r"\1", line.strip())
        elif name == "dispersion" and "BJ Damping" in line:
            out["dispersion"] = out.get("dispersion", "D3") + "(BJ)"
        elif name == "hubbard_u":
            out["hubbard_u"] = "DFT+U"
        elif name == "term" and (found_term := re.match(r" +(\S.*? energy): +(-?\d+\.\d+)", line)):
            if not USUAL.match(found_term[1]) and float(found_term[2]):
                states.append(found_term[1].removesuffix(" energy"))
        elif name == "basis":
            basis.add(last)
        elif name == "potential":
            potential.add(re.sub(r"-q\d+$", "", last))
    if "code" not in out:
        return {}
    if states:
        out["state"] = ", ".join(dict.fromkeys(states))
    if method:
        return out | {"functional": method}
    exact = out.pop("exact", None)
    if parts:
        out["functional"] = FUNCTIONALS.get(tuple(dict.fromkeys(parts)), "+".join(dict.fromkeys(parts)))
        if exact:
            out["functional"] += f"+HFX({exact:g})"
    if basis or potential:
        out["core"] = ", ".join([*sorted(basis), *sorted(potential)])
    return {"dispersion": "none", "hubbard_u": "none"} | out
