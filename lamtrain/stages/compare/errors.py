"""Labels and predictions of one task -> errors; a label that a model has not answered for every frame has none, and says how many are missing.

With E, F and V of frames of N atoms, in meV and Å: energy (E - E')/N, virial components (V - V')/N, force components F - F', each as mean of
absolute values and as root mean square. The cosine is the mean over atoms of F F' / |F||F'|, of atoms whose labelled force is more than
DIRECTED; 0 where no force is predicted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamdata.frames import Frames

from ...prediction.shift import Shift
from ...tasks import MILLI
from ..transfer.scoring import fit, shifts_of
from .exam import Exam
from .names import METRICS

DIRECTED = 1e-2  # eV/Å; a smaller force has hardly a direction
F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a model does on a task."""

    errors: dict[str, float]  # those of labels that are complete
    missing: dict[str, int]  # label -> frames that it should have answered, and has not
    shift: Shift | None  # references of its energies, where they were fitted


def measure(exam: Exam, predicted: Frames) -> Measured:
    """Errors of predictions of `exam.asked`, in its order."""
    first = len(exam.fitted) if exam.refits else 0
    fitted, shown = predicted.part(0, first), predicted.part(first, len(predicted))
    lacking = {
        "energy": int(np.count_nonzero(exam.scored & ~shown.has_energy)),
        "force": int(np.count_nonzero(exam.shown.has_forces & ~shown.has_forces)),
        "virial": int(np.count_nonzero(exam.shown.has_virial & ~shown.has_virial)),
    }
    if exam.refits:  # or a model would choose, by what it leaves out, which references it gets
        lacking["energy"] += int(np.count_nonzero(exam.fitted.has_energy & ~fitted.has_energy))
    missing = {label: lacking[label] for label in exam.labels if lacking[label]}
    shift = None
    if exam.refits and "energy" not in missing:
        shift = fit(exam.fitted, np.asarray(fitted.energy, np.float64))
    errors: dict[str, float] = {}
    for label in exam.labels:
        if label not in missing:
            errors |= _errors(label, exam, shown, shift)
    return Measured(errors=errors, missing=missing, shift=shift)


def _errors(label: str, exam: Exam, predicted: Frames, shift: Shift | None) -> dict[str, float]:
    shown = exam.shown
    if label == "force":
        chosen = np.repeat(shown.has_forces, shown.natoms)
        true, said = np.asarray(shown.forces[chosen], np.float64), np.asarray(predicted.forces[chosen], np.float64)
        found = _mean_and_root(label, said - true)
        cosine = cosine_of(true, said)
        return found if cosine is None else found | {"force_cosine": cosine}
    if label == "virial":
        apart = (predicted.virial - shown.virial)[shown.has_virial] / shown.natoms[shown.has_virial, None, None]
        return _mean_and_root(label, np.asarray(apart, np.float64))
    energy = predicted.energy + (shifts_of(shown, shift) if shift is not None else 0.0)
    return _mean_and_root(label, ((energy - shown.energy) / shown.natoms)[exam.scored])


def _mean_and_root(label: str, apart: F64) -> dict[str, float]:
    if not apart.size:
        return {}
    mean, root = METRICS[label][:2]
    return {mean: MILLI * float(np.abs(apart).mean()), root: MILLI * float(np.sqrt(np.square(apart).mean()))}


def cosine_of(true: F64, said: F64) -> float | None:
    """Mean cosine between forces (A, 3); None where no labelled force has a direction."""
    lengths = np.linalg.norm(true, axis=1)
    chosen = lengths > DIRECTED
    if not chosen.any():
        return None
    product = lengths[chosen] * np.linalg.norm(said[chosen], axis=1)
    along = (true[chosen] * said[chosen]).sum(axis=1)
    return float(np.divide(along, product, out=np.zeros_like(along), where=product > 0).mean())
