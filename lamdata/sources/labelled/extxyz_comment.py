"""The comment line of extended XYZ -> its key-value pairs as text, and the units that it states.

A value is a bare word, quoted, in braces, an array of one or two dimensions in brackets (`[[1, 2], [3, 4]]`), or any of these behind
`_JSON`, as ASE writes what is no vector (https://github.com/libAtoms/extxyz). Rows of an array follow one another, so that the text of
`Lattice="a b c ..."` and of `Lattice=[[a, b, c], ...]` is the same.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from lamdata.errors import SourceError

from ..unit_names import TABLES, canonical
from .label_names import label_in, split_name

PAIR = re.compile(
    r"""("(?:[^"\\]|\\.)++"|[^\s="']+)\s*=\s*
    (?:"((?:[^"\\]|\\.)*+)"|'((?:[^'\\]|\\.)*+)'|\{([^}]*)\}|(\[(?:[^\[\]]|\[[^\[\]]*\])*+\])|(\S+))""",
    re.VERBOSE,
)
ESCAPED = re.compile(r"\\(.)")
BRACKETS = str.maketrans("[](){},;", "        ")
CELLS = ("Lattice", "lattice", "LATTICE", "Cell", "cell")
NOTHING = ("None", "none", "null", "N/A", "_JSON null")  # a label that is written so is not there
UNIT_KEYS = {
    "energy": ("energy", "energies", "e"),
    "force": ("force", "forces", "f"),
    "stress": ("stress", "stresses", "pressure"),
    "length": ("length", "lengths", "pos", "position", "positions", "coord", "coords", "coordinate", "coordinates", "distance", "lattice", "cell"),
    "virial": ("virial", "virials"),
}  # fmt: skip
_ATOMIC = {"energy": "Hartree", "length": "bohr", "force": "Hartree/bohr", "stress": "Hartree/bohr^3"}
SYSTEMS = {  # units="metal", as LAMMPS names them; its pressures in bar and atm are no unit of a stress here, so they are asked
    "metal": {"energy": "eV", "length": "Angstrom", "force": "eV/Angstrom", "stress": "bar"},
    "real": {"energy": "kcal/mol", "length": "Angstrom", "force": "kcal/mol/Angstrom", "stress": "atm"},
    "ase": {"energy": "eV", "length": "Angstrom", "force": "eV/Angstrom", "stress": "eV/Angstrom^3"},
    "atomic": _ATOMIC,
    "au": _ATOMIC,
    "a.u.": _ATOMIC,
}


def parse_comment(comment: str, *, where: str | None = None, asked: Collection[str] = ()) -> dict[str, str]:
    """Key-value pairs of a comment line; values stay text, arrays without their brackets; none for a value that says so.

    Of a key that stands there twice the last value counts; with a frame's name in `where` that is an error, if the values differ and the key
    is one that means something, or is `asked` for.
    """
    pairs: dict[str, str] = {}
    for found in PAIR.finditer(comment):
        key, double, single, braced, bracketed, bare = found.groups()
        quoted = double if double is not None else single
        if quoted is not None:
            value = ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted
        else:
            value = braced if braced is not None else bracketed or bare
        if value not in NOTHING:
            name, flat = key.strip('"'), _flat(value)
            if where is not None and pairs.get(name, flat) != flat and (name in ("Properties", "pbc", *CELLS, *asked) or label_in(name)):
                raise SourceError(f"says {name!r} twice, as {pairs[name][:40]!r} and {flat[:40]!r}", where=where)
            pairs[name] = flat
    return pairs


def _flat(value: str) -> str:
    """An array without its brackets; other text as it is."""
    inner = value.removeprefix("_JSON ").strip()
    if inner.startswith(("[", "(")):
        return " ".join(inner.translate(BRACKETS).split())
    return inner if value.startswith("_JSON ") else value


def numbers(text: str) -> list[float]:
    """The numbers of a value, with commas or spaces between them; `1.0D-3` is one, as Fortran writes it."""
    words = text.replace(",", " ").split()
    try:
        return list(map(float, words))
    except ValueError:
        return [float(word.replace("D", "E").replace("d", "e")) for word in words]


def stated_units(info: Mapping[str, str], *, where: str = "") -> dict[str, str]:
    """Quantity -> the unit that the comment states for it, in its own words; raise where `units=...` is not understood."""
    found: dict[str, str] = {}
    for key, value in info.items():
        words = split_name(key) if "unit" in key.lower() else []
        if not {"unit", "units"} & set(words) or _is_number(value):
            continue
        about = [word for word in words if word not in ("unit", "units", "ref", "dft", "reference")]
        if not about:
            found = _of_all(value, where=where) | found
        elif words[:2] != ["unit", "cell"]:
            found |= {quantity: value for quantity, names in UNIT_KEYS.items() if len(about) == 1 and about[0] in names}
    return {quantity: value for quantity, value in found.items() if value.strip()}


def _of_all(value: str, *, where: str) -> dict[str, str]:
    """What `units=metal` or `units="eV, Angstrom"` says."""
    if value.lower() in SYSTEMS:
        return SYSTEMS[value.lower()]
    words = [word.rpartition(":")[2] for word in re.split(r"[\s,;]+", value.strip()) if word]
    kinds = [[quantity for quantity in TABLES if canonical(word, quantity)] for word in words]
    if not words or not all(len(kind) == 1 for kind in kinds):
        raise SourceError(
            f"units is {value[:40]!r}, which is not understood", where=where, hint="write it as energy_unit=..., force_unit=..."
        )
    return {kind[0]: word for kind, word in zip(kinds, words)}


def unit_in_name(key: str, quantity: str) -> str | None:
    """The unit at the end of a name, as in `energy_Ha` or `forces_eV_Ang`."""
    words = re.split(r"[_\-.()\[\]\s]+", key.strip("()[]"))
    for first in range(1, len(words)):
        for join in ("/", "_"):
            if canonical(join.join(words[first:]), quantity):
                return join.join(words[first:])
    return None


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
