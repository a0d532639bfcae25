"""What a record states beside its sites: a formula that must agree with them, and labels under usual names that are not read."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from lamdata import elements
from lamdata.catalog import SourceSpec
from lamdata.errors import ConfigError

from .build import NUMBERS, Unusable

TERM = re.compile(r"([A-Z][a-z]?)\s*(\d+(?:\.\d*)?|\.\d+)?\s*")
COUNTS = ("nsites", "natoms", "n_atoms", "num_atoms")
FORMULAS = ("formula_pretty", "pretty_formula", "full_formula", "formula", "chemical_formula", "composition_reduced")
CONVERGED = ("converged", "scf_converged", "electronic_converged", "is_converged", "dft_converged", "converged_electronic")
YES, NO = {"t", "true", "1", "1.0", "yes"}, {"f", "false", "0", "0.0", "no"}
SAID = frozenset((*COUNTS, *FORMULAS, *CONVERGED))
ROUNDED = 0.01  # of a formula unit: how far a formula with decimals may be off
SHARE = 2e-3  # how far a stated share of an element may be off
LABELS = {
    "energy": re.compile(r"(?:.*_)?(?:energy(?:_cell|_atom|_total|_per_?atom)?|enthalpy(?:_cell|_atom)|e_?tot(?:al)?)", re.IGNORECASE),
    "forces": re.compile(r"(?:.*_)?(?:forces?|resid_force_cartn_x)", re.IGNORECASE),
    "virial": re.compile(r"(?:.*_)?(?:stress(?:es)?(?:_tensor)?|virials?)", re.IGNORECASE),
}
DIFFERENCES = re.compile(
    r"formation|hull|fermi|binding|surface|exfoliation|cohesive|adsorption|cutoff|above|zero_?point|band|gap|correction", re.IGNORECASE
)  # no totals


def parse_formula(text: object) -> dict[str, float] | None:
    """Atoms of each element in "Cu S O5 H2" or "Fe2O3", deuterium as hydrogen; None where it is no plain formula."""
    words = str(text).strip().strip("'\"").strip()
    out: dict[str, float] = {}
    at = 0
    for found in TERM.finditer(words):
        if found.start() != at or found[1] not in NUMBERS:
            return None
        symbol = elements.SYMBOLS[NUMBERS[found[1]]]
        out[symbol] = out.get(symbol, 0.0) + float(found[2] or 1.0)
        at = found.end()
    return out if out and at == len(words) and min(out.values()) > 0 else None


def check_formula(stated: object, numbers: Iterable[int]) -> float | None:
    """Refuse atoms that have not the ratios of a formula; return how many formula units they are, None without a plain formula."""
    formula = parse_formula(stated) if stated not in (None, "", "?", ".") else None
    if formula is None:
        return None
    counts = Counter(elements.SYMBOLS[number] for number in numbers)
    found = " ".join(f"{symbol}{count}" for symbol, count in sorted(counts.items()))
    units = sum(counts.values()) / sum(formula.values())
    off = 1e-9 if all(n.is_integer() for n in formula.values()) else ROUNDED
    same = set(counts) == set(formula) and all(abs(counts[symbol] / units - n) <= off for symbol, n in formula.items())
    if not same:
        raise Unusable("composition differs from the formula that is stated", f"{str(stated).strip()[:60]} stated, {found[:60]} found")
    return units


def check_count(stated: object, found: int, what: str) -> None:
    """Refuse a number of atoms, or of something else, that is not the one that is stated; None and "" state nothing."""
    if stated in (None, ""):
        return
    try:
        same = float(str(stated)) == found
    except ValueError:
        same = False
    if not same:
        raise Unusable(f"{what} differs from what is stated", f"{str(stated)[:20]} stated, {found} found")


def check_record(record: Mapping[str, Any], numbers: Sequence[int]) -> None:
    """Refuse atoms that are not what a record of the Materials Project's kind says of its composition: the energy is of that."""
    for name in COUNTS:
        check_count(record.get(name), len(numbers), name)
    check_count(record.get("nelements"), len(set(numbers)), "nelements")
    for name in FORMULAS:
        stated = record.get(name)
        check_formula(_formula_of(stated) if isinstance(stated, Mapping) else stated, numbers)
    if isinstance(whole := record.get("composition"), Mapping):
        units = check_formula(_formula_of(whole), numbers)
        if units is not None and abs(units - 1) > ROUNDED:
            raise Unusable(
                "composition differs from the one that is stated", f"{str(_formula_of(whole))[:60]} stated, {units:g} times that found"
            )


def _formula_of(counts: Mapping[str, Any]) -> str | None:
    """ "Na2 Cl2" of {"Na": 2, "Cl": 2}; None for what is no table of numbers."""
    try:
        return " ".join(
            f"{re.sub(r'[^A-Za-z].*', '', symbol)}{float(n):.12g}" for symbol, n in counts.items() if not symbol.startswith("@")
        )
    except (TypeError, ValueError):
        return None


def says_converged(record: Mapping[str, Any]) -> bool | None:
    """What a record says of its own convergence, under the usual names; None where it says nothing that is yes or no."""
    words = {str(record[name]).strip().casefold() for name in CONVERGED if record.get(name) is not None}
    return False if words & NO else True if words & YES else None


def check_energy_is_named(spec: SourceSpec, *, of: Collection[str]) -> None:
    """Refuse a unit or an option `of` the energy where the card names no key for it: it would be of nothing."""
    if of and not spec.keys.get("energy"):
        raise ConfigError("says how the energy is to be read, and reads none", hint="name its key: `keys: {energy: KEY}`")


def check_ratios(elements_named: Sequence[str], ratios: Sequence[float], numbers: Sequence[int]) -> None:
    """Refuse atoms that have not these shares of these elements."""
    counts = Counter(elements.SYMBOLS[number] for number in numbers)
    shares = dict(zip(elements_named, ratios, strict=True))
    if any(abs(counts[symbol] / len(numbers) - share) > SHARE for symbol, share in shares.items()):
        found = ", ".join(f"{symbol} {counts[symbol] / len(numbers):.3f}" for symbol in shares)
        raise Unusable(
            "shares of the elements differ from what is stated",
            f"{', '.join(f'{s} {r:.3f}' for s, r in shares.items())} stated, {found} found",
        )


def unread_labels(record: Mapping[str, object], *, given: Iterable[str] = (), hint: str = "") -> tuple[str, ...]:
    """ "energy: `total_energy` is not read" for each label of a record under a usual name, but those that are `given`."""
    names = tuple(name for name, value in record.items() if value not in (None, "", "na", "?", "."))
    return _named(names, tuple(given), hint)


@functools.lru_cache(maxsize=1000)
def _named(names: tuple[str, ...], given: tuple[str, ...], hint: str) -> tuple[str, ...]:
    out = []
    for label, pattern in LABELS.items():
        found = next((name for name in names if pattern.fullmatch(name) and not DIFFERENCES.search(name)), None)
        if found is not None and label not in given:
            out.append(f"{label}: `{found}` is not read" + (f" {hint.format(label=label, name=found)}" if hint else ""))
    return tuple(out)
