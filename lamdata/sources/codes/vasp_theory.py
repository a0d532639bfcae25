"""What a VASP run says of its theory, from any of its outputs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .vasp_labels import number

GGA = {
    "PE": "PBE",
    "PS": "PBEsol",
    "RP": "RPBE",
    "RE": "revPBE",
    "91": "PW91",
    "CA": "LDA",
    "BO": "optB88-vdW",
    "MK": "optB86b-vdW",
    "OR": "optPBE-vdW",
    "ML": "rev-vdW-DF2",
    "AM": "AM05",
}
DISPERSION = {1: "D2", 10: "D2", 11: "D3", 12: "D3(BJ)", 13: "D4", 2: "TS", 20: "TS", 202: "MBD", 4: "dDsC", 263: "MBD", 3: "ULG"}
TAG = re.compile(
    r"\s+(ENCUT|GGA|METAGGA|LHFCALC|HFSCREEN|AEXX|ISPIN|LNONCOLLINEAR|LUSE_VDW|IVDW|LDAU|LVDW|ISMEAR|LSOL"
    r"|EFIELD|EFIELD_PEAD|NUPDOWN|I_CONSTRAINED_M|ICORELEVEL)\s*=\s*(\S[^;\n]*)"
)
UNSET = 1e3  # V/Å: some versions write a huge number where no field is set
STATES = {  # tags that make the energy that of another state, the value that does not, and what to say
    "EFIELD": (0, "in a field (EFIELD = {})"),
    "NUPDOWN": (-1, "moment fixed (NUPDOWN = {})"),
    "I_CONSTRAINED_M": (0, "moments constrained (I_CONSTRAINED_M = {})"),
    "ICORELEVEL": (0, "core level (ICORELEVEL = {})"),
}


def outcar_theory(lines: Iterator[str]) -> dict[str, Any]:
    """Read the fields of `Theory` from the header of an OUTCAR."""
    tags: dict[str, str] = {}
    titles: list[str] = []
    version = ""
    for line in lines:
        if not version and (found := re.match(r"\s*vasp\.(\d+\.\d+(?:\.\d+)?)", line)):
            version = found[1]
        elif "TITEL  =" in line:
            titles.append(line.partition("=")[2].strip())
        elif "LEXCH  =" in line and "LEXCH" not in tags:
            tags["LEXCH"] = line.partition("=")[2].split()[0]
        elif "LDAUU =" in line or "LDAUL =" in line or "LDAUJ =" in line:
            tags["LDAU" + line.partition("LDAU")[2][0]] = line.rpartition("=")[2].strip()
        elif found := TAG.match(line):
            tags[found[1]] = found[2].strip() if found[1] == "EFIELD_PEAD" else found[2].split()[0]
        elif "Iteration" in line:
            break
    return theory_of(tags, titles, version) if version else {}


def theory_of(tags: Mapping[str, str], titles: list[str], version: str) -> dict[str, Any]:
    """Turn VASP's tags, POTCAR titles and version into fields of `Theory`."""
    found = re.match(r"\d+\.\d+(\.\d+)?", version)
    out: dict[str, Any] = {"code": f"VASP {found[0] if found else version}"}
    if functional := _functional(tags, titles):
        out["functional"] = functional
    if titles:
        out["core"] = ", ".join(sorted(set(titles)))
    if "ENCUT" in tags or "ENMAX" in tags:
        out["cutoff"] = float(tags.get("ENCUT") or tags["ENMAX"])
    out["spin"] = "noncollinear" if _true(tags, "LNONCOLLINEAR") else "collinear" if tags.get("ISPIN", "1") == "2" else "none"
    out["hubbard_u"] = _hubbard(tags)
    ivdw = int(float(tags.get("IVDW", "0").strip(".") or 0))
    out["dispersion"] = "nonlocal" if _true(tags, "LUSE_VDW") else DISPERSION.get(ivdw, f"IVDW={ivdw}" if ivdw else "none")
    return out | ({"state": state} if (state := _state(tags)) else {})


def _state(tags: Mapping[str, str]) -> str:
    """What else the energy is of than the ground state of the atoms alone; "" where it is that."""
    stated = {name: number(tags, name, usual) for name, (usual, _) in STATES.items()}
    said = [STATES[name][1].format(f"{value:g}") for name, value in stated.items() if value != STATES[name][0]]
    said += (
        [f"in a field (EFIELD_PEAD = {tags['EFIELD_PEAD']})"]
        if any(0 < abs(x) < UNSET for x in _numbers(tags.get("EFIELD_PEAD", "")))
        else []
    )
    said += ["occupations fixed (ISMEAR = -2)"] if number(tags, "ISMEAR") == -2 else []
    said += ["implicit solvent (LSOL)"] if _true(tags, "LSOL") else []
    return ", ".join(said)


def _numbers(text: str) -> list[float]:
    """The numbers at the start of a tag's value; a value without any is none."""
    found = re.match(r"(?:\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][-+]?\d+)?)*", text)
    return [float(word.replace("D", "E").replace("d", "e")) for word in found[0].split()] if found else []


def _functional(tags: Mapping[str, str], titles: list[str]) -> str | None:
    meta = tags.get("METAGGA", "--")
    if meta.strip("-") and meta.upper() not in ("F", "T", "NONE"):
        return {"R2SCAN": "r2SCAN", "RSCAN": "rSCAN"}.get(meta.upper(), meta.upper())
    gga = tags.get("GGA", "--").upper()
    lexch = tags.get("LEXCH", "").upper()
    by_potentials = GGA.get(lexch) or ("PBE" if titles and all("PBE" in title for title in titles) else None)
    known = GGA.get(gga, f"GGA = {gga}") if gga.strip("-") else by_potentials  # what is stated outranks what the potentials were made with
    if _true(tags, "LHFCALC"):
        screening, exact = float(tags.get("HFSCREEN", 0)), float(tags.get("AEXX", 0.25))
        if known == "PBE" and exact == 0.25:
            return {0.2: "HSE06", 0.207: "HSE06", 0.3: "HSE03", 0.0: "PBE0"}.get(round(screening, 3), f"HSE({screening:g})")
        return f"{known or 'DFT'}+HF({exact:g}, {screening:g})"
    return known


def _hubbard(tags: Mapping[str, str]) -> str:
    if not (_true(tags, "LDAU") or "LDAUU" in tags):
        return "none"
    numbers = {name: " ".join(f"{float(word):g}" for word in tags[name].split()) for name in ("LDAUL", "LDAUU", "LDAUJ") if name in tags}
    values = "; ".join(f"{name[-1]} = {text}" for name, text in numbers.items())
    return f"DFT+U, {values}" if values else "DFT+U"


def _true(tags: Mapping[str, str], name: str) -> bool:
    return tags.get(name, "F").strip(". ").upper().startswith("T")
