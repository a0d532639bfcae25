"""A Gaussian route ("#p opt b3lyp/6-31g(d) em=gd3bj scrf=(smd,solvent=water)") -> its words and what they ask for, in any order."""

from __future__ import annotations

import re

from .theory_words import DISPERSION, FUNCTIONALS

WIDTH = 70  # Gaussian breaks a route after so many characters, within words
TOKEN = re.compile(r"(?:[^\s,()]|\([^()]*(?:\([^()]*\)[^()]*)*\))+")
EXCITED = ("td", "tda", "cis", "cis(d)", "eomccsd", "eom-ccsd", "sac-ci", "zindo")
CORRELATED = ("ccd", "ccsd", "qcid", "qcisd", "bd", "cid", "cisd", "ci")
SOLVENT_MODELS = ("smd", "scipcm", "ipcm", "cpcm", "iefpcm", "pcm", "dipole")
CHANGED_FUNCTIONAL = re.compile(r"iop\([^)]*\b3/(?:74|76|77|78|107|108|130|131)=")  # the functional is then another than its name says


def join_route(lines: list[str]) -> str:
    """The route as it was before it was broken into lines; each line has a space before it, and has lost those at its end."""
    return "".join(line.rstrip("\r\n")[1:].ljust(WIDTH) for line in lines).strip()


def route_words(route: str) -> dict[str, str]:
    """Words in small letters -> their options: `{"opt": "", "scrf": "smd,solvent=water", "b3lyp": ""}`; method and basis are two words."""
    out: dict[str, str] = {}
    for token in TOKEN.findall(re.sub(r"\s*=\s*", "=", route.lower())):
        for part in re.sub(r"^#[pnt]?", "", token).split("/") if not token.startswith("iop") else [token]:
            found = re.match(r"([^=(]+)=?\(?(.*?)\)?$", part)
            if found:
                out[found[1]] = found[2]
    return out


def bare_method(label: str) -> tuple[str, str]:
    """(reference, method) of "RB3LYP", "UHF" or "ROB3LYP"; O-LYP and O3LYP begin with an O of their own."""
    found = re.match(r"(RO(?![-\d])|R|U)?(.*)", label)
    reference, method = (found[1] or "", found[2]) if found else ("", label)
    if reference == "RO" and f"o{method}".lower() in FUNCTIONALS and method.lower() not in FUNCTIONALS:
        reference, method = "R", f"O{method}"
    return reference, method


def correlated_method(words: dict[str, str]) -> str | None:
    """The correlated method that a route asks for, without its triples; None where it asks for none or several."""
    found = {bare for word in words if (bare := re.sub(r"^(?:ro|r|u)(?=[cqb])", "", word)) in CORRELATED}
    return found.pop().upper() if len(found) == 1 else None


def asked_functional(words: dict[str, str]) -> str | None:
    """The functional that a route names; None where it names none or several."""
    found = {
        bare for word in words if (bare := re.sub(r"^(?:ro|r|u)(?=[a-z])", "", word) if word not in FUNCTIONALS else word) in FUNCTIONALS
    }
    return found.pop().upper() if len(found) == 1 else None


def asked_dispersion(words: dict[str, str]) -> str | None:
    """The dispersion correction that a route asks for; None where it does not."""
    word = words.get("empiricaldispersion", words.get("em"))
    return None if word is None else DISPERSION.get(word, word.upper())


def asked_surroundings(words: dict[str, str]) -> dict[str, str]:
    """What a route puts around the atoms: {"model": "SMD", "solvent": "water", "field": "x+10", "charges": "point charges"}."""
    out: dict[str, str] = {}
    options = words.get("scrf", "none").replace(" ", "").split(",")
    if not set(options) & {"none", "check", "checkpoint"}:
        named = dict(option.split("=", 1) for option in options if "=" in option)
        out["model"] = next((model.upper() for model in SOLVENT_MODELS if model in options), "PCM")
        out["solvent"] = named.get(
            "solvent", next((option for option in options if option and option not in KNOWN_SCRF and "=" not in option), "water")
        )
    if words.get("field", "none") not in ("none", "check", "chk", "checkpoint"):
        out["field"] = f"electric field {words['field'].upper()}"
    if "charge" in words:
        out["charges"] = "point charges"
    return out


KNOWN_SCRF = (
    *SOLVENT_MODELS,
    "read",
    "savescratch",
    "externaliteration",
    "selfconsistent",
    "sc",
    "numerical",
    "1stvac",
    "modify",
    "dovacuum",
    "skipvacuum",
)
