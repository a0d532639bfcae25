"""Theory: how labels were computed, structured so that two datasets can be compared before they share a head."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from .located import Spec


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

    def differences(self, other: Theory) -> list[str]:
        """Say where two theories disagree, or cannot be shown to agree, one line a field."""
        out = []
        for name in type(self).model_fields:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is None and theirs is None:
                if name == "functional":
                    out.append("functional is unknown in both")
            elif not _same(_program(mine), _program(theirs)) if name == "code" else not _same(mine, theirs):
                out.append(f"{name}: {_say(mine)} against {_say(theirs)}")
        return out

    def conflicts(self, stated: dict[str, Any]) -> list[str]:
        """Say where a source file contradicts this theory; what either leaves open is no conflict."""
        out = []
        for name, found in stated.items():
            mine = getattr(self, name)
            if mine is None or found is None or _agrees(name, mine, found):
                continue
            out.append(f"{name} is {_say(found)} in the file, {_say(mine)} in the card")
        return out

    def summary(self) -> str:
        """One short line for tables: "PBE, Quantum ESPRESSO 6.7"."""
        return ", ".join(part for part in (self.functional, self.code) if part) or "unknown"


def _agrees(name: str, mine: Any, found: Any) -> bool:
    if name == "cutoff":
        return abs(float(found) - mine) <= 1e-3 * mine
    if name == "core":  # a file names the potentials of its own elements only
        return set(str(found).casefold().replace(",", " ").split()) <= set(str(mine).casefold().replace(",", " ").split())
    if name == "code":
        return _same(_program(mine), _program(found))
    return _same(mine, found)


def _program(code: str | None) -> str | None:
    """The program without its version: another release of a code is the same theory."""
    return code and " ".join(word for word in code.split() if not word[0].isdigit() and not word[1:2].isdigit())


def _same(a: object, b: object) -> bool:
    if isinstance(a, str) and isinstance(b, str):
        return a.casefold().split() == b.casefold().split()
    return a == b


def _say(value: object) -> str:
    return "unknown" if value is None else str(value)
