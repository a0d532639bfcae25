"""What a head can be trained for: one file for each kind of task, with its labels, losses, errors and how they are shown.

A kind is any object with the names of `TaskKind`. Those of others are found by the entry point `lamtrain.tasks`; the name of the entry
point is the word that a mixture says. Importing a kind imports no torch: its methods do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from inspect import getattr_static
from typing import TYPE_CHECKING, NamedTuple, Protocol

from lamdata.errors import ConfigError
from lamdata.located import did_you_mean

if TYPE_CHECKING:  # the names of types only: a kind is known without torch
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from lamdata.frames import Frames
    from lamdata.statistics import Statistics

    from ..model.heads import HeadKind
    from ..model.inputs import Batch
    from ..model.lam import Output

ENTRY_POINTS = "lamtrain.tasks"
BUILTIN = {"energy_force": "energy_force:ENERGY_FORCE", "denoise": "denoise:DENOISE"}
MILLI = 1000.0  # errors are shown in meV and meV/Å, as the field's tables do

Pair = tuple[float, float]  # of a prefactor: at the start, and at the end
Sums = Mapping[str, float]  # name -> total, and "NAME_count" -> how many


class Errors(NamedTuple):
    """One kind of error of a batch, to be summed by head."""

    name: str
    values: Tensor  # (F,) or (A,)
    chosen: Tensor  # the same shape, bool: where there is a label
    head: Tensor  # the same shape, index of the head
    components: int = 1  # values that each is the sum of


class Column(NamedTuple):
    """One number of a table."""

    key: str  # in test.json and metrics.csv; says the unit
    title: str  # over a column on the screen


class Spread(Protocol):
    """What errors are to be compared with: the spread of the labels, and guesses that need no model."""

    def add(self, frames: Frames) -> None:
        """Take in the labels of some frames."""

    def table(self) -> dict[str, float]:
        """Spreads under the names that stand beside the errors."""
        ...


class TaskKind(Protocol):
    """One kind of task. F frames, A atoms."""

    @property
    def name(self) -> str:
        """As in a mixture."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Labels of which a dataset must have one; () where none is needed."""

    @property
    def prefactors(self) -> Mapping[str, Pair]:
        """Terms of its loss, with their default prefactors."""

    @property
    def sums(self) -> tuple[str, ...]:
        """Names that `errors` may give."""

    @property
    def logged(self) -> tuple[str, ...]:
        """Errors in metrics.csv, of training and validation."""

    @property
    def drawn(self) -> tuple[str, ...]:
        """Of these, the ones whose curves are drawn."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """In the report's table, in order."""

    @property
    def relative(self) -> tuple[tuple[str, str], ...]:
        """(error, what it is compared with): their ratios choose the best checkpoint."""

    @property
    def head(self) -> HeadKind:
        """What computes its outputs."""

    def labels(self, frames: Frames, chosen: NDArray[np.bool_], *, dtype: torch.dtype) -> dict[str, Tensor]:
        """Labels of a batch by name, the flags off in frames that are not `chosen` (F,), for those belong to other kinds."""

    def losses(self, output: Output, batch: Batch, *, huber: float) -> dict[str, Tensor]:
        """Its terms of each frame, (F,); 0 where a frame lacks the label."""

    def errors(self, output: Output, batch: Batch) -> Iterable[Errors]:
        """Its errors on a batch."""

    def summarize(self, sums: Sums) -> dict[str, float]:
        """Errors in the units of their names; one that nothing was seen for is absent."""

    def spread(self, references: NDArray[np.float64], statistics: Statistics) -> Spread:
        """An accumulator; `references` (256,) eV by atomic number, `statistics` those of the head's training frames."""

    def parity(self, frames: Frames, output: Output, references: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Axis label -> (n, 2) labels and predictions, to be drawn."""


@cache
def task_kind(name: str) -> TaskKind:
    """The kind called `name`; raises ConfigError if there is none."""
    if name in BUILTIN:
        module, _, attribute = BUILTIN[name].partition(":")
        found: TaskKind = getattr(import_module(f".{module}", __name__), attribute)
        return found
    added = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in added:
        raise ConfigError(f"no task called {name!r}", hint=did_you_mean(name, [*BUILTIN, *added]))
    try:
        loaded: TaskKind = added[name].load()
    except Exception as err:  # somebody else's code
        raise ConfigError(f"the task {name!r} of {added[name].value} does not load: {type(err).__name__}: {err}") from err
    wanted = [attribute for attribute in vars(TaskKind) if not attribute.startswith("_")]
    missing = [attribute for attribute in wanted if getattr_static(loaded, attribute, None) is None]  # `head` would import torch
    if missing:
        raise ConfigError(f"the task {name!r} of {added[name].value} has no {', no '.join(missing)}", hint="see lamtrain.tasks.TaskKind")
    if loaded.name != name:
        raise ConfigError(f"the task {name!r} of {added[name].value} calls itself {loaded.name!r}", hint="both must be one word")
    return loaded


def installed_kinds() -> list[TaskKind]:
    """All kinds that there are here; raises ConfigError for one that does not load."""
    return [task_kind(name) for name in dict.fromkeys([*BUILTIN, *(point.name for point in entry_points(group=ENTRY_POINTS))])]


def kinds_of(heads: Mapping[str, str]) -> dict[str, TaskKind]:
    """The kinds of some heads (head -> kind), each once, in the order of the heads; raises ConfigError where two use one word."""
    kinds = {name: task_kind(name) for name in dict.fromkeys(heads.values())}
    owners: dict[str, str] = {}
    for name, kind in kinds.items():
        for word in {*kind.prefactors, *kind.sums}:  # both are looked up without the kind
            if (other := owners.setdefault(word, name)) != name:
                raise ConfigError(
                    f"the tasks {other!r} and {name!r} both call something {word!r}", hint="only one of them can be trained at once"
                )
    return kinds
