"""Ladder: one arm on one part of a dataset -> runs of T, 2 T, 4 T, ... steps, each from its beginning, until more steps help no more.

The first is what arms are compared by at equal steps. *Converged* means: neither twice nor four times the steps lowered the validation error
by 5%, and that error is a tenth below the spread of the labels: a net may stand still for a while before it learns. Of all runs, the one with the
lowest validation error is taken. Where the longest run that is allowed still gained more, that is said instead. Test frames choose nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamdata.frames import Frames

from ...checkpoint import load, to_json
from ...config import TrainConfig
from ...evaluation.normalised import LABELS
from ...files import replace_file
from ...prediction.model import load_model
from ...prediction.shift import Shift
from ...training.observers import Row
from ...training.state import TrainState
from ...training.trainer import train
from .scoring import ask, errors_of

GAIN, PATIENCE = 0.05, 2  # of the validation error, and by how many doublings it is missed in a row before more steps are not worth taking
LEARNED = 0.9  # of the spread of the labels, which is what a net that has learned nothing errs by
FOUND = "found.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """What every run of a dataset is measured on."""

    head: str
    frames: Frames
    guess: Shift | None
    device: str = "auto"


def read_found(out: Path) -> dict[str, Any]:
    """What `do_run` found in a folder; {} where it is not finished."""
    return dict(json.loads((out / FOUND).read_text())) if (out / FOUND).exists() else {}


def do_run(config: TrainConfig, out: Path, exam: Exam, *, step: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
    """Train and measure; killed anywhere, the same call goes on. `step` is told of steps as they are done.

    `validation` is what chose: the mean over energies and forces of error / spread on validation frames. `errors` are of test frames,
    `over_guess` by those of the composition alone.
    """
    train(config, out=out, device=exam.device, quiet=True, observers=[_Told(step)])
    checkpoint = load(out / "last.pt")
    model = load_model(out / "last.pt", device=exam.device)
    errors = errors_of(exam.frames, ask(model, exam.head, exam.frames), guess=exam.guess, shifted=False)
    found = {"steps": checkpoint.step, "validation": checkpoint.best, "errors": errors, "over_guess": _over(errors, exam)}
    replace_file(out / FOUND, to_json(found).encode())
    return found


def _over(errors: dict[str, Any], exam: Exam) -> dict[str, float]:
    """Label -> error / error of the guess, which may be above 1."""
    guess = errors_of(exam.frames, None, guess=exam.guess)
    return {label: errors[name] / guess[name] for label, (name, _) in LABELS.items() if guess.get(name)}


class _Told:
    """An observer that counts steps, also those of an accelerator that nobody looked at."""

    def __init__(self, step: Callable[[int], None]):
        self.step, self.seen = step, 0

    def __call__(self, state: TrainState, row: Row) -> None:
        self.step(state.step - self.seen if self.seen else 1)
        self.seen = state.step

    def due(self, state: TrainState) -> bool:
        return False  # nothing waits for a count


def rungs_of(first: int, most: int) -> list[int]:
    """Steps of the runs: `first`, and twice as many as before up to `most`."""
    rungs = [first]
    while 2 * rungs[-1] <= most:
        rungs.append(2 * rungs[-1])
    return rungs


def climb(rungs: list[int], do: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    """Do runs until they converge or there are no more: {"runs": [...], "converged": bool, "chosen": index}."""
    runs: list[dict[str, Any]] = []
    converged = False
    while len(runs) < len(rungs) and not converged:
        runs.append(do(rungs[len(runs)]))
        converged = stands_still([run["validation"] for run in runs])
    chosen = min(range(len(runs)), key=lambda i: runs[i]["validation"])
    return {"runs": runs, "converged": converged, "chosen": chosen}


def stands_still(errors: list[float]) -> bool:
    """Whether neither of the last two bettered what was there before them by so much, and something was learned; errors by spreads."""
    return len(errors) > PATIENCE and min(errors[-PATIENCE:]) > (1 - GAIN) * min(errors[:-PATIENCE]) and min(errors) < LEARNED
