"""Frames of an extended XYZ whose comments have the same keys -> arrays of many; each is what the reader gives one by one.

A layout says where labels stand, and holds for all comments with the same keys, columns and units. `Pattern` is that layout as a template;
a frame that is not as plain, or in which something is to be looked at, is left to the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamdata.catalog import SourceSpec
from lamdata.frame import F64
from lamdata.frames import Frames, Parsed
from lamdata.statistics import Compositions, formulas_in

from ..build import Unusable, marks_isolated
from ..bytes.alike import Alike, Line, Template
from ..bytes.files import SourceFile
from ..gathered import LARGE, are_sound
from .extxyz_comment import CELLS
from .extxyz_layout import Layout

SIZES = {"energy": "n", "weight": "n", "charge": "i", "multiplicity": "i", "virial": 9 * "n", "stress": 9 * "n"}
WHOLE = 32_000  # of a charge or multiplicity that is plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A layout as a template, and where it has what: labels and cell in the values, group, split and so on in the texts."""

    template: Template
    layout: Layout
    values: Mapping[str, slice]
    texts: Mapping[str, int]
    kept: Mapping[str, str]  # key that the card keeps -> its name in `texts`


def pattern_of(info: Mapping[str, str], layout: Layout, units: tuple[str, ...], spec: SourceSpec) -> Pattern | None:
    """How frames with the comment `info` are taken; None where that depends on more than its keys. `units` are keys of which the value counts."""
    labels = {key: label for label, key in layout.info.items()}
    cells = [key for key in CELLS if key in info]
    if layout.plain is None or len(cells) > 1 or len(labels) < len(layout.info) or {"virial", "stress"} <= layout.info.keys():
        return None
    names = dict.fromkeys(cells, "cell") | {key: key for key in ("pbc", "config_type") if key in info} | labels
    if len({*cells, "pbc", "config_type"} & labels.keys()) or ("charge" in spec.options and "charge" in layout.info):
        return None
    kept = {key: names.get(key, f"info of {key}") for key in spec.info if key in info}
    if any(name == "cell" or name in SIZES for name in kept.values()):
        return None  # what is taken as numbers would be a text as well
    pairs, values, texts, at = [], dict[str, slice](), dict[str, int](), 0
    for key in info:
        name = names.get(key, kept.get(key))
        if name is None:
            fixed = key == "Properties" or key in units
            pairs.append((key, "=" if fixed else ".", info[key] if fixed else ""))
        elif size := 9 * "n" if name == "cell" else SIZES.get(name):
            pairs.append((key, "n", size))
            values[name] = slice(at, at := at + len(size))
        else:
            pairs.append((key, "t", ""))
            texts[name] = len(texts)
    lines = (Line("#", " \t\r"), Line("p", pairs=tuple(pairs)), Line("a", pattern=layout.plain.pattern))
    return Pattern(template=Template(lines, style="fortran"), layout=layout, values=values, texts=texts, kept=kept)


def frames_of(
    found: Alike,
    pattern: Pattern,
    first: int,
    spec: SourceSpec,
    file: SourceFile,
    pbc_of: Callable[[str | None, bool], tuple[bool, bool, bool]],
) -> Parsed | None:
    """The first of some frames up to one that is not plain; None where that is the first, which has the number `first` in the file."""
    layout, values, texts = pattern.layout, pattern.values, {name: found.texts(at) for name, at in pattern.texts.items()}
    cell = None if "cell" not in values else _of(found, values["cell"]).reshape(-1, 3, 3) * layout.factors["length"]
    pbc = _periods(texts.get("pbc"), len(found), cell is not None, pbc_of)
    labels: dict[str, NDArray[Any]] = {name: _of(found, values[name]) for name in SIZES if name in values}
    good = pbc >= 0
    if cell is not None:
        good &= are_sound(cell)[:, None]
    fine = good.all(axis=1)
    for name, value in labels.items():
        if name in ("charge", "multiplicity"):
            fine &= np.abs(value[:, 0]) <= WHOLE
        elif name in ("virial", "stress"):
            sign = -1.0 if name == "stress" and spec.options.get("stress") == "pressure" else 1.0
            tensors = value.reshape(-1, 3, 3)
            labels[name] = (sign * tensors if name == "stress" else tensors) * layout.factors[name]
            fine &= (pbc > 0).any(axis=1) & (np.abs(labels[name].reshape(-1, 9).sum(axis=1)) < LARGE)
        elif name == "energy":
            labels[name] = value[:, 0] * layout.factors[name]
            fine &= np.isfinite(labels[name])
        else:
            fine &= (value[:, 0] >= 0.0) & (value[:, 0] < np.inf)
    count = len(found) if fine.all() else int(np.argmin(fine))
    if count == 0:
        return None
    frames = _frames(found, pattern, count, cell, pbc > 0, labels, spec)
    said = texts.get("group", [""] * count)[:count]
    formulas = said if spec.group != "reader" or all(said) else formulas_of(frames)  # of which then nothing is kept
    isolated = [n == 1 and marks_isolated(kind) for n, kind in zip(frames.natoms.tolist(), texts.get("config_type", ()))]
    infos = zip(*(texts[name][:count] for name in pattern.kept.values()))
    return Parsed(
        frames=frames,
        groups=[f"{file.name}/{group or formula}" for group, formula in zip(said, formulas)],
        origins=[f"{file.name}#{i}" for i in range(first, first + count)],
        unconverged=np.zeros(count, bool),  # what says so is none of the plain keys
        splits=texts["split"][:count] if "split" in texts and any(texts["split"][:count]) else (),
        isolated=isolated if any(isolated) else (),
        left_out=[layout.left_out] * count if layout.left_out else (),
        infos=[dict(zip(pattern.kept, said)) for said in infos],
    )


