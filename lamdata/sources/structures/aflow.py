"""AFLUX answers -> structures: {"1 of N": {...}} or a list, whose numbers and lists are often text ("4.2,4.2,4.2,90,90,90").

A structure needs `geometry` (a, b, c in Å and three angles in degrees), `positions_fractional`, `species` and `composition`; the default
columns (compound, auid, aurl) hold none, and such entries are rejected, as are those whose atoms are not the `natoms`, `nspecies`, `compound`
or `stoichiometry` that they state. `energy_cell` is the total energy of the cell in eV; forces
and stress are along axes that lengths and angles do not give, and are left out. The group is the `auid`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.frame import F64, Frame, Rejection

from ..build import Unusable, array, build, number_of, rejects, whole
from ..bytes.files import SourceFile
from ..bytes.json_items import records
from ..stated import check_count, check_formula, check_ratios, unread_labels

AXES = "(of forces and stress the axes are not known)"
NEEDED = ("geometry", "positions_fractional", "species", "composition")


class AfluxReader:
    """A page of an AFLUX answer."""

    name = "aflow/aflux"
    options: dict[str, tuple[str, ...]] = {}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the entries."""
        for i, (_, entry) in enumerate(records(file, under=())):
            yield _frame(entry, origin=f"{file.name}#{i}")

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Code, functional and cutoff that the first entries agree on."""
        entries = [entry for (_, entry), _ in zip(records(file, under=()), range(100)) if isinstance(entry, dict)]
        stated = [_theory(entry) for entry in entries]
        return {k: v for k, v in stated[0].items() if all(s.get(k) == v for s in stated)} if stated else {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """JSON with AFLOW's identifiers."""
        return head.lstrip()[:1] in (b"{", b"[") and (b'"auid"' in head or b'"aurl"' in head)


@rejects("an AFLOW structure")
def _frame(entry: Any, *, origin: str) -> Frame | Rejection:
    if not isinstance(entry, dict):
        raise Unusable("not an entry")
    missing = [key for key in NEEDED if entry.get(key) in (None, "", [])]
    if missing:
        raise Unusable(f"no {', '.join(missing)} in the answer: ask AFLUX for them", str(entry.get("auid", ""))[:40])
    return _build(entry, origin)


def _build(entry: dict[str, Any], origin: str) -> Frame | Rejection:
    from ase.geometry import cellpar_to_cell

    cell: F64 = cellpar_to_cell(array(table(entry["geometry"]), (6,), "geometry"))  # type: ignore[no-untyped-call]  # ASE's, which has no types
    fractions = np.array(table(entry["positions_fractional"], separator=";"), np.float64).reshape(-1, 3)
    counts = [whole(n, "composition") for n in table(entry["composition"])]
    if min(counts) < 1 or sum(counts) != len(fractions):
        raise Unusable("composition does not add up to the positions", str(entry["composition"])[:60])
    species = [str(s).strip() for s in table(entry["species"])]
    symbols = [s for s, n in zip(species, counts, strict=True) for _ in range(n)]
    _check_composition(entry, species, [number_of(symbol) for symbol in symbols])
    energy = entry.get("energy_cell")
    return build(
        origin=origin,
        group=str(entry.get("auid") or entry.get("aurl") or origin),
        symbols=symbols,
        positions=fractions @ cell,
        cell=cell,
        energy=None if energy in (None, "") else float(energy),
        left_out=unread_labels(entry, given=() if energy in (None, "") else ("energy",), hint=AXES),
    )


def _check_composition(entry: dict[str, Any], species: list[str], numbers: list[int]) -> None:
    """Compare the atoms with what else the entry says of them."""
    check_count(entry.get("natoms"), len(numbers), "natoms")
    check_count(entry.get("nspecies"), len(set(numbers)), "nspecies")
    check_formula(entry.get("compound"), numbers)
    if entry.get("stoichiometry") not in (None, "", []):
        check_ratios(species, [float(share) for share in table(entry["stoichiometry"])], numbers)


def table(value: Any, *, separator: str = ",") -> list[Any]:
    """A list, or text such as "1,2,3" or "0,0,0;0.5,0.5,0.5"."""
    if isinstance(value, str):
        parts = [part.split(",") if separator == ";" else part for part in value.strip().strip("[]").split(separator) if part.strip()]
        return parts
    if not isinstance(value, list):
        raise Unusable("neither a list nor text", str(value)[:40])
    return value


def _theory(entry: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if entry.get("code"):
        out["code"] = str(entry["code"]).replace("vasp.", "VASP ")
    kind = entry.get("dft_type")
    if kind in ("PAW_PBE", ["PAW_PBE"]):
        out["functional"] = "PBE"
    with contextlib.suppress(KeyError, ValueError, TypeError, IndexError):
        out["cutoff"] = float(table(entry["energy_cutoff"])[0])
    return out
