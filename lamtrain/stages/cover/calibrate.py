"""A model, its sketch and held-out frames -> what is usual for the model: shares beyond the limits, errors, and the error by score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lamdata.frame import Frame

from ...prediction.answers import Tally
from ...prediction.model import Model
from .labels import Labels
from .scores import Coverage, Distinct, Scored, score_frames
from .sketch import Sketch


def calibrate(model: Model, head: str, sketch: Sketch, frames: Sequence[Frame]) -> dict[str, Any]:
    """What the model does with frames that it was not trained on; {} where there are none.

    `error_by_score`, eV/Å, is a in e = a s, with e the error of the force on an atom (root mean square of components) and s its score: the
    ratio of their root mean squares, as the calibration of a last-layer variance (Bigi et al., Mach. Learn.: Sci. Technol. 5, 045018 (2024)).
    """
    coverage, labels, errors, scores = Coverage(), Labels(), 0.0, 0.0
    for scored in score_frames(model, head, sketch, Distinct(frames, sketch.numbers.tolist()), Tally()):
        if not isinstance(scored, Scored):
            continue
        coverage.add(scored)
        labels.add(scored)
        label, predicted = scored.answer.label, scored.answer.predicted
        if label.forces is not None and predicted.forces is not None:
            errors += float(np.square(predicted.forces - label.forces).mean(1).sum())
            scores += float(np.square(scored.atoms).sum())
    if not coverage.frames:
        return {}
    return {
        "frames": coverage.frames,
        "frames_beyond": coverage.beyond / coverage.frames,
        "atoms_beyond": coverage.atoms_beyond / coverage.atoms,
        "frames_with_unseen_pairs": coverage.with_unseen / coverage.frames,
        "energy": labels.energy_table(),
        "forces": labels.force_table(),
        "labels_over_predicted_forces": labels.unit_of_forces()["factor"],
        "error_by_score": (errors / scores) ** 0.5 if scores else None,
    }
