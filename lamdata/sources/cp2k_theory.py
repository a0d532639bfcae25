"""Theory of a CP2K run, as its output states it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..units import HARTREE
from .numbers import floats

FUNCTIONALS = {("BECKE88", "LYP"): "BLYP", ("LYP", "BECKE88"): "BLYP"}


def cp2k_theory(lines: Iterator[str]) -> dict[str, Any]:
    """Read the fields of `Theory` from what stands before the first SCF."""
    out: dict[str, Any] = {}
    parts: list[str] = []
    basis: set[str] = set()
    potential: set[str] = set()
    for line in lines:
        if "CP2K| version string" in line:
            out["code"] = "CP2K " + line.split()[-1]
        elif found := re.match(r" FUNCTIONAL\| ([A-Z0-9_]+):", line):
            parts.append(found[1])
        elif "HFX_INFO| FRACTION" in line:
            out["exact"] = floats(line.partition(":")[2])[-1]
        elif "QS| Density cutoff" in line:
            out["cutoff"] = round(floats(line.partition(":")[2])[0] * HARTREE, 2)
        elif "Spin unrestricted" in line or "Spin restricted" in line or "DFT| Restricted" in line:
            out["spin"] = "collinear" if "UKS" in line or "unrestricted" in line else "none"
        elif "vdW POTENTIAL|" in line and "DFT-D" in line:
            out["dispersion"] = re.sub(r".*DFT-(D\d).*", r"\1", line.strip())
        elif "vdW POTENTIAL|" in line and "BJ Damping" in line:
            out["dispersion"] = out.get("dispersion", "D3") + "(BJ)"
        elif "DFT+U" in line:
            out["hubbard_u"] = "DFT+U"
        elif "Orbital Basis Set" in line:
            basis.add(line.split()[-1])
        elif "Potential information for" in line:
            potential.add(re.sub(r"-q\d+$", "", line.split()[-1]))
        elif "SCF WAVEFUNCTION OPTIMIZATION" in line or "ENERGY|" in line:
            break  # all that is stated stands before
    if "code" not in out:
        return {}
    exact = out.pop("exact", None)
    if parts:
        out["functional"] = FUNCTIONALS.get(tuple(dict.fromkeys(parts)), "+".join(dict.fromkeys(parts)))
        if exact:
            out["functional"] += f"+HFX({exact:g})"
    if basis or potential:
        out["core"] = ", ".join([*sorted(basis), *sorted(potential)])
    return {"dispersion": "none", "hubbard_u": "none"} | out
