"""CIF -> structures, one a data block, through pymatgen.

Rejected with the reason: sites that are shared, partly empty or in a disorder group (some libraries read those as ordered), groups written as
an element (NH3 is read as nihonium), hydrogens that are counted at an atom and have no site, a composition that is not that of the formula,
and whatever pymatgen warns of that bears on the atoms. There are no labels. The group is the file, so that the polymorphs of one study
stay together only if they share a file.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.elements import SYMBOLS
from lamdata.errors import SourceError
from lamdata.frame import F64, Frame, Rejection

from ..build import NUMBERS, Unusable, build
from ..bytes.files import SourceFile
from ..bytes.say import say
from ..stated import check_count, check_formula, unread_labels

MAX_BYTES = 64 << 20
BLOCK = re.compile(r"^data_\S*", re.MULTILINE | re.IGNORECASE)
SIGNS = re.compile(
    rb"^\s*(?:_cell_length_a|_atom_site_|_symmetry_|_space_group_|_chemical_|_audit_|_cod_|_database_)", re.MULTILINE | re.IGNORECASE
)
LAST_ELEMENT = 103  # beyond lawrencium no crystal is known: a heavier "element" is a misread group
MAX_SITES = 20_000
SAME_SITE = 2e-3  # of a cell vector; pymatgen snaps 0.3333 to 1/3 and merges sites closer than 1e-4
HARMLESS = re.compile(
    r"Spacegroup from .* used|1-line symmetry op P1|rounded to ideal values|Pauling file corrections|new magCIF|Skipping relative stoich"
)
CHECKED = re.compile(
    r"parsed as|Possible issue in CIF file|Cannot determine chemical composition|Incorrect stoichiometry|Missing elements"
)  # by the formula
SAME_VOLUME = 0.02  # relative; some are of another temperature than the cell
NO_SYMMETRY = "Defaulting to P1"
SYMMETRY = re.compile(r"_(?:symmetry|space_group)_(?:space_group_)?(?:name|int_tables|it_number)", re.IGNORECASE)


class CifReader:
    """`*.cif`, and `*.mcif` without its magnetic moments."""

    name = "cif"
    options: dict[str, tuple[str, ...]] = {}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the structure of each data block that has atoms."""
        text = file.bytes(MAX_BYTES).decode("utf-8", "replace")
        starts = [found.start() for found in BLOCK.finditer(text)]
        if not starts:
            raise SourceError("no data_ block: not a CIF", where=file.name)
        for i, (start, end) in enumerate(zip(starts, [*starts[1:], len(text)])):
            block = text[start:end]
            if "_atom_site_" in block or len(starts) == 1:
                yield _frame(block, f"{file.name}#{i}", file.name)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """A data block, and a name that only CIF has or the ending."""
        if not re.search(rb"^\s*data_\S", head, re.MULTILINE | re.IGNORECASE):
            return False
        return SIGNS.search(head) is not None or file.basename.lower().endswith((".cif", ".mcif"))


def _frame(block: str, origin: str, group: str) -> Frame | Rejection:
    try:
        return _structure(block, origin, group)
    except Unusable as bad:
        return Rejection(origin=origin, reason=bad.reason, value=bad.value)


def _structure(block: str, origin: str, group: str) -> Frame | Rejection:
    from pymatgen.io.cif import CifParser

    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            parser = CifParser.from_str(block, occupancy_tolerance=1.0)
            data = {name.lower(): value for name, value in next(iter(parser.as_dict().values())).items()}  # CIF's names have no case
            _check_sites(data)
            _fill_occupancies(parser)
            structures = parser.parse_structures(primitive=False, check_occu=True, on_error="raise")
    except Unusable:
        raise
    except Exception as err:  # pymatgen raises what its parts raise
        raise Unusable(f"not a CIF that pymatgen reads: {say(err)}") from None
    structure = structures[0]
    if not structure.is_ordered:
        raise Unusable("disorder: a site shared or partly empty", next(site for site in structure if not site.is_ordered).species_string)
    # a dummy species of pymatgen has a hash for its atomic number
    heavy = next((site.specie.symbol for site in structure if not 1 <= site.specie.Z <= LAST_ELEMENT), None)
    if heavy:
        raise Unusable("a group of atoms in place of an element", heavy)
    if lost := _lost(data, structure.frac_coords):
        raise Unusable("pymatgen leaves out a site", lost)
    numbers = [site.specie.Z for site in structure]
    units = check_formula(data.get("_chemical_formula_sum"), numbers)
    issues = [str(one.message) for one in heard if "Possible issue in CIF" in str(one.message)]
    if units is None:
        _check_unformulated(data, numbers)
    _check_volume(data, abs(float(structure.lattice.volume)))
    _check_warnings([*getattr(parser, "warnings", ()), *issues], data, units)
    return build(
        origin=origin,
        group=group,
        numbers=numbers,
        positions=structure.cart_coords,
        cell=structure.lattice.matrix,
        left_out=unread_labels(data),
    )


