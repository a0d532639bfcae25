"""The input that an ORCA output repeats -> what it asks for: words after `!` in any order, and the blocks that matter to an energy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from .theory_words import DISPERSION, built_in_dispersion, is_basis, is_method, only

REFERENCES = ("hf", "rhf", "uhf", "rohf")
SOLVENT = re.compile(r"(c-?pcmc?|smd|cosmo|ddcosmo|alpb|cosmors|draco|lrcpcm)(?:\(\s*([^)]*?)\s*\))?$", re.IGNORECASE)
LAYERS = re.compile(r"^\s*!.*\b(?:QM/|QMMM|ONIOM|MM\b|CRYSTAL-QMMM|IONIC-CRYSTAL-QMMM)", re.IGNORECASE | re.MULTILINE)
GHOST = re.compile(r"^\s*[A-Z][a-z]?(?:\(\d+\))?\s*:\s+[-+.\d]", re.IGNORECASE | re.MULTILINE)
BLOCKS = {  # what the input puts around the atoms, or which of their states it asks the SCF for
    "point charges": re.compile(r"%\s*pointcharges\b", re.IGNORECASE),
    "broken symmetry": re.compile(r"^\s*(?:%\s*scf\b.*)?\b(?:brokensym|flipspin)\b", re.IGNORECASE | re.MULTILINE),
    "fractional occupation": re.compile(r"^[^#\n]*\b(?:smeartemp|fracocc|fod)\b", re.IGNORECASE | re.MULTILINE),
    "added potentials": re.compile(r"^\s*(?:%\s*geom\b.*)?\bpotentials\b", re.IGNORECASE | re.MULTILINE),
    "DeltaSCF": re.compile(r"^\s*!.*\bdeltascf\b", re.IGNORECASE | re.MULTILINE),
    "electric field": re.compile(r"^[^#\n]*\befield\b\s*=?\s*[-\d]", re.IGNORECASE | re.MULTILINE),
}


def one_job(lines: Iterable[str], number: int) -> str:
    """The text of one job (from 0) of an input that may hold several; of the last where it holds fewer."""
    jobs = re.split(
        r"^\s*\$new_?job.*$", "\n".join(re.sub(r"#[^#\n]*(?:#|$)", " ", line) for line in lines), flags=re.IGNORECASE | re.MULTILINE
    )
    return jobs[min(number, len(jobs) - 1)]


def simple_words(text: str) -> list[str]:
    """The words of all lines that begin with `!`."""
    return [word for line in text.split("\n") if line.lstrip().startswith("!") for word in line.replace("!", " ").split()]


def asked_theory(text: str) -> dict[str, Any]:
    """The fields of `Theory` that one job asks for; what is not understood is left out."""
    words = simple_words(text)
    functional = only([word for word in words if is_method(word) and word.lower() not in REFERENCES])
    if functional is None and not any(is_method(word) for word in words if word.lower() not in REFERENCES):
        block = re.findall(r"^\s*(?:%\s*method\b.*?)?\bfunctional\s+(\S+)", text, re.IGNORECASE | re.MULTILINE)
        functional = only(block) if block else "HF" if any(word.lower() in REFERENCES for word in words) else None
    sets = [word for word in words if is_basis(word)]
    own = re.search(r"\b(?:newgto|addgto|gtoname)\b", text, re.IGNORECASE)  # some elements have another
    block = re.findall(r"^\s*(?:%\s*basis\b.*?)?\bbasis\s+\"([^\"]+)\"", text, re.IGNORECASE | re.MULTILINE)
    asked = only([DISPERSION[word.lower()] for word in words if word.lower() in DISPERSION and word.lower() != "none"])
    out = {
        "functional": functional,
        "core": None if own else only(sets or block),
        "dispersion": asked or built_in_dispersion(functional),
    }
    return {name: value for name, value in out.items() if value is not None}


def asked_surroundings(text: str) -> list[str]:
    """What one job puts around its atoms or asks of their state, but for the solvent of which the output says more."""
    return [name for name, pattern in BLOCKS.items() if pattern.search(text)]


def asked_solvent(text: str) -> str | None:
    """ "SMD water", "CPCM toluene"; "CPCM" alone where the solvent is in a block; None in vacuum."""
    for word in simple_words(text):
        if found := SOLVENT.match(word):
            return " ".join(part for part in (found[1].upper().replace("-", ""), (found[2] or "").strip("\"' ").lower()) if part)
    return None
