"""The keys of an extended XYZ comment and what a card says -> `Layout`: where the labels of such frames stand, and in which units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError

from ..stated import SAID
from ..unit_names import TABLES, canonical
from .extxyz_comment import stated_units, unit_in_name
from .label_names import KEYS, REFERENCE, lacking, unread_labels

PLAIN_COLUMNS = "species:S:1:pos:R:3"


@dataclass(frozen=True, slots=True)
class Plain:
    """How lines of symbols and numbers are taken as a table: a pattern, and where the table then has positions and forces."""

    pattern: str
    positions: slice
    forces: slice | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where labels stand in the frames of one file, and in which units; by label and by quantity."""

    info: dict[str, str] = field(default_factory=dict)  # label -> key of the comment line
    factors: dict[str, float]  # quantity -> factor to eV, Å
    columns: dict[str, slice]  # property -> its columns
    width: int  # columns in a line
    declared: bool  # the comment says what the columns are; else there may be more of them
    forces: str | None  # property that holds the forces
    rivals: tuple[tuple[str, str, str], ...]  # (label, key, key): both may hold it, so they must be equal
    left_out: tuple[str, ...] = ()  # labels that are there and not read
    plain: Plain | None = None  # how the lines are taken as a table; None where each word must be looked at


def layout_of(info: Mapping[str, str], spec: SourceSpec, *, where: str) -> Layout:
    """Say which keys and columns hold what, and in which units; raise where that is in doubt."""
    columns, width = parse_columns(info.get("Properties", PLAIN_COLUMNS), where=where)
    found = {label: pick_key(label, columns if label == "forces" else info, spec) for label in KEYS}
    read = {label: key for label, key in found.items() if key}
    rivals = [
        (label, key, other)
        for label, key in read.items()
        if label not in spec.keys and label != "group"
        for other in _known_keys(label, columns if label == "forces" else info)
        if other != key
    ]
    off = [label for label, key in spec.keys.items() if key == "" and label in KEYS]
    quiet = {other for _, _, other in rivals}.union(*(_known_keys(label, (*info, *columns)) for label in off))
    plain = None if rivals or not SAID.isdisjoint(info) else _plain_layout(columns, read.get("forces"), declared="Properties" in info)
    return Layout(
        info={label: key for label, key in read.items() if label != "forces"},
        factors=_factors(read, info, spec, where=where),
        columns=columns,
        width=width,
        declared="Properties" in info,
        forces=read.get("forces"),
        rivals=tuple(rivals),
        left_out=tuple(lacking(label, key) for label, key in spec.keys.items() if key and label in found and not found[label])
        + unread_labels((*info, *columns), read=found, silent=quiet),
        plain=plain,
    )


def _plain_layout(columns: Mapping[str, slice], forces: str | None, *, declared: bool) -> Plain | None:
    """The pattern of a line that begins with or holds a chemical symbol; None where elements are numbers, or forces may be of fixed atoms."""
    if "species" not in columns or "move_mask" in columns:
        return None
    pattern, places = "", {}
    for name, at in columns.items():
        size = at.stop - at.start
        wanted = name in ("pos", forces)
        if (wanted and size != 3) or (name == "species" and size != 1):
            return None
        places[name] = slice(pattern.count("n"), pattern.count("n") + size)
        pattern += "e" if name == "species" else ("n" if wanted else "w") * size
    return Plain(pattern + "*" * (not declared), places["pos"], places[forces] if forces else None)


def parse_columns(properties: str, *, where: str) -> tuple[dict[str, slice], int]:
    """Columns of each property in "species:S:1:pos:R:3:..."."""
    parts = properties.strip().split(":")
    if len(parts) % 3 or not all(n.isdigit() and 0 < int(n) < 10_000 for n in parts[2::3]):
        raise SourceError(f"Properties is {properties[:60]!r}, expected name:type:count, ...", where=where)
    columns, at = {}, 0
    for name, count in zip(parts[::3], parts[2::3]):
        if name in columns:
            raise SourceError(f"Properties names {name!r} twice", where=where)
        columns[name] = slice(at, at + int(count))
        at += int(count)
    if "pos" not in columns or columns["pos"].stop - columns["pos"].start != 3:
        raise SourceError("Properties has no pos:R:3", where=where)
    if not {"species", "Z", "numbers"} & set(columns):
        raise SourceError("Properties has neither species nor Z", where=where)
    return columns, at


def pick_key(label: str, present: Iterable[str], spec: SourceSpec) -> str | None:
    """The key that holds a label, if it is there: the card's, else the first known one."""
    if label in spec.keys:
        return spec.keys[label] if spec.keys[label] in present else None
    return next(iter(_known_keys(label, present)), None)


def _known_keys(label: str, present: Iterable[str]) -> list[str]:
    """Keys that may hold a label, plain ones before those with a prefix."""
    known = [prefix + key for prefix in ("", *REFERENCE) for key in KEYS[label]]
    return [key for key in known if key in present]


def _factors(read: Mapping[str, str], info: Mapping[str, str], spec: SourceSpec, *, where: str) -> dict[str, float]:
    """Quantity -> factor to eV and Å: the unit that the comment or a key's own name states, else the card's."""
    units = stated_units(info, where=where)
    for quantity, label in (("energy", "energy"), ("force", "forces"), ("stress", "stress"), ("virial", "virial")):
        named = unit_in_name(read[label], "energy" if label == "virial" else quantity) if label in read else None
        units |= {quantity: named} if named and quantity not in units else {}
    out = {quantity: _factor(quantity, units.get(quantity), spec, where=where) for quantity in ("length", "energy")}
    for quantity, label in (("force", "forces"), ("stress", "stress")):
        if label in read:
            out[quantity] = _factor(quantity, units.get(quantity), spec, where=where)
            if out["energy"] != 1.0 and quantity not in units and not getattr(spec.units, quantity):
                hint = f"say `units: {{{quantity}: {'Hartree/bohr' if quantity == 'force' else 'Hartree/bohr^3'}}}` in the card"
                raise SourceError(
                    f"energies have a unit, {'forces' if quantity == 'force' else 'stresses'} have none", where=where, hint=hint
                )
    out["virial"] = _factor("energy", units["virial"], spec, where=where, what="virial") if "virial" in units else out["energy"]
    return out


def _factor(quantity: str, stated: str | None, spec: SourceSpec, *, where: str, what: str = "") -> float:
    chosen = getattr(spec.units, quantity) if not what else None
    if stated is None:
        return TABLES[quantity][chosen] if chosen else 1.0
    unit = canonical(stated, quantity)
    if unit is None:
        raise SourceError(f"unknown {what or quantity} unit {stated[:40]!r}", where=where, hint=f"one of: {', '.join(TABLES[quantity])}")
    if chosen and chosen != unit:
        raise SourceError(f"the file says {quantity} in {unit}, the card says {chosen}", where=where)
    return TABLES[quantity][unit]
