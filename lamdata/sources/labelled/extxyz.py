"""Extended XYZ -> frames, one at a time.

The comment line holds `key=value` pairs, `Lattice`, `pbc` and the columns as `Properties` (https://github.com/libAtoms/extxyz).
Neither label names nor units are part of the format. Names: the card's `keys` (energy, forces, virial, stress, charge,
multiplicity, group, split), else those in wide use, below. Units: the card's `units`, else `energy_unit=...` of the comment (as dpdata and
MatterSim write), else eV, Å, eV/Å, eV/Å^3. The virial wins over the stress; stress has ASE's sign (virial = -V x stress).

Options: `stress: pressure` for a stress that is positive when compressed; `charge: -1` for all frames of the source, where the
file does not say it.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import IO, Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import MAX_ATOMS, Frame, Rejection

from ..build import NUMBERS, Unusable, build, marks_isolated, rejects, tensor, whole
from ..bytes.files import SourceFile, Span
from ..unit_names import TABLES, canonical

KEYS = {
    "energy": ("energy", "Energy", "free_energy", "energies", "total_energy", "TotEnergy"),
    "forces": ("forces", "force", "Forces"),
    "virial": ("virial", "virials", "Virial"),
    "stress": ("stress", "stresses", "Stress"),
    "charge": ("charge", "total_charge"),
    "multiplicity": ("multiplicity", "spin_multiplicity"),
    "group": ("material_id", "mp_id", "mol_id", "molecule_id", "trajectory_id"),
    "split": (),  # only where the card names it
}
REFERENCE = ("REF_", "ref_", "dft_", "DFT_")  # put before a name by those who keep a model's prediction under the plain one
UNIT_KEYS = {"energy": ("energy", "energies"), "force": ("force", "forces"), "stress": ("stress", "stresses"), "length": ("length", "pos")}
MAX_LINE = 1 << 20  # bytes
MAX_FRAME = 512 << 20  # bytes
PAIR = re.compile(r"""([^\s="']+)\s*=\s*(?:"([^"]*)"|'([^']*)'|\{([^}]*)\}|\[([^]]*)\]|(\S+))""")
PLAIN_COLUMNS = "species:S:1:pos:R:3"


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


class ExtxyzReader:
    """Extended or plain XYZ."""

    name = "extxyz"
    options = {"stress": ("ase", "pressure"), "charge": ()}
    open_units = True

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the frames."""
        layouts: dict[tuple, Layout] = {}
        span = file.span or Span(first=0, stop=MAX_ATOMS**2)
        with file.open() as stream:
            if span.offset:
                stream.seek(span.offset)
            for i, (comment, rows) in enumerate(blocks(stream, file.name, first=span.first, stop=span.stop), span.first):
                origin = f"{file.name}#{i}"
                info = parse_comment(comment)
                key = (*info, info.get("Properties"), *(info.get(k) for k in info if "unit" in k))
                if key not in layouts:
                    layouts[key] = layout_of(info, spec, where=origin)
                yield _frame(info, rows, layouts[key], spec, file, origin=origin)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def spans(self, file: SourceFile, size: int) -> list[Span]:
        """Spans found by counting lines; up to the end, or to what `read` will refuse."""
        if not file.is_plain:
            return []
        starts = [Span(first=0, stop=0)]
        with file.open() as stream:
            for i in itertools.count():
                offset = stream.tell()
                line = _count_line(stream)
                if not line or not _is_count(line):
                    break
                if offset - starts[-1].offset >= size:
                    starts.append(Span(first=i, stop=0, offset=offset))
                for _ in range(int(line) + 1):
                    stream.readline(MAX_LINE)
        return [replace(start, stop=after.first) for start, after in itertools.pairwise([*starts, Span(first=MAX_ATOMS**2, stop=0)])]

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """A count, a comment, and a line that starts with a symbol or has the columns that the comment states."""
        lines = [line for line in head.decode("utf-8", "replace").splitlines() if line.strip() and not line.startswith("#")]
        if len(lines) < 2 or not lines[0].strip().isdigit():
            return False
        if "Properties=" in lines[1] or "Lattice=" in lines[1]:
            return True
        rows = [line.split() for line in (head.decode("utf-8", "replace").splitlines())[2:3]]
        return file.basename.endswith((".xyz", ".extxyz")) and bool(rows) and len(rows[0]) >= 4 and rows[0][0].capitalize() in NUMBERS


def blocks(stream: IO[bytes], name: str, *, first: int = 0, stop: int = MAX_ATOMS**2) -> Iterator[tuple[str, list[list[bytes]]]]:
    """Yield (comment, split atom lines) of the frames `first:stop`, of which the first comes next in the stream."""
    for i in range(first, stop):
        line = _count_line(stream)
        if not line:
            return
        where = f"{name}#{i}"
        if not _is_count(line):
            raise SourceError(f"expected a number of atoms, found {line[:40].decode(errors='replace').strip()!r}", where=where)
        comment = stream.readline(MAX_LINE).decode("utf-8", "replace")
        rows, size = [], 0
        for _ in range(int(line)):
            row = stream.readline(MAX_LINE)
            size += len(row)
            if not row or size > MAX_FRAME:
                raise SourceError(f"{int(line)} atoms announced, {len(rows)} found" if not row else "a frame too large", where=where)
            rows.append(row.split())
        yield comment, rows


def _count_line(stream: IO[bytes]) -> bytes:
    """The line with the number of atoms: blank and # lines between frames are passed over; empty at the end."""
    line = stream.readline(MAX_LINE)
    while line and (not line.strip() or line.startswith(b"#")):
        line = stream.readline(MAX_LINE)
    return line


def _is_count(line: bytes) -> bool:
    return line.strip().isdigit() and len(line.strip()) <= 9 and int(line) <= MAX_ATOMS


def parse_comment(comment: str) -> dict[str, str]:
    """Key-value pairs of a comment line; values stay text, lists without their brackets."""
    return {found[1]: next((v for v in found.groups()[1:] if v is not None), "") for found in PAIR.finditer(comment)}


def layout_of(info: dict[str, str], spec: SourceSpec, *, where: str) -> Layout:
    """Say which keys and columns hold what, and in which units; raise where that is in doubt."""
    columns, width = parse_columns(info.get("Properties", PLAIN_COLUMNS), where=where)
    found = {label: pick_key(label, info, spec, where=where) for label in KEYS if label != "forces"}
    forces = pick_key("forces", columns, spec, where=where)
    if both := rival_keys("forces", columns, spec):
        raise _ambiguous("forces", *both, where=where)
    factors = {quantity: _factor(quantity, info, spec, where=where) for quantity in TABLES}
    stated = any(f"{key}{dash}unit" in info for key in UNIT_KEYS["force"] for dash in "-_") or spec.units.force
    if forces and factors["energy"] != 1.0 and not stated:
        raise SourceError("energies have a unit, forces have none", where=where, hint="say `units: {force: Hartree/bohr}` in the card")
    return Layout(
        info={k: v for k, v in found.items() if v},
        factors=factors,
        columns=columns,
        width=width,
        declared="Properties" in info,
        forces=forces,
        rivals=tuple((label, *both) for label in found if (both := rival_keys(label, info, spec))),
    )


def parse_columns(properties: str, *, where: str) -> tuple[dict[str, slice], int]:
    """Columns of each property in "species:S:1:pos:R:3:..."."""
    parts = properties.strip().split(":")
    if len(parts) % 3 or not all(n.isdigit() and 0 < int(n) < 10_000 for n in parts[2::3]):
        raise SourceError(f"Properties is {properties[:60]!r}, expected name:type:count, ...", where=where)
    columns, at = {}, 0
    for name, count in zip(parts[::3], parts[2::3]):
        columns[name] = slice(at, at + int(count))
        at += int(count)
    if "pos" not in columns or columns["pos"].stop - columns["pos"].start != 3:
        raise SourceError("Properties has no pos:R:3", where=where)
    if not {"species", "Z", "numbers"} & set(columns):
        raise SourceError("Properties has neither species nor Z", where=where)
    return columns, at


def pick_key(label: str, present: dict[str, Any], spec: SourceSpec, *, where: str) -> str | None:
    """The key that holds a label: the card's, else the first known one that is there."""
    if label in spec.keys:
        wanted = spec.keys[label]
        if wanted and wanted not in present:
            raise SourceError(f"no key {wanted!r} for {label}", where=where, hint=f"it has: {', '.join(list(present)[:20])}")
        return wanted or None
    plain, reference = _known_keys(label, present)
    return (plain + reference or [None])[0]


def rival_keys(label: str, present: dict[str, Any], spec: SourceSpec) -> tuple[str, str] | None:
    """A plain key and one with a prefix that may both hold a label, where the card does not choose."""
    plain, reference = _known_keys(label, present)
    return (plain[0], reference[0]) if plain and reference and label not in spec.keys else None


def _known_keys(label: str, present: dict[str, Any]) -> tuple[list[str], list[str]]:
    plain = [key for key in KEYS[label] if key in present]
    return plain, [prefix + key for prefix in REFERENCE for key in KEYS[label] if prefix + key in present]


def _ambiguous(label: str, plain: str, reference: str, *, where: str) -> SourceError:
    return SourceError(f"both {plain!r} and {reference!r} could be {label}", where=where, hint=f"say `keys: {{{label}: {reference}}}`")


def _factor(quantity: str, info: dict[str, str], spec: SourceSpec, *, where: str) -> float:
    stated = next((info[f"{key}{dash}unit"] for key in UNIT_KEYS[quantity] for dash in "-_" if info.get(f"{key}{dash}unit")), None)
    chosen = getattr(spec.units, quantity)
    if stated is None:
        return TABLES[quantity][chosen] if chosen else 1.0
    unit = canonical(stated, quantity)
    if unit is None:
        raise SourceError(f"unknown {quantity} unit {stated[:40]!r}", where=where, hint=f"one of: {', '.join(TABLES[quantity])}")
    if chosen and chosen != unit:
        raise SourceError(f"the file says {quantity} in {unit}, the card says {chosen}", where=where)
    return TABLES[quantity][unit]


@rejects("an extxyz frame")
def _frame(
    info: dict[str, str], rows: list[list[bytes]], layout: Layout, spec: SourceSpec, file: SourceFile, *, origin: str
) -> Frame | Rejection:
    for row in rows:
        if len(row) < layout.width or (layout.declared and len(row) > layout.width):
            raise SourceError(f"a line of {len(row)} columns, expected {layout.width}", where=origin)
    for label, plain, reference in layout.rivals:
        if info[plain] != info[reference]:
            raise _ambiguous(label, plain, reference, where=origin)
    columns = list(zip(*rows, strict=False))
    if not columns:
        raise Unusable("no atoms")
    species = next(layout.columns[key] for key in ("species", "Z", "numbers") if key in layout.columns)
    symbols = [token.decode("ascii", "replace") for token in columns[species.start]]
    length = layout.factors["length"]
    cell = (
        np.array(info["Lattice"].replace(",", " ").split(), np.float64).reshape(3, 3) * length if info.get("Lattice", "").strip() else None
    )
    pbc = _pbc(info.get("pbc"), cell)
    labels = _labels(info, layout, spec)
    if not any(pbc):
        labels = {name: value for name, value in labels.items() if name not in ("virial", "stress")}
    return build(
        origin=origin,
        group=f"{file.name}/{info.get(layout.info.get('group', ''), '') or formula(symbols)}",
        symbols=symbols,
        positions=numbers_of(columns[layout.columns["pos"]]) * length,
        cell=cell if any(pbc) else None,
        pbc=pbc,
        split=info.get(layout.info.get("split", ""), ""),
        isolated=len(symbols) == 1 and marks_isolated(info.get("config_type")),
        forces=None if layout.forces is None else numbers_of(columns[layout.columns[layout.forces]]) * layout.factors["force"],
        **labels,
    )


def numbers_of(columns: list[tuple[bytes, ...]]) -> np.ndarray:
    """(A, n) floats of n columns of words."""
    return np.array([list(map(float, column)) for column in columns]).T


def _labels(info: dict[str, str], layout: Layout, spec: SourceSpec) -> dict[str, Any]:
    """Labels of the comment line, in eV and Å."""
    out: dict[str, Any] = {"charge": whole(spec.options["charge"], "charge")} if "charge" in spec.options else {}
    for label, key in layout.info.items():
        text = info[key]
        if label == "energy":
            out[label] = float(text) * layout.factors["energy"]
        elif label == "virial":
            out[label] = tensor(text.replace(",", " ").split()) * layout.factors["energy"]
        elif label == "stress":
            sign = -1.0 if spec.options.get("stress") == "pressure" else 1.0
            out[label] = sign * tensor(text.replace(",", " ").split()) * layout.factors["stress"]
        elif label in ("charge", "multiplicity"):
            out[label] = whole(text, label)
    return out


def _pbc(text: str | None, cell: Any) -> tuple[bool, bool, bool]:
    if text is None or cell is None:
        return (cell is not None,) * 3
    flags = re.split(r"[\s,]+", text.strip("[]() "))
    flags = flags * 3 if len(flags) == 1 else flags
    if len(flags) != 3 or not all(f.upper() in ("T", "TRUE", "1", "F", "FALSE", "0") for f in flags):
        raise Unusable("pbc is not three flags", text[:40])
    return tuple(f.upper() in ("T", "TRUE", "1") for f in flags)  # type: ignore[return-value]


def formula(symbols: list[str]) -> str:
    """Composition in alphabetical order: frames of one trajectory share it."""
    return "".join(f"{symbol}{count}" for symbol, count in sorted(Counter(symbols).items()))
