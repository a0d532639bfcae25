"""Extended XYZ -> frames, one at a time.

The comment line holds `key=value` pairs, `Lattice`, `pbc` and the columns as `Properties` (https://github.com/libAtoms/extxyz).
Neither label names nor units are part of the format. Names: the card's `keys` (energy, forces, virial, stress, charge,
multiplicity, group, split), else those in wide use; two that differ are a question to the card, and what is not read is said. Units: the
card's `units`, else `energy_unit=...` or `units=...` of the comment (as dpdata and MatterSim write), else eV, Å, eV/Å, eV/Å^3.
Stress has ASE's sign (virial = -V x stress); where a frame has both, they must agree.

Options: `stress: pressure` for a stress that is positive when compressed; `charge: -1` for all frames of the source, where the
file does not say it.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from lamdata import elements
from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.fields import KEYS as NAMED
from lamdata.frame import F64, Frame, Rejection
from lamdata.frames import Parsed

from ..build import NUMBERS, Unusable, build, marks_isolated, number_of, rejects, tensor, whole
from ..bytes.alike import FRAMES
from ..bytes.endings import may_be_cut
from ..bytes.files import SourceFile, Span
from ..bytes.lines import Lines
from ..bytes.scan import plain_numbers, plain_pairs
from ..gathered import LARGE, Row, gather, is_sound
from ..stated import SAID, check_record, says_converged
from ..unit_names import TABLES
from .comment_survey import CommentSurvey, survey_comments
from .extxyz_alike import Pattern, frames_of, pattern_of
from .extxyz_comment import CELLS, UNIT_KEYS, numbers, parse_comment
from .extxyz_layout import Layout, layout_of, parse_columns
from .fixed_atoms import ZEROED, are_zeroed, fixed_by_mask
from .label_names import KEYS
from .two_statements import same, virial_of_both
from .xyz_blocks import EVERY, Block, Words, count_line, is_count, next_block, read_blocks

__all__ = ["KEYS", "UNIT_KEYS", "ExtxyzReader", "formula", "layout_of", "numbers_of", "parse_columns", "parse_comment"]

MAX_HEAD = 8000  # bytes; the last line of so long a head may be cut


class ExtxyzReader:
    """Extended or plain XYZ."""

    name = "extxyz"
    options = {"stress": ("ase", "pressure"), "charge": ()}
    open_units = tuple(TABLES)
    open_keys = NAMED
    keeps_info = True

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Parsed | Rejection]:
        """Yield the frames, many at once."""
        return gather(self._frames(file, spec))

    def _frames(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Row | Parsed | Rejection]:
        layouts: dict[tuple[str | None, ...], tuple[Layout, Pattern | None]] = {}
        pattern: Pattern | None = None
        span, asked = file.span or Span(first=0, stop=EVERY), {*spec.keys.values(), *spec.info}
        with file.open() as stream:
            if span.offset:
                stream.seek(span.offset)
            lines, index = Lines(stream, universal=False), span.first
            while index < span.stop:
                if pattern is not None and (found := _alike(lines, pattern, range(index, span.stop), spec, file)) is not None:
                    yield found
                    index += len(found)
                    continue
                if (block := next_block(lines, f"{file.name}#{index}")) is None:
                    return
                index += 1
                info = plain_pairs(block.line) or parse_comment(block.comment, where=block.where, asked=asked)
                key = (*info, info.get("Properties"), *(info[k] for k in _unit_keys(tuple(info))))
                if key not in layouts:
                    try:
                        layout = layout_of(info, spec, where=block.where)
                    except SourceError:
                        block.rows()  # where the frame is cut that is what to say
                        raise
                    layouts[key] = layout, pattern_of(info, layout, _unit_keys(tuple(info)), spec)
                layout, pattern = layouts[key]
                yield _plain_frame(info, block, layout, spec, file) or _any_frame(info, block, layout, spec, file)

    def survey(self, file: SourceFile, *, frames: int = 100_000) -> CommentSurvey:
        """What the comments of the first frames say of groups and of a published split."""
        with file.open() as stream:
            some = itertools.islice(read_blocks(stream, file.name), frames)
            return survey_comments(parse_comment(block.skip()) for block in some)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def spans(self, file: SourceFile, size: int) -> list[Span]:
        """Spans found by counting lines; up to the end, or to what `read` will refuse."""
        if not file.is_plain:
            return []
        starts = [Span(first=0, stop=0)]
        with file.open() as stream:
            lines = Lines(stream, universal=False)
            i = 0
            while True:
                i += lines.hop(starts[-1].offset + size)
                offset = lines.tell()
                line = count_line(lines)
                if not line or not is_count(line):
                    break
                if offset - starts[-1].offset >= size:
                    starts.append(Span(first=i, stop=0, offset=offset))
                lines.skip(int(line) + 1)
                i += 1
        return [replace(start, stop=after.first) for start, after in itertools.pairwise([*starts, Span(first=EVERY, stop=0)])]

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """A count, a comment, and either columns that the comment states or lines of a symbol and three numbers."""
        lines = [line for line in head.decode("utf-8", "replace").splitlines() if not line.startswith("#")]
        lines = list(itertools.dropwhile(lambda line: not line.strip(), lines))
        if len(lines) < 2 or not lines[0].strip().isdigit():
            return False
        if "Properties=" in lines[1] or "Lattice=" in lines[1]:
            return True
        whole_lines = lines[2:] if len(head) < MAX_HEAD else lines[2:-1]
        rows = [line.split() for line in whole_lines[: int(lines[0])]]
        return bool(rows) and all(_is_atom(row) for row in rows)


def _alike(lines: Lines, pattern: Pattern, wanted: range, spec: SourceSpec, file: SourceFile) -> Parsed | None:
    """The next frames, as many as are written alike and plain; None, and nothing is taken, where the first is not."""
    found = lines.alike(pattern.template, min(len(wanted), FRAMES))
    if found is None:
        return None
    parsed = frames_of(found, pattern, wanted.start, spec, file, _pbc)
    given = 0 if parsed is None else len(parsed)
    if given < len(found):
        lines.back_to(int(found.places[given]))
    return parsed


def _plain_frame(info: dict[str, str], block: Block, layout: Layout, spec: SourceSpec, file: SourceFile) -> Row | None:
    """A frame in which all is as it nearly always is; None for any other, of which nothing has been taken then."""
    if layout.plain is None or not block.natoms:
        return None
    try:
        cell = cell_of(info, layout.factors["length"])
        pbc = _pbc(info.get("pbc"), cell is not None)
        labels = _labels(info, layout, spec, where=block.where)
    except (Unusable, SourceError, ValueError):
        return None
    energy, virial, stress = labels.get("energy"), labels.get("virial"), labels.get("stress")
    weight = labels.get("weight", 1.0)
    if (energy is not None and not math.isfinite(energy)) or not 0.0 <= weight < math.inf:
        return None
    one, both = stress if virial is None else virial, virial is not None and stress is not None
    if one is not None and (both or cell is None or not any(pbc) or not abs(float(one.sum())) < LARGE):
        return None
    if (cell is not None and not is_sound(cell)) or (table := block.table(layout.plain.pattern)) is None:
        return None
    values, numbers = table
    return Row(
        numbers=numbers,
        positions=_times(values[:, layout.plain.positions], layout.factors["length"]),
        cell=cell if any(pbc) else None,
        pbc=pbc,
        energy=energy,
        forces=None if layout.plain.forces is None else _times(values[:, layout.plain.forces], layout.factors["force"]),
        virial=virial,
        charge=labels.get("charge", 0),
        multiplicity=labels.get("multiplicity"),
        converged=None,  # what says so is none of the plain keys
        group=f"{file.name}/{info.get(layout.info.get('group', ''), '') or _formula_of(numbers.tobytes())}",
        origin=block.where,
        split=info.get(layout.info.get("split", ""), ""),
        isolated=block.natoms == 1 and marks_isolated(info.get("config_type")),
        left_out=layout.left_out,
        weight=weight,
        stress=stress,
        info=_kept(info, spec),
    )


def _kept(info: Mapping[str, str], spec: SourceSpec) -> dict[str, str]:
    """What the comment says under the keys that the card keeps."""
    return {key: info[key] for key in spec.info if key in info} if spec.info else {}


@lru_cache(maxsize=64)
def _unit_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Keys that may state a unit."""
    return tuple(key for key in keys if "unit" in key.lower())


