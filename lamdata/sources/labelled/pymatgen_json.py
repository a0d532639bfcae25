"""pymatgen's JSON -> frames: Structure, and ComputedStructureEntry (the form of WBM / ChemicalSimilarity, `{"entries": [...]}`).

The dicts are read as they are: `MontyDecoder` would import whatever module a file names. An entry's `energy` is uncorrected;
`correction` is not part of what was computed and is never added. Labels in `data` (forces eV/Å, virial eV as dpdata writes
them, stress in kbar is not taken: nobody states its sign) follow where present.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any

from lamdata.catalog import SourceSpec
from lamdata.frame import Frame, Rejection

from ..build import Unusable, build, number_of, rejects, whole
from ..bytes.files import SourceFile
from ..bytes.json_items import load, records

PLACEHOLDER = -10.0  # eV per atom, exactly: what 500 failed entries of ChemicalSimilarity carry (data/wbm/readme.md of matbench-discovery)


class PymatgenReader:
    """Structures and computed entries, one or many. The group is the entry's or material's id."""

    name = "pymatgen/json"
    options: dict[str, tuple] = {}
    open_units = False

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the entries; one without a structure comes as a `Rejection`."""
        for i, (key, record) in enumerate(_documents(file)):
            yield frame_of_document(record, origin=f"{file.name}#{i}", group=f"{file.name}/{key}")

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Functional, U and pseudopotentials that all of the first entries agree on."""
        stated: list[dict[str, Any]] = []
        for i, (_, record) in enumerate(_documents(file)):
            if isinstance(record, dict) and isinstance(record.get("parameters"), dict) and record["parameters"]:
                stated.append(theory_of(record["parameters"]))
            if i >= 100:
                break
        return {k: v for k, v in stated[0].items() if all(s.get(k) == v for s in stated)} if stated else {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """Class names of pymatgen in JSON, but not a task document."""
        known = (b"ComputedStructureEntry", b"ComputedEntry", b'"pymatgen.core.structure"', b"pymatgen.entries", b"pymatgen.core.entries")
        structure = b'"lattice"' in head and b'"matrix"' in head and b'"sites"' in head
        return head.lstrip()[:1] in (b"{", b"[") and b"calcs_reversed" not in head and (structure or any(word in head for word in known))


def _documents(file: SourceFile) -> Iterator[tuple[str, Any]]:
    """(key, document): a file may be one document, a list, a table, or {"entries": [...]}."""
    head = file.head(4096).lstrip()
    if head[:1] == b"{" and _is_document(head):
        yield posixpath.basename(file.name), load(file)
    else:
        yield from records(file)


def _is_document(head: bytes) -> bool:
    """Say whether an object's own first keys are those of one structure or entry."""
    first = head[1:].lstrip()[1:40].split(b'"')[0]
    return first in (b"@module", b"@class", b"lattice", b"energy", b"charge", b"composition", b"sites", b"structure", b"entry_id")


@rejects("a pymatgen document")
def frame_of_document(record: Any, *, origin: str, group: str) -> Frame | Rejection:
    """A Structure dict, or an entry that holds one."""
    if not isinstance(record, dict):
        raise Unusable("not an entry", type(record).__name__)
    structure = record if "lattice" in record else record.get("structure")
    if not isinstance(structure, dict):
        raise Unusable("no structure in it", str(record.get("entry_id", ""))[:60] or None)
    entry = record is not structure
    data = record.get("data") if entry and isinstance(record.get("data"), dict) else {}
    energy = record.get("energy") if entry else None
    _refuse_placeholder(data, energy, structure)
    return build(
        origin=origin,
        group=str(record.get("entry_id") or data.get("material_id") or group),
        energy=energy,
        forces=_numbers(data.get("forces")),
        virial=_numbers(data.get("virial")),
        **structure_fields(structure),
    )


def _refuse_placeholder(data: dict[str, Any], energy: Any, structure: dict[str, Any]) -> None:
    formation = data.get("e_form", data.get("formation_energy_per_atom"))
    per_atom = energy / len(structure["sites"]) if isinstance(energy, (int, float)) and structure["sites"] else None
    if PLACEHOLDER in (formation, per_atom):
        raise Unusable("energy of exactly -10 eV/atom: the placeholder of a failed calculation", PLACEHOLDER)
    if structure["lattice"].get("volume") == 0.0:
        raise Unusable("zero volume", 0.0)


def structure_fields(structure: dict[str, Any]) -> dict[str, Any]:
    """Symbols, positions, cell, pbc and charge of a Structure dict; disorder is `Unusable`."""
    sites, lattice = structure["sites"], structure["lattice"]
    cell = lattice["matrix"]
    if any(len(vector) != 3 for vector in cell):
        raise Unusable("lattice is not three vectors")
    abc = [site["abc"] for site in sites]
    positions = [[sum(f * cell[k][j] for k, f in enumerate(site)) for j in range(3)] for site in abc]
    return {
        "symbols": [_symbol(site) for site in sites],
        "positions": positions,
        "cell": cell,
        "pbc": lattice.get("pbc", (True, True, True)),
        "charge": whole(structure.get("charge") or 0, "charge"),
    }


def _symbol(site: dict[str, Any]) -> str:
    species = site["species"]
    if len(species) != 1 or abs(float(species[0]["occu"]) - 1.0) > 1e-6:
        raise Unusable("disorder: a site shared or partly empty", str(species)[:100])
    symbol = str(species[0]["element"]).rstrip("+-0123456789.")  # an oxidation state may follow: "Fe3+"
    number_of(symbol)
    return symbol


def _numbers(value: Any) -> Any:
    """A list, or monty's array {"@class": "array", "data": [...]}."""
    return value.get("data") if isinstance(value, dict) else value


def theory_of(parameters: dict[str, Any]) -> dict[str, Any]:
    """Theory fields of an entry's `parameters`, as the Materials Project writes them (its code is VASP)."""
    pseudo = parameters.get("pseudo_potential") if isinstance(parameters.get("pseudo_potential"), dict) else {}
    functional = str(pseudo.get("functional") or "")
    run = str(parameters.get("run_type") or "")
    hubbards = parameters.get("hubbards")
    out: dict[str, Any] = {}
    if run in ("GGA", "GGA+U", "PBE", "PBE+U") and functional == "PBE":
        out["functional"] = "PBE"
    elif run and run not in ("GGA", "GGA+U"):
        out["functional"] = run.removesuffix("+U")
    if parameters.get("is_hubbard") is False:
        out["hubbard_u"] = "none"
    elif isinstance(hubbards, dict) and hubbards:
        out["hubbard_u"] = ", ".join(f"{k} {v} eV" for k, v in sorted(hubbards.items()) if v)
    return out