def _of(found: Alike, at: slice) -> F64:
    return np.ascontiguousarray(found.values[:, at])


def _periods(
    texts: list[str] | None, count: int, has_cell: bool, pbc_of: Callable[[str | None, bool], tuple[bool, bool, bool]]
) -> NDArray[np.int8]:
    """(F, 3) along which vectors frames are periodic; -1 where what is said of it cannot be."""
    known: dict[str | None, tuple[int, int, int]] = {}
    for text in {None} if texts is None else set(texts):
        try:
            known[text] = pbc_of(text, has_cell)
        except Unusable:
            known[text] = (-1, -1, -1)
    return np.array([known[None]] * count if texts is None else [known[text] for text in texts], np.int8)


def _frames(
    found: Alike,
    pattern: Pattern,
    count: int,
    cell: F64 | None,
    pbc: NDArray[np.bool_],
    labels: Mapping[str, NDArray[Any]],
    spec: SourceSpec,
) -> Frames:
    """The arrays of the first `count` frames."""
    plain, factors = pattern.layout.plain, pattern.layout.factors
    assert plain is not None, "the pattern was made of it"
    atoms, natoms = int(found.natoms[:count].sum()), found.natoms[:count].astype(np.int32)
    pbc, virial = pbc[:count], labels.get("virial")
    if "stress" in labels and cell is not None:
        virial = -np.abs(np.linalg.det(cell[:count]))[:, None, None] * labels["stress"][:count]
    frames = Frames.from_arrays(
        numbers=found.numbers[:atoms],
        positions=_scaled(found.table[:atoms, plain.positions], factors["length"]),
        natoms=natoms,
        cell=None if cell is None else np.where(np.reshape(pbc.any(axis=1), (count, 1, 1)), cell[:count], 0.0),
        energy=labels["energy"][:count] if "energy" in labels else None,
        forces=None if plain.forces is None else _scaled(found.table[:atoms, plain.forces], factors["force"]),
        virial=None if virial is None else virial[:count],
    )
    charge = np.full(count, int(spec.options.get("charge", 0)), np.int16)
    changes: dict[str, NDArray[Any]] = {"pbc": pbc, "charge": charge}
    changes |= {name: labels[name][:count, 0].astype(np.int16) for name in ("charge", "multiplicity") if name in labels}
    return frames.with_(**changes, **({"weight": labels["weight"][:count, 0].copy()} if "weight" in labels else {}))


def _scaled(values: F64, factor: float) -> F64:
    return np.ascontiguousarray(values) if factor == 1.0 else np.ascontiguousarray(values * factor)


def formulas_of(frames: Frames) -> list[str]:
    """(F,) composition of each frame as "H2O1", its elements in alphabetical order."""
    made = Compositions.of(frames)
    order = sorted(range(len(made.elements)), key=made.elements.__getitem__)
    words = formulas_in([made.elements[i] for i in order], made.kinds[:, order], between="")
    return [words[k] for k in made.kind.tolist()]