def _check_sites(data: dict[str, Any]) -> None:
    """Refuse a block whose own fields say that it is not one ordered structure with all its atoms."""
    sites = data.get("_atom_site_fract_x", data.get("_atom_site_cartn_x", []))
    if len(sites) > MAX_SITES:
        raise Unusable("too many sites", len(sites))
    labels = _column(data, "_atom_site_label")
    for i, word in enumerate(_column(data, "_atom_site_attached_hydrogens")):
        if str(word).strip() not in (".", "?", "", "0"):
            where = str(labels[i]) if i < len(labels) else str(i)
            raise Unusable("hydrogens without a site", f"{str(word)[:10]} attached to {where[:20]}")
    if "dum" in {str(flag).strip().lower() for flag in _column(data, "_atom_site_calc_flag")}:
        raise Unusable("a dummy site, which is no atom")
    groups = {str(g).strip() for g in _column(data, "_atom_site_disorder_group")} - {".", "?", "", "0"}
    if groups:
        raise Unusable(f"disorder: disorder groups {', '.join(sorted(groups))[:40]}")
    for word in _column(data, "_atom_site_occupancy"):
        try:
            full = abs(float(str(word).split("(")[0]) - 1.0) <= 1e-3
        except ValueError:
            continue  # "." and "?" mean full
        if not full:
            raise Unusable(f"disorder: occupancy {str(word)[:20]}")


def _check_unformulated(data: dict[str, Any], numbers: list[int]) -> None:
    """Compare with the multiplicities of the sites and with the elements of the moieties, where there is no sum formula."""
    for name in ("_atom_site_symmetry_multiplicity", "_atom_site_site_symmetry_multiplicity"):
        words = [str(word).strip() for word in _column(data, name)]
        if words and all(word.isdigit() for word in words):
            check_count(sum(map(int, words)), len(numbers), "the number of atoms, by the multiplicities of the sites,")
    moieties = str(data.get("_chemical_formula_moiety", ""))
    named = {NUMBERS[word] for word in re.findall(r"[A-Z][a-z]?", moieties) if word in NUMBERS}
    if missing := sorted(named - set(numbers)):
        lost = ", ".join(SYMBOLS[number] for number in missing)
        raise Unusable("composition differs from the formula that is stated", f"{moieties.strip()[:60]} stated, no {lost} found")


def _check_volume(data: dict[str, Any], volume: float) -> None:
    """Refuse a cell that has not the volume that is stated."""
    found = re.match(r"\d+\.?\d*", str(data.get("_cell_volume", "")).strip())
    if found is not None and float(found[0]) > 0 and abs(volume / float(found[0]) - 1) > SAME_VOLUME:
        raise Unusable("the volume of the cell differs from what is stated", f"{found[0]} stated, {volume:.3f} found")


def _check_warnings(found: list[str], data: dict[str, Any], units: float | None) -> None:
    """Refuse what pymatgen warns of, unless the formula shows that the atoms are right; `units` of it were found, None if there is none."""
    for text in found:
        if NO_SYMMETRY in text:
            _check_no_symmetry(data, units)
        elif not HARMLESS.search(text) and not (CHECKED.search(text) and units is not None):
            if "Cannot determine chemical composition" in text:
                continue  # there is no formula to compare with
            raise Unusable("pymatgen warns", " ".join(text.split())[:120])


def _check_no_symmetry(data: dict[str, Any], units: float | None) -> None:
    """Without symmetry operations a file may list all its sites, if it names no space group and has as many formula units as it says."""
    named = next(
        (
            f"{name} {value}"
            for name, value in data.items()
            if SYMMETRY.match(name) and str(value).strip(" '\"") not in ("", "?", ".", "P1", "P 1", "1")
        ),
        None,
    )
    if named:
        raise Unusable("a space group that pymatgen does not know, and no operations", named[:80])
    stated = re.fullmatch(r"\d+", str(data.get("_cell_formula_units_z", "")).strip())
    if stated and units is not None and abs(units - int(stated[0])) > 0.1 and abs(units - 1.0) > 0.1:
        raise Unusable("composition differs from the formula that is stated", f"{stated[0]} formula units stated, {units:g} found")


def _fill_occupancies(parser: Any) -> None:
    """Say 1 where the file says "." or "?": pymatgen takes those for 0 and leaves the atom out."""
    for block in parser._cif.data.values():
        words = block.data.get("_atom_site_occupancy")
        if isinstance(words, list):
            words[:] = ["1" if str(word).strip() in (".", "?") else word for word in words]


def _lost(data: dict[str, Any], found: F64) -> str | None:
    """The label of a site of the file that is not among the fractional coordinates (A, 3) found; pymatgen skips what it cannot parse."""
    from pymatgen.io.cif import str2float

    columns = [_column(data, f"_atom_site_fract_{axis}") for axis in "xyz"]
    labels = _column(data, "_atom_site_label")
    for i, words in enumerate(zip(*columns)):
        offset = found - np.array([str2float(word) for word in words])
        if not (np.abs(offset - np.round(offset)).max(axis=1) < SAME_SITE).any():
            return str(labels[i]) if i < len(labels) else str(i)
    return None


def _column(data: dict[str, Any], name: str) -> list[Any]:
    value = data.get(name, [])
    return value if isinstance(value, list) else [value]
