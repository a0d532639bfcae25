"""Energies, forces and virials of a file as DeePMD-kit itself gives them; for machines that have it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lamdata.errors import DataError, need
from lamdata.frame import Frame
from lamdata.frames import Frames
from lamtrain.model.elements import NUMBERS
from lamtrain.model.lam import Output

# DeePMD-kit loads with strict=False, warns, and goes on with whatever stood in a tensor that the file lacks.
WARNINGS = ("missing keys", "unexpected keys")


def evaluate_deepmd(path: Path, frames: Frames, *, elements: list[str], head: str | None = None) -> Output:
    """Evaluate every frame with DeePMD-kit's `DeepPot`; its warning about keys is an error here."""
    infer = need("deepmd.infer", hint="pip install deepmd-kit")
    heard = _Listener()
    logging.getLogger("deepmd").addHandler(heard)
    try:
        potential = infer.DeepPot(str(path), **({} if head is None else {"head": head}))
    finally:
        logging.getLogger("deepmd").removeHandler(heard)
    if heard.lines:
        raise DataError(f"DeePMD-kit does not take the file as it is: {heard.lines[0]}", where=str(path))
    index = np.full(256, -1)
    index[[NUMBERS[symbol] for symbol in elements]] = np.arange(len(elements))
    parts = [potential.eval(*_arguments(frame, index)) for frame in frames]
    virial = np.stack([virial.reshape(3, 3) for _, _, virial in parts])
    return Output(
        energy=torch.tensor([float(energy.item()) for energy, _, _ in parts], dtype=torch.float64),
        forces=torch.from_numpy(np.concatenate([forces[0] for _, forces, _ in parts])),
        virial=torch.from_numpy(virial),
    )


def _arguments(frame: Frame, index: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, list[int]]:
    """(coordinates (1, 3A), cell (1, 9) or None, types (A,)). DeePMD-kit is periodic in all directions or in none."""
    if any(frame.pbc) and not all(frame.pbc):
        raise DataError("DeePMD-kit cannot evaluate a frame that is periodic in some directions only")
    cell = frame.cell.reshape(1, 9) if frame.cell is not None and all(frame.pbc) else None
    return frame.positions.reshape(1, -1), cell, index[frame.numbers].tolist()


class _Listener(logging.Handler):
    """Keeps what was said about keys."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if any(warning in line for warning in WARNINGS):
            self.lines.append(line)
