"""Theory: how labels were computed, structured so that two datasets can be compared before they share a head."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from .located import Spec

SAY_THEIR_STATE = ("Gaussian", "ORCA", "Psi4", "VASP")  # programs whose readers state `state` wherever it is another than the usual one
LEFT_OUT = {"state": "the ground state, in vacuum", "model": "computed, not predicted"}  # what a field says that is not there


class Theory(Spec):
    """The level of theory of a dataset's labels. `None` means *not known*, which is not the same as *none*."""

    code: str | None = None
    """Program and version, as "Quantum ESPRESSO 6.7"."""
    functional: str | None = None
    """Exchange-correlation functional or method, as "PBE"."""
    core: str | None = None
    """Pseudopotentials, PAW data sets or basis set."""
    cutoff: float | None = Field(default=None, gt=0)
    """Plane-wave (or density-grid) cutoff in eV."""
    dispersion: str | None = None
    """Dispersion correction, "none" where there is none."""
    hubbard_u: str | None = None
    """Hubbard U scheme and values, "none" where there is none."""
    spin: str | None = None
    """"none", "collinear" or "noncollinear"."""
    state: str | None = None
    """What else the energy is of than the ground state of the atoms alone, as "TD root 1 (singlet)" or "SMD water"; left out where it is that."""
    model: str | None = None
    """The model whose predictions the labels are, as its hash and head; the other fields are then of what it was trained on. Left out where labels were computed."""

    later = ("state", "model")  # what is made of a card before there were these fields is the same to the byte

    def differences(self, other: Theory) -> list[str]:
        """Say where two theories disagree, or cannot be shown to agree, one line a field."""
        out = []
        for name in type(self).model_fields:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is None and theirs is None:
                if name == "functional":
                    out.append("functional is unknown in both")
            elif not _same(_program(mine), _program(theirs)) if name == "code" else not _same(mine, theirs):
                out.append(f"{name}: {_say(name, mine)} against {_say(name, theirs)}")
        return out

    def conflicts(self, stated: Mapping[str, Any]) -> list[str]:
        """Say where a source file contradicts this theory; what either leaves open is no conflict, but what the energy is of is never open."""
        if _program(stated.get("code")) in SAY_THEIR_STATE:
            stated = {**stated, "state": stated.get("state")}
        out = []
        for name, found in stated.items():
            mine = getattr(self, name)
            is_open = name not in LEFT_OUT and (mine is None or found is None)
            if not is_open and not _agrees(name, mine, found):
                out.append(f"{name} is {_say(name, found)} in the file, {_say(name, mine)} in the card")
        return out

    def summary(self) -> str:
        """One short line for tables: "PBE, Quantum ESPRESSO 6.7"."""
        said = ", ".join(part for part in (self.functional, self.state, self.code) if part) or "unknown"
        return said if self.model is None else f"model {self.model} ({said})"


def _agrees(name: str, mine: Any, found: Any) -> bool:
    if name == "cutoff":
        return abs(float(found) - float(mine)) <= 1e-3 * float(mine)
    if name == "core":  # a file names the potentials of its own elements only
        return set(str(found).casefold().replace(",", " ").split()) <= set(str(mine).casefold().replace(",", " ").split())
    if name == "code":
        return _same(_program(mine), _program(found))
    return _same(mine, found)


def _program(code: str | None) -> str | None:
    """The program without its version, as "6.7", "v6.7" or "16 A.03": another release of a code is the same theory."""
    return code and " ".join(word for word in code.split() if not re.match(r"[A-Za-z]?\.?\d", word))


def _same(a: object, b: object) -> bool:
    if isinstance(a, str) and isinstance(b, str):
        return a.casefold().split() == b.casefold().split()
    return a == b


def _say(name: str, value: object) -> str:
    return str(value) if value is not None else LEFT_OUT.get(name, "unknown")
