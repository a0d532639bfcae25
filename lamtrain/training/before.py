"""Before and after: errors on held-out frames of the heads that a run took from another model, before its first step and at its end.

Before its first step a head that goes on with the parent's frames is the parent; what it has lost at the end is what the run forgot.
"""

from __future__ import annotations

import sys
from typing import Any

from ..evaluation.evaluate import evaluate_head
from ..tasks import task_kind
from .state import TrainState

TEST_FRAMES = 1000  # of each dataset at most
Row = dict[str, Any]


def measure_before(state: TrainState) -> None:
    """Errors of all heads of an adapted model before its first step: on the frames of every look, and on test frames."""
    sides = {"validation": state.config.validation.frames, "test": TEST_FRAMES}
    for head, known in state.started.items():
        known["start"]["before"] = {
            side: {
                "frames_at_most": frames,
                **evaluate_head(state.model, state.data, head, split=side, frames=frames, at_once=state.config.batch.at_once),
            }
            for side, frames in sides.items()
        }


def validation_before(state: TrainState) -> dict[str, Row]:
    """Head -> its errors before the first step, on the frames of every look; empty for a run that began anew."""
    return {head: known["start"]["before"]["validation"] for head, known in state.started.items() if "before" in known["start"]}


def say_after(state: TrainState, after: dict[str, Row]) -> None:
    """Print both, head by head."""
    for head, before in validation_before(state).items():
        found = after.get(head, {})
        errors = [
            f"{name.replace('_', ' ')} {before[name]:.4g} before, {found[name]:.4g} after"
            for name in task_kind(before["task"]).logged
            if name in before and name in found
        ]
        if errors:
            print(f"head {head}{' (stale)' if state.started[head].get('stale') else ''}: {'; '.join(errors)}", file=sys.stderr)