def _times(values: F64, factor: float) -> F64:
    return values if factor == 1.0 else values * factor


@lru_cache(maxsize=64)
def _formula_of(numbers: bytes) -> str:
    """The composition of atomic numbers, of which frames that follow one another mostly have the same."""
    return formula(elements.SYMBOLS[number] for number in numbers)


def _any_frame(info: dict[str, str], block: Block, layout: Layout, spec: SourceSpec, file: SourceFile) -> Frame | Rejection:
    """A frame word by word, whatever it holds."""
    rows = block.rows()
    for row in rows:
        if len(row) < layout.width or (layout.declared and len(row) > layout.width):
            raise SourceError(f"a line of {len(row)} columns, expected {layout.width}", where=block.where)
    if block.lines.cut and rows and rows[-1]:
        place = len(rows[-1]) - 1
        last, *others = [row[place].decode("utf-8", "replace") for row in reversed(rows) if len(row) > place]
        if may_be_cut(last, others):
            return Rejection(origin=block.where, reason="the file ends without a line break: its last word may be cut", value=last[:40])
    return _frame(info, rows, layout, spec, file, origin=block.where)


@rejects("an extxyz frame")
def _frame(info: dict[str, str], rows: Words, layout: Layout, spec: SourceSpec, file: SourceFile, *, origin: str) -> Frame | Rejection:
    columns = list(zip(*rows, strict=False))
    if not columns:
        raise Unusable("no atoms")
    for label, key, other in layout.rivals:
        _compare(label, key, other, info, columns, layout, where=origin)
    species = next(layout.columns[key] for key in ("species", "Z", "numbers") if key in layout.columns)
    symbols = [token.decode("ascii", "replace") for token in columns[species.start]]
    length = layout.factors["length"]
    cell = cell_of(info, length)
    pbc = _pbc(info.get("pbc"), cell is not None)
    labels, left_out = _labels(info, layout, spec, where=origin), layout.left_out
    if not any(pbc) and not {"virial", "stress"}.isdisjoint(labels):
        labels = {label: value for label, value in labels.items() if label not in ("virial", "stress")}
        left_out = (*left_out, "virial: the frame is not periodic")
    if "virial" in labels and "stress" in labels and cell is not None:
        labels["virial"] = virial_of_both(labels["virial"], labels.pop("stress"), volume=abs(float(np.linalg.det(cell))))
    forces = None if layout.forces is None else numbers_of(columns[layout.columns[layout.forces]]) * layout.factors["force"]
    if forces is not None and "move_mask" in layout.columns and are_zeroed(forces, fixed_by_mask(columns[layout.columns["move_mask"]])):
        forces, left_out = None, (*left_out, ZEROED)
    if not SAID.isdisjoint(info):
        check_record(info, [NUMBERS.get(symbol) or number_of(symbol) for symbol in symbols])
    return build(
        origin=origin,
        converged=says_converged(info),
        group=f"{file.name}/{info.get(layout.info.get('group', ''), '') or formula(symbols)}",
        symbols=symbols,
        positions=numbers_of(columns[layout.columns["pos"]]) * length,
        cell=cell if any(pbc) else None,
        pbc=pbc,
        split=info.get(layout.info.get("split", ""), ""),
        isolated=len(symbols) == 1 and marks_isolated(info.get("config_type")),
        forces=forces,
        left_out=left_out,
        info=_kept(info, spec),
        **labels,
    )


