"""pymatgen's JSON -> frames: Structure, ComputedStructureEntry (WBM, ChemicalSimilarity: `{"entries": [...]}`), MatPES and MPtrj.

The dicts are read as they are: `MontyDecoder` would import whatever module a file names. `record_labels.py` knows where labels stand.
MPtrj is `{mp_id: {frame_id: record}}`; each of these may be a list, a table, one document, or one a line.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from lamdata.catalog import SourceSpec
from lamdata.frame import Frame, Rejection

from ..build import Unusable, build, number_of, rejects, whole
from ..bytes.files import SourceFile
from ..bytes.json_items import is_lines, lines, members, parse, read_small, records
from ..stated import check_record, says_converged
from .record_labels import labels_of, mapping

PLACEHOLDER = -10.0  # eV per atom, exactly: what 500 failed entries of ChemicalSimilarity carry (data/wbm/readme.md of matbench-discovery)
DOCUMENT = ("structure", "lattice", "composition", "entry_id")  # keys that make an object one document
DEEP = 20  # levels at which structures are counted
LOOK = 100  # documents of which the theory is read


class PymatgenReader:
    """Structures and computed entries, one or many. The group is the material's id, else the entry's."""

    name = "pymatgen/json"
    options: dict[str, tuple[Any, ...]] = {}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the entries; one without a structure comes as a `Rejection`."""
        for i, (key, record) in enumerate(_documents(file)):
            origin = f"{file.name}#{i}"
            if isinstance(record, Unknown):
                yield Rejection(origin=origin, reason=record.reason)
            else:
                yield frame_of_document(record, origin=origin, group=f"{file.name}/{key}")

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Functional, U and pseudopotentials that all of the first entries agree on."""
        stated = [theory_of_record(record) for _, record in islice(_documents(file), LOOK) if isinstance(record, dict)]
        stated = [found for found in stated if found]
        return {k: v for k, v in stated[0].items() if all(s.get(k) == v for s in stated)} if stated else {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """Class names of pymatgen in JSON, but not a task document."""
        known = (b"ComputedStructureEntry", b"ComputedEntry", b'"pymatgen.core.structure"', b"pymatgen.entries", b"pymatgen.core.entries")
        structure = b'"lattice"' in head and b'"matrix"' in head and b'"sites"' in head
        return head.lstrip()[:1] in (b"{", b"[") and b"calcs_reversed" not in head and (structure or any(word in head for word in known))


@dataclass(frozen=True, slots=True)
class Unknown:
    """A structure in a container that is not understood."""

    reason: str


def _documents(file: SourceFile) -> Iterator[tuple[str, Any]]:
    """(material or position, document or `Unknown`) for each structure of a file."""
    for key, value in _records(file):
        yield from _unfold(key, value)


def _records(file: SourceFile) -> Iterator[tuple[str, Any]]:
    """A file may be one document, a list, a table, {"entries": [...]}, or a document in each line."""
    if is_lines(file):
        yield from lines(file)
        return
    small = read_small(file) if file.head(64).lstrip().startswith(b"{") else None
    if small is None:
        yield from records(file)
        return
    value = parse(small, where=file.name)
    if any(key in value for key in DOCUMENT):
        yield posixpath.basename(file.name), value
    else:
        yield from members(value, under=("entries", "data"))


def _unfold(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The documents of a list or a table of any depth, by the key of what holds them; of anything else, an `Unknown` for each structure."""
    inner = list(members(value))
    if isinstance(value, dict) and any(name in value for name in DOCUMENT):
        many = value.get("structure")
        if isinstance(many, (list, dict)) and _is_table(many):
            yield from [(key, Unknown("a table of columns, each of many frames: not understood"))] * max(1, _structures(many, 0))
        else:
            yield key, value
    elif inner and all(isinstance(member, (dict, list)) for _, member in inner):
        for name, member in inner:
            holds = isinstance(member, (dict, list)) and not any(word in member for word in DOCUMENT)
            yield from _unfold(name if holds and isinstance(value, dict) else key, member)
    elif isinstance(value, (dict, list)):
        yield from [(key, Unknown("a container that is not understood"))] * max(1, _structures(value, 0))
    else:
        yield key, value


def _is_table(many: list[Any] | dict[str, Any]) -> bool:
    """Say whether what stands in the place of a structure is many of them."""
    return isinstance(many, list) or bool(many) and all(isinstance(one, dict) and "sites" in one for one in many.values())


def _structures(value: Any, level: int) -> int:
    """How many structures there are below."""
    if level > DEEP or not isinstance(value, (dict, list)):
        return 0
    if isinstance(value, dict) and "sites" in value:
        return 1
    return sum(_structures(member, level + 1) for member in (value.values() if isinstance(value, dict) else value))


@rejects("a pymatgen document")
def frame_of_document(record: Any, *, origin: str, group: str) -> Frame | Rejection:
    """A Structure dict, or a record that holds one."""
    if not isinstance(record, dict):
        raise Unusable("not an entry", type(record).__name__)
    structure = record if "lattice" in record else record.get("structure")
    if not isinstance(structure, dict):
        raise Unusable("no structure in it", str(record.get("entry_id", ""))[:60] or None)
    fields, labels = structure_fields(structure), labels_of(record, structure)
    if record is not structure:
        numbers = [number_of(symbol) for symbol in fields["symbols"]]
        for stated in (record, mapping(record, "data")):
            check_record(stated, numbers)
    _refuse_placeholder(mapping(record, "data"), labels.get("energy"), structure)
    converged = says_converged(record) if record is not structure else None
    return build(origin=origin, group=_material(record) or group, converged=converged, **fields, **labels)


def _material(record: dict[str, Any]) -> str | None:
    """What belongs together: the entry or the material that it is of; frames of one MatPES trajectory come of one material."""
    places = (record.get("entry_id"), mapping(record, "data").get("material_id"), mapping(record, "provenance").get("original_mp_id"))
    found = next((name for name in (*places, record.get("mp_id"), record.get("material_id"), record.get("matpes_id")) if name), None)
    return None if found is None else str(found)


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


def theory_of_record(record: dict[str, Any]) -> dict[str, Any]:
    """Theory fields of an entry's `parameters`, as the Materials Project writes them (its code is VASP), or of a MatPES record."""
    parameters = mapping(record, "parameters")
    if not parameters:
        functional = record.get("functional")
        return {"functional": functional} if isinstance(functional, str) and "structure" in record else {}
    potentials = str(mapping(parameters, "pseudo_potential").get("functional") or "")
    run = str(parameters.get("run_type") or "")
    hubbards = parameters.get("hubbards")
    out: dict[str, Any] = {}
    if run in ("GGA", "GGA+U", "PBE", "PBE+U") and potentials == "PBE":
        out["functional"] = "PBE"
    elif run and run not in ("GGA", "GGA+U"):
        out["functional"] = run.removesuffix("+U")
    if parameters.get("is_hubbard") is False:
        out["hubbard_u"] = "none"
    elif isinstance(hubbards, dict) and hubbards:
        out["hubbard_u"] = ", ".join(f"{k} {v} eV" for k, v in sorted(hubbards.items()) if v)
    return out
