"""Write a DeePMD-kit file only if it gives the same numbers: model and file compared on frames."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from lamdata.errors import DataError
from lamdata.frames import Frames
from lamtrain.batch import collate
from lamtrain.model.lam import LamModel, Output

from .read import from_deepmd
from .write import Format, chosen_heads, to_deepmd

LIMIT = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """Largest difference between the model and the file, for one head and one reader of the file."""

    head: str
    reader: str  # "lamtrain" or "deepmd"
    energy: float  # eV per atom
    forces: float  # eV/Å
    virial: float  # eV per atom

    @property
    def largest(self) -> float:
        return max(self.energy, self.forces, self.virial)


def export(
    model: LamModel, frames: Frames, path: str | Path, *, head: str | None = None, format: Format | None = None, limit: float = LIMIT
) -> list[Deviation]:
    """Write `model` for DeePMD-kit and return how far the file is from it on `frames`, by our reader and, if installed, by DeePMD-kit.

    Raises DataError, and leaves nothing at `path`, if energies, forces or virials differ by more than `limit`. The comparison is
    made in float64 on both sides; a float32 model is compared as what its weights say.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.draft{path.suffix}")
    try:
        to_deepmd(model, draft, head=head, format=format)
        heads = chosen_heads(model, head, where=str(path))
        deviations = [compare_reread(model, frames, draft, one, alone=len(heads) == 1) for one in heads]
        if importlib.util.find_spec("deepmd") is not None:
            deviations += [compare_deepmd(model, frames, draft, one, alone=len(heads) == 1) for one in heads]
        worst = max(deviations, key=lambda deviation: deviation.largest)
        if not worst.largest <= limit:  # a NaN must not pass
            found = f"energy {worst.energy:.1e} eV/atom, forces {worst.forces:.1e} eV/Å, virial {worst.virial:.1e} eV/atom"
            raise DataError(f"not written: head `{worst.head}`, read by {worst.reader}, differs by {found}; limit {limit:.0e}", where=str(path))
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return deviations


def compare_reread(model: LamModel, frames: Frames, path: Path, head: str, *, alone: bool) -> Deviation:
    """Compare with the file as our own reader gives it back."""
    again, _ = from_deepmd(path, branch=None if alone else head)
    theirs = evaluate(again, frames, next(iter(again.config.heads)))
    return deviation(evaluate(model, frames, head), theirs, frames, head=head, reader="lamtrain")


def compare_deepmd(model: LamModel, frames: Frames, path: Path, head: str, *, alone: bool) -> Deviation:
    """Compare with the file as DeePMD-kit evaluates it."""
    from .oracle import evaluate_deepmd

    theirs = evaluate_deepmd(path, frames, elements=model.config.elements, head=None if alone else head)
    return deviation(evaluate(model, frames, head), theirs, frames, head=head, reader="deepmd")


def evaluate(model: LamModel, frames: Frames, head: str) -> Output:
    """Energies, forces and virials of all frames by `head`, in float64."""
    twin = LamModel(model.config).double()
    twin.load_state_dict(model.state_dict())
    index = list(model.config.heads).index(head)
    batch = collate(frames.with_(head=frames.head * 0 + index), model.config, dtype=torch.float64)
    return twin.eval()(batch)


def deviation(a: Output, b: Output, frames: Frames, *, head: str, reader: str) -> Deviation:
    natoms = torch.from_numpy(frames.natoms.astype(float))
    periodic = torch.from_numpy(frames.pbc.any(1))
    virial = ((a.virial - b.virial).abs() / natoms[:, None, None])[periodic]
    return Deviation(
        head=head,
        reader=reader,
        energy=float(((a.energy - b.energy).abs() / natoms).max()),
        forces=float((a.forces - b.forces).abs().max()),
        virial=float(virial.max()) if virial.numel() else 0.0,
    )
