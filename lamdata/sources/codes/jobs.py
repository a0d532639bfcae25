"""Steps of a molecular program, job by job: an energy belongs to the theory of its job, and a file's frames to one theory.

One output may hold several jobs (an optimization, then a better energy at its end; the parts of a composite method). The first step says
which theory the file's frames are of; a step of another is rejected with both named.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError

from ..bytes.files import SourceFile
from .steps import Run, Step

COMPARED = ("functional", "core", "dispersion", "state")
UNTOLD = "the energy of an excited state, and it is not told of which"
GHOSTS = "ghost atoms: basis functions without a nucleus"


@dataclass(slots=True)
class JobRun(Run):
    """A run that knows the theory of the step that it reads."""

    code: str | None = None
    charge: int = 0
    multiplicity: int | None = None
    of_step: dict[str, Any] | None = field(default=None, init=False)  # theory of the step, where what is read already is of the next
    first: dict[str, Any] | None = field(default=None, init=False)  # theory of the first step that has an energy

    def theory(self) -> dict[str, Any]:
        """The fields of `Theory` of what has been read of the current job; what is not known is left out."""
        raise NotImplementedError

    def take(self) -> Step | None:
        """Close the current step; of another theory than the first it is no frame."""
        step = Run.take(self)
        if step is not None:
            self.compare(step)
        return step

    def at_end(self) -> Step | None:
        """The step that was not over when the file ended."""
        if self.step is not None:
            self.compare(self.step)
        return self.step

    def compare(self, step: Step) -> None:
        """Name the first field in which the theory of `step` is not that of the file's first step."""
        if step.energy is None or step.reason is not None:
            return
        now = self.of_step if self.of_step is not None else self.theory()
        if self.first is None:
            self.first = now
        for name in COMPARED:
            mine, others = now.get(name), self.first.get(name)
            if str(mine).casefold() != str(others).casefold():
                step.reason, step.value = "of another theory than the first step of its file", f"{name} {mine} after {others}"
                return

    def set_energy(self, energy: float) -> None:
        """Take an energy in eV for the current step, which may have it already, but not another one."""
        if self.step is None:
            return
        if self.step.energy is not None and abs(self.step.energy - energy) > SAME:
            self.step.reason, self.step.value = "two energies for one geometry", f"{self.step.energy:.8f} and {energy:.8f} eV"
        self.step.energy = energy


SAME = 1e-6  # eV


def first_theory(run: Callable[[SourceFile, SourceSpec], JobRun], file: SourceFile) -> dict[str, Any]:
    """What the first step with an energy is of; what was read until the file broke off where there is none. {} without the program's name."""
    job = run(file, SourceSpec(path=file.name))
    with contextlib.suppress(SourceError):  # `read` says what is wrong with the file
        for _ in job.steps():
            if job.first is not None:
                break
    found = job.first if job.first is not None else job.theory()
    return found if found.get("code") else {}
