"""Zero-shot: a model as it is -> its errors on data that it was not trained on, once energies have the references of these data.

Energies of another theory, or code, differ by a constant an atom, which says nothing of a model. What is fitted is the same in both tables,
a shift by element; they differ in the frames that it is fitted to:

    held_in       training frames of the dataset, none of which is measured: what a user has who labels some frames
    as_lambench   the measured frames themselves, as LAMBench does: its labels have been seen, so its energies look better than they are
"""

from __future__ import annotations

from typing import Any

from ...evaluation.normalised import ratios_of, score_of
from ...prediction.model import Model
from ...prediction.shift import Shift
from .scoring import ask, errors_of, fit
from .target import Target

SAYS = {
    "held_in": "references fitted to {0} training frames, none of which is measured",
    "as_lambench": "references fitted to the {1} test frames that are measured, as LAMBench does: not a held-out number",
}


def zero_shot(target: Target, model: Model | None, head: str) -> dict[str, Any]:
    """Both tables: errors of the model and of the guess, their ratios, and the normalised score; without a model, the guess alone, which is 1."""
    shown, held_in = target.shown, target.held_in
    said = None if model is None else ask(model, head, shown)
    before = None if model is None else ask(model, head, held_in)
    shifts: dict[str, Shift | None] = {"held_in": None, "as_lambench": None}
    if said is not None and before is not None:
        shifts["held_in"] = fit(held_in, before.energy, among=before.answered)
        shifts["as_lambench"] = fit(shown, said.energy, among=said.answered)
    guesses = {"held_in": target.guess, "as_lambench": fit(shown)}
    found: dict[str, Any] = {}
    for name, guess in guesses.items():
        shift, base = shifts[name], errors_of(shown, None, guess=guess)
        errors = errors_of(shown, said, guess=guess, shift=shift)
        ratios = ratios_of(errors, base)
        found[name] = {
            "says": SAYS[name].format(len(held_in), len(shown)),
            "errors": errors,
            "guess": base,
            "ratios": ratios,
            "normalised": score_of([ratios]),
            "references": None if shift is None or model is None else shift.to_json(known=model.elements[head]),
        }
    return found