def _compare(
    label: str, key: str, other: str, info: Mapping[str, str], columns: list[tuple[bytes, ...]], layout: Layout, *, where: str
) -> None:
    """Raise where two keys that may both hold a label hold different values."""
    if label == "forces":
        values, says = [numbers_of(columns[layout.columns[name]]) for name in (key, other)], "they differ"
    else:
        values, says = [np.array(numbers(info[name])) for name in (key, other)], f"{info[key][:20]} and {info[other][:20]}"
    if not same(*values):
        raise SourceError(
            f"both {key!r} and {other!r} could be {label}: {says}",
            where=where,
            hint=f"say `keys: {{{label}: {other}}}` or `keys: {{{label}: {key}}}`",
        )


def numbers_of(columns: Sequence[tuple[bytes, ...]]) -> F64:
    """(A, n) floats of n columns of words; `1.0D-3` as Fortran writes it is one."""
    try:
        return np.array([list(map(float, column)) for column in columns]).T
    except ValueError:
        return np.array([[float(word.replace(b"D", b"E").replace(b"d", b"e")) for word in column] for column in columns]).T


def cell_of(info: Mapping[str, str], length: float) -> F64 | None:
    """(3, 3) Å, rows are the lattice vectors, from nine numbers or three lengths; None where no cell is stated."""
    key = next((key for key in CELLS if info.get(key, "").strip()), None)
    if key is None:
        return None
    if (nine := plain_numbers(info[key], 9)) is not None:
        return nine.reshape(3, 3) * length
    values = np.array(numbers(info[key]), np.float64) * length
    if values.size not in (3, 9):
        raise Unusable(f"{key} has neither 9 nor 3 numbers", info[key][:60])
    return np.diag(values) if values.size == 3 else values.reshape(3, 3)


