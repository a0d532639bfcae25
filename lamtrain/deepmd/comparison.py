"""Write a DeePMD-kit file only if it gives the same numbers: model and file compared on frames."""

from __future__ import annotations

import importlib.util
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lamdata.errors import DataError
from lamdata.frames import Frames
from lamtrain.data.batch import collate
from lamtrain.model.config import ModelConfig
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
        """The largest of the three, NaN if any is."""
        values = (self.energy, self.forces, self.virial)
        return math.nan if any(map(math.isnan, values)) else max(values)


def export(
    model: LamModel,
    frames: Frames,
    path: str | Path,
    *,
    head: str | None = None,
    format: Format | None = None,
    limit: float = LIMIT,
) -> list[Deviation]:
    """Write `model` for DeePMD-kit and return how far the file is from it on `frames`, by our reader and, if installed, by DeePMD-kit.

    Raises DataError, and leaves nothing at `path`, if energies, forces or virials differ by more than `limit`. The comparison is
    made in float64 on both sides; a float32 model is compared as what its weights say.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.draft{path.suffix}")
    heads = chosen_heads(model, head, where=str(path))
    ours = {one: evaluate(model, frames, one) for one in heads}
    try:
        to_deepmd(model, draft, head=head, format=format)
        deviations = compare_reread(frames, draft, ours)
        if importlib.util.find_spec("deepmd") is not None:
            deviations += compare_deepmd(model, frames, draft, ours)
        wrong = [one for one in deviations if not one.largest <= limit]  # a NaN must not pass
        if wrong:
            worst = max(wrong, key=lambda one: (math.isnan(one.largest), one.largest))
            found = f"energy {worst.energy:.1e} eV/atom, forces {worst.forces:.1e} eV/Å, virial {worst.virial:.1e} eV/atom"
            message = f"not written: head `{worst.head}`, read by {worst.reader}, differs by {found}; limit {limit:.0e}"
            raise DataError(message, where=str(path))
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return deviations


def compare_reread(frames: Frames, path: Path, ours: dict[str, Output]) -> list[Deviation]:
    """Compare with what our own reader makes of the file."""
    deviations = []
    for head, own in ours.items():
        again, _ = from_deepmd(path, branch=head if len(ours) > 1 else None)
        theirs = evaluate(again, frames, next(iter(again.config.heads)))
        deviations.append(deviation(own, theirs, frames, head=head, reader="lamtrain"))
    return deviations


def compare_deepmd(model: LamModel, frames: Frames, path: Path, ours: dict[str, Output]) -> list[Deviation]:
    """Compare with what DeePMD-kit makes of the file; of a float32 model, of the same file with its weights widened."""
    from .oracle import evaluate_deepmd

    elements, wide = model.config.elements, path
    if model.config.precision != "float64":
        wide = path.with_name(f"{path.stem}.float64{path.suffix}")
        to_deepmd(in_double(model), wide, head=None if len(ours) > 1 else next(iter(ours)))
    try:
        theirs = {head: evaluate_deepmd(wide, frames, elements=elements, head=head if len(ours) > 1 else None) for head in ours}
    finally:
        if wide is not path:
            wide.unlink(missing_ok=True)
    return [deviation(ours[head], theirs[head], frames, head=head, reader="deepmd") for head in ours]


def in_double(model: LamModel) -> LamModel:
    """The same weights in a float64 model."""
    options = model.config.model_dump()
    options["descriptor"]["precision"] = options["fitting"]["precision"] = "float64"
    twin = LamModel(ModelConfig.model_validate(options))
    twin.load_state_dict(model.state_dict())
    return twin.eval()


def evaluate(model: LamModel, frames: Frames, head: str) -> Output:
    """Energies, forces and virials of all frames by `head`, in float64."""
    index = list(model.config.heads).index(head)
    output: Output = in_double(model)(collate(frames.with_(head=np.full_like(frames.head, index)), model.config, dtype=torch.float64))
    return output


def deviation(a: Output, b: Output, frames: Frames, *, head: str, reader: str) -> Deviation:
    """Largest differences; the virial of a frame that is not periodic is not compared, for it has no use."""
    natoms = torch.from_numpy(frames.natoms.astype(float))
    periodic = torch.from_numpy(frames.pbc.any(1))
    virial = _apart(a.virial, b.virial) / natoms[:, None, None]
    virial = virial[periodic]
    return Deviation(
        head=head,
        reader=reader,
        energy=_largest(_apart(a.energy, b.energy) / natoms),
        forces=_largest(_apart(a.forces, b.forces)),
        virial=_largest(virial) if virial.numel() else 0.0,
    )


def _apart(a: torch.Tensor | None, b: torch.Tensor | None) -> torch.Tensor:
    assert a is not None and b is not None  # an energy head gives all three
    return a - b


def _largest(difference: torch.Tensor) -> float:
    return float(difference.detach().abs().max())
