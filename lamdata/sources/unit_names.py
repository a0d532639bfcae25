"""The names that files give to units -> the names and factors of `lamdata.units`."""

from __future__ import annotations

from ..units import ENERGY, FORCE, LENGTH, STRESS

_ENERGY_NAMES = {
    "ev": "eV", "mev": "meV", "hartree": "Hartree", "ha": "Hartree", "eh": "Hartree", "au": "Hartree", "a.u.": "Hartree", "ry": "Rydberg",
    "rydberg": "Rydberg", "kcal/mol": "kcal/mol", "kcal_mol": "kcal/mol", "kj/mol": "kJ/mol", "kj_mol": "kJ/mol",
}  # fmt: skip
_LENGTH_NAMES = {
    "a": "Angstrom", "å": "Angstrom", "ang": "Angstrom", "angstrom": "Angstrom", "angstroms": "Angstrom", "bohr": "bohr", "a0": "bohr",
    "au": "bohr", "a.u.": "bohr", "nm": "nm",
}  # fmt: skip
TABLES = {"energy": ENERGY, "length": LENGTH, "force": FORCE, "stress": STRESS}


def canonical(name: str, quantity: str) -> str | None:
    """The name in `lamdata.units` of what a file calls `name`, or None; "Ha/Bohr" as a force is "Hartree/bohr"."""
    low = name.strip().lower().replace(" ", "").replace("**", "^").replace("³", "^3")
    if quantity == "energy":
        return _ENERGY_NAMES.get(low)
    if quantity == "length":
        return _LENGTH_NAMES.get(low)
    if quantity == "force":
        return "Hartree/bohr" if low in ("au", "a.u.") else _ratio(low, FORCE, cubed=False)
    if low in ("gpa", "kbar", "kb"):
        return {"gpa": "GPa", "kbar": "kbar", "kb": "kbar"}[low]
    return "Hartree/bohr^3" if low in ("au", "a.u.") else _ratio(low, STRESS, cubed=True)


def _ratio(name: str, table: dict[str, float], *, cubed: bool) -> str | None:
    energy, _, length = name.rpartition("/")
    length = length.removesuffix("^3") if cubed else length
    found = f"{_ENERGY_NAMES.get(energy)}/{_LENGTH_NAMES.get(length)}{'^3' if cubed else ''}"
    return found if found in table else None