def _labels(info: Mapping[str, str], layout: Layout, spec: SourceSpec, *, where: str) -> dict[str, Any]:
    """Labels of the comment line, in eV and Å."""
    out: dict[str, Any] = {"charge": whole(spec.options["charge"], "charge")} if "charge" in spec.options else {}
    for label, key in layout.info.items():
        text = info[key]
        if label == "energy":
            (energy,) = numbers(text)
            out[label] = energy * layout.factors["energy"]
        elif label == "virial":
            out[label] = _tensor(text) * layout.factors["virial"]
        elif label == "stress":
            sign = -1.0 if spec.options.get("stress") == "pressure" else 1.0
            out[label] = sign * _tensor(text) * layout.factors["stress"]
        elif label == "weight":
            (out[label],) = numbers(text)
        elif label in ("charge", "multiplicity") and out.setdefault(label, whole(text, label)) != whole(text, label):
            raise SourceError(f"says a charge of {text}, the card says {out[label]}", where=where, hint="leave `options: {charge}` out")
    return out


def _tensor(text: str) -> F64:
    """(3, 3) of nine numbers, or of six."""
    nine = plain_numbers(text, 9)
    return tensor(numbers(text)) if nine is None else nine.reshape(3, 3)


@lru_cache(maxsize=64)
def _pbc(text: str | None, has_cell: bool) -> tuple[bool, bool, bool]:
    flags = [] if text is None else re.split(r"[\s,]+", text.strip("[]() "))
    flags = flags * 3 if len(flags) == 1 else flags
    if flags and (len(flags) != 3 or not all(f.upper() in ("T", "TRUE", "1", "F", "FALSE", "0") for f in flags)):
        raise Unusable("pbc is not three flags", (text or "")[:40])
    if not has_cell and any(f.upper() in ("T", "TRUE", "1") for f in flags):
        raise Unusable("periodic, but no cell is stated")
    x, y, z = (f.upper() in ("T", "TRUE", "1") for f in flags) if flags else (has_cell,) * 3
    return x, y, z


def _is_atom(row: list[str]) -> bool:
    """A symbol and three numbers."""
    try:
        return len(row) >= 4 and row[0].capitalize() in NUMBERS and len([float(word) for word in row[1:4]]) == 3
    except ValueError:
        return False


def formula(symbols: Iterable[str]) -> str:
    """Composition in alphabetical order: frames of one trajectory share it."""
    return "".join(f"{symbol}{count}" for symbol, count in sorted(Counter(symbols).items()))
