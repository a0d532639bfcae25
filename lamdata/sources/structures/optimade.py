"""OPTIMADE answers -> structures: one document, a list, `{"data": ...}`, or one a line (https://schemas.optimade.org).

A species with a vacancy, with several elements or with a partial concentration, an assembly, an unknown position and atoms
without a site are rejected, and so are atoms that do not agree with `nsites`, the formula or the shares of elements of their entry.
The standard has no energy; `keys: {energy: _mcloud_total_energy}` names a provider's, in eV unless `units` says otherwise. The
group is the `immutable_id`, else the `id`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.frame import F64, Frame, Rejection
from lamdata.units import ENERGY

from ..build import Unusable, build, number_of, rejects
from ..bytes.files import SourceFile
from ..bytes.json_items import lines, load, records
from ..labelled.label_names import lacking
from ..stated import check_count, check_energy_is_named, check_formula, check_ratios, unread_labels

HEADERS = {
    "x-optimade",
    "meta",
    "links",
    "available_api_versions",
    "available_endpoints",
    "formats",
    "properties",
}  # of lines that are no entries
HINT = "without `keys: {{{label}: {name}}}`, where it is an energy"


class OptimadeReader:
    """Structures of an OPTIMADE answer or dump."""

    name = "optimade"
    options: dict[str, tuple[str, ...]] = {}
    open_units = ("energy",)
    open_keys = ("energy",)

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the structures; entries of other types (references, info, files) and headers are passed over."""
        check_energy_is_named(spec, of=spec.units.model_fields_set)
        for i, (key, entry) in enumerate(_entries(file)):
            if not _is_other(entry):
                yield _frame(entry, spec, origin=f"{file.name}#{i}", group=f"{file.name}/{key}")

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """The standard has no field for it."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """Fields that only OPTIMADE has."""
        known = (b"x-optimade", b"species_at_sites", b"cartesian_site_positions", b"dimension_types", b"nperiodic_dimensions")
        return head.lstrip()[:1] in (b"{", b"[") and any(word in head for word in known)


def _entries(file: SourceFile) -> Iterator[tuple[str, Any]]:
    head = file.head(4096)
    if head.lstrip()[:1] == b"{" and (file.basename.endswith(".jsonl") or b"x-optimade" in head.split(b"\n")[0]):
        yield from lines(file)
    elif head.lstrip()[:1] == b"{" and b'"attributes"' in head and b'"data"' not in head.split(b'"attributes"')[0]:
        yield "0", load(file)
    else:
        for key, entry in records(file, under=("data",)):
            if key in ("type", "id", "attributes", "relationships", "links"):  # {"data": {one entry}}
                value = load(file)
                yield "0", value.get("data", value)
                return
            yield key, entry


def _is_other(entry: Any) -> bool:
    """Say whether a record says that it is something else than a structure: what says nothing, and is none, is to be rejected by name."""
    if not isinstance(entry, dict):
        return False
    kind = entry.get("type")
    return (kind is not None and kind not in ("structures", "structure")) or (kind is None and bool(HEADERS & set(entry)))


@rejects("an OPTIMADE structure")
def _frame(entry: dict[str, Any], spec: SourceSpec, *, origin: str, group: str) -> Frame | Rejection:
    fields = entry["attributes"] if isinstance(entry.get("attributes"), dict) else entry
    symbols = _symbols(fields)
    periodic, cell = _cell(fields)
    positions = fields["cartesian_site_positions"]
    if any(x is None for site in positions for x in site):
        raise Unusable("unknown positions")
    if len(positions) != len(symbols):
        raise Unusable("species_at_sites and positions differ in number", len(positions))
    _check_composition(fields, [number_of(symbol) for symbol in symbols])
    energy, key = _energy(fields, spec), spec.keys.get("energy")
    lacked = (lacking("energy", key),) if key and key not in fields else ()
    return build(
        origin=origin,
        group=str(fields.get("immutable_id") or entry.get("id") or entry.get("task_id") or group),
        symbols=symbols,
        positions=positions,
        cell=cell,
        pbc=periodic,
        energy=energy,
        left_out=lacked + unread_labels(fields, given=() if energy is None else ("energy",), hint=HINT),
    )


def _check_composition(fields: dict[str, Any], numbers: list[int]) -> None:
    """Compare the atoms with what else the entry says of them."""
    check_count(fields.get("nsites"), len(numbers), "nsites")
    check_count(fields.get("nelements"), len(set(numbers)), "nelements")
    for name in ("chemical_formula_reduced", "chemical_formula_hill", "chemical_formula_descriptive"):
        check_formula(fields.get(name), numbers)
    if fields.get("elements") and fields.get("elements_ratios"):
        check_ratios([str(symbol) for symbol in fields["elements"]], [float(share) for share in fields["elements_ratios"]], numbers)


def _symbols(fields: dict[str, Any]) -> list[str]:
    """Element of each site; disorder of any kind is `Unusable`."""
    features = set(fields.get("structure_features") or ()) & {"disorder", "assemblies", "unknown_positions"}
    symbol_of: dict[str, str] = {}
    problems: dict[str, str] = {}
    for species in fields["species"]:
        elements = [str(e) for e in species["chemical_symbols"]]
        if "vacancy" in elements:
            problems[species["name"]] = "vacancy"
        elif len(elements) != 1 or any(abs(float(c) - 1.0) > 1e-6 for c in species["concentration"]):
            problems[species["name"]] = "disorder: a site shared or partly empty"
        elif elements[0] == "X" or species.get("attached"):
            problems[species["name"]] = "a site that stands for a group or an unknown element"
        else:
            number_of(elements[0])
            symbol_of[species["name"]] = elements[0]
    for name in fields["species_at_sites"]:
        if name in problems:
            raise Unusable(problems[name], str(name)[:40])
        if name not in symbol_of:
            raise Unusable("a site of a species that is not described", str(name)[:40])
    if "implicit_atoms" in (fields.get("structure_features") or ()):
        raise Unusable("implicit atoms: some have no site")
    if fields.get("assemblies") or features:
        raise Unusable(f"disorder: {', '.join(sorted(features)) or 'assemblies'}")
    return [symbol_of[name] for name in fields["species_at_sites"]]


def _cell(fields: dict[str, Any]) -> tuple[tuple[bool, bool, bool], F64 | None]:
    """(pbc, cell); a direction that is not periodic may have no vector, and gets a unit vector across the others."""
    from ase.geometry import complete_cell

    flags = [bool(d) for d in fields.get("dimension_types") or (1, 1, 1)]
    if len(flags) != 3:
        raise Unusable("dimension_types is not three flags")
    periodic = (flags[0], flags[1], flags[2])
    if not any(periodic):
        return periodic, None
    vectors = fields["lattice_vectors"]
    missing = [v is None or None in v for v in vectors]
    if any(absent and along for absent, along in zip(missing, periodic, strict=True)):
        raise Unusable("a periodic direction has no lattice vector")
    cell = np.array([[0.0] * 3 if absent else v for absent, v in zip(missing, vectors, strict=True)], np.float64)
    completed: F64 = complete_cell(cell)  # type: ignore[no-untyped-call]  # ASE's, which has no types
    return periodic, completed


def _energy(fields: dict[str, Any], spec: SourceSpec) -> float | None:
    key = spec.keys.get("energy")
    if not key:
        return None
    return None if fields.get(key) is None else float(fields[key]) * (ENERGY[spec.units.energy] if spec.units.energy else 1.0)
