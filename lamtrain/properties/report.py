"""A tested model and structures -> the section `properties` of test.json, a table, and a picture a head."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamdata import read_frames
from lamdata.elements import NUMBERS, SYMBOLS
from lamdata.errors import DataError
from lamdata.frame import Frame, Rejection
from lamdata.progress import Progress

from ..calculator import Calculator
from ..checkpoint import load, to_json
from ..data.mixture import TrainingData, open_tasks
from ..evaluation.evaluate import has_others, reference_table
from ..evaluation.report import what_to_test
from ..files import replace_file
from ..prediction.model import Model, load_model
from .measure import chosen, draw_properties, measure

if TYPE_CHECKING:
    import torch

SHOWN = {  # column of the table -> property and name of the number
    "a, Å": ("crystal", "lengths_angstrom"),
    "V, Å³/atom": ("eos", "volume_angstrom3_per_atom"),
    "B (EOS), GPa": ("eos", "bulk_modulus_gpa"),
    "B, GPa": ("elastic", "bulk_modulus_gpa"),
    "G, GPa": ("elastic", "shear_modulus_gpa"),
    "highest, THz": ("phonon", "highest_thz"),
    "lowest, THz": ("phonon", "lowest_thz"),
    "C_V 300 K, J/(K mol)": ("phonon", "heat_capacity_300k_j_per_k_mol"),
    "vacancy, eV": ("vacancy", "formation_energy_ev"),
    "NVE drift, eV/atom/ps": ("nve", "drift_ev_per_atom_per_ps"),
}


def add_properties(
    result: dict[str, Any],
    model_path: Path,
    store: str,
    *,
    output: Path,
    properties: str | Sequence[str],
    structures: Mapping[str, Frame] | None = None,
    dataset: str | None = None,
    split: str = "test",
    device: torch.device | str = "cpu",
    quiet: bool = False,
) -> dict[str, Any]:
    """Measure the energy heads of `result`, which `test_model` gave, in float64; write test.json with them, and properties-HEAD.png.

    `structures` have names; without them, of each head that frame of the split, periodic in all directions, whose energy by atom lies
    lowest above its reference energies. Raises DataError where there is no structure for any head.
    """
    wanted = chosen(properties)
    model = load_model(model_path, device=str(device), dtype="float64", kernels="auto")
    heads = [head for head in result["heads"] if head in model.heads]
    if structures:
        asked = {head: {name: frame for name, frame in structures.items() if _knows(model, head, name, frame)} for head in heads}
    else:
        data = open_tasks(what_to_test(load(model_path), model_path, heads[0] if len(heads) == 1 else None, dataset), store)
        asked = {head: lowest_frame(model, data, head, split=split) for head in heads}
    if not any(asked.values()):
        why = "no head knows the elements of the structures" if structures else f"no {split} frame is periodic in all directions"
        raise DataError(why, where=str(model_path), hint="give crystals of its elements with --structures FILES", result=result)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    total = len(wanted) * sum(map(len, asked.values()))
    with Progress("measuring", total=total, unit="properties", quiet=quiet) as progress:
        for head, frames in asked.items():
            calculators = {name: Calculator(model, head=head) for name in frames}
            found[head] = {name: measure(frames[name].to_ase(), c, wanted, step=progress.advance) for name, c in calculators.items()}
    for head, rows in found.items():
        if rows:
            draw_properties(rows, output / f"properties-{head}.png")
    result = result | {"properties": found}
    replace_file(output / "test.json", to_json(result).encode())
    return result


def read_structures(paths: Sequence[str]) -> dict[str, Frame]:
    """Where each frame of some files stands -> the frame. Raises DataError for one that is refused, and where there is none."""
    frames = {}
    for path in paths:
        for item in read_frames(path):
            if isinstance(item, Rejection):
                raise DataError(item.reason, where=item.origin)
            frames[item.origin] = item
    if not frames:
        raise DataError("no structure", where=", ".join(paths))
    return frames


def _knows(model: Model, head: str, name: str, frame: Frame) -> bool:
    strange = sorted({SYMBOLS[z] for z in frame.numbers.tolist()} - set(model.elements[head]))
    if strange:
        print(f"note: head {head} does not know {', '.join(strange)}: {name} is not measured with it", file=sys.stderr)
    return not strange


def lowest_frame(model: Model, data: TrainingData, head: str, *, split: str) -> dict[str, Frame]:
    """Its origin -> the crystal among the held-out frames of a head whose energy by atom is lowest above the reference energies."""
    stated: Mapping[str, float] = (model.checkpoint.heads[head].get("references") or {}).get("energies", {})
    if not stated:
        stated = dict(zip(model.config.elements, model.net.energy_head(head).bias.tolist()))
    table, known = reference_table(stated), [NUMBERS[symbol] for symbol in model.elements[head]]
    best: tuple[float, str, Frame] | None = None
    for task in data.of_head(head):
        for part in task.side(split).batches(batch_atoms=4096):
            above = (part.energy - np.add.reduceat(table[part.numbers], part.starts[:-1])) / part.natoms
            fit = part.pbc.all(1) & part.has_energy & ~has_others(part, known)
            above = np.where(fit, above, np.inf)
            row = int(np.argmin(above))
            if np.isfinite(above[row]) and (best is None or above[row] < best[0]):
                best = float(above[row]), data.origin(part, row), next(iter(part.part(row, row + 1)))
    return {} if best is None else {best[1]: best[2]}


def table_of_properties(found: dict[str, dict[str, dict[str, Any]]]) -> tuple[list[str], list[list[Any]]]:
    """Titles and rows: a row a head and structure, a column a number that at least one of them has."""
    rows = [(head, name, values) for head, structures in found.items() for name, values in structures.items()]
    columns = {title: where for title, where in SHOWN.items() if any(_number(values, *where) is not None for _, _, values in rows)}
    cells = [
        [head, name, values["crystal"].get("formula"), *(_number(values, *where) for where in columns.values())]
        for head, name, values in rows
    ]
    return ["head", "structure", "formula", *columns], cells


def _number(values: dict[str, dict[str, Any]], name: str, key: str) -> float | None:
    value = values.get(name, {}).get(key)
    return value[0] if isinstance(value, list) else value


def failures(found: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """What could not be measured, and why; dynamics that ended early are among it."""
    out = []
    for head, structures in found.items():
        for where, values in structures.items():
            for name, row in values.items():
                if why := row.get("failed") or row.get("stopped_by"):
                    out.append(f"{name} of {where}, head {head}: {why}")
    return out
