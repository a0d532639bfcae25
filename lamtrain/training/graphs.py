"""Graphs: whole steps - energies, forces, loss, gradient, limit, optimizer - recorded once for each shape of a batch, and replayed with other numbers.

A step is of a shape when its parts are (`Batch.shape`): then it takes the same operators, in one order. The first of a shape is done as ever, and
makes what is made once: compiled kernels, the optimizer's state. The second is recorded, on copies of its parts; from then on numbers go into these
copies, the rate and the count of frames into theirs, and the record is replayed. What hangs on more than numbers is done after it, by the host.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lamdata.errors import ConfigError

from ..data.batch import Batch
from ..evaluation.metrics import Metrics
from ..model.heads import BUILTIN
from .ranks import Ranks
from .state import TrainState
from .step import step_on_device, taken_in
from .taken import Taken

MOST = 64  # steps that are kept; the one that was not needed for longest goes

Outcome = tuple[Tensor, Metrics]  # of a step, where it was computed
Work = Callable[[], Outcome]


class Recorder(Protocol):
    """What does work, and records it."""

    def do(self, work: Work) -> Outcome:
        """Do it for the first time."""

    def record(self, work: Work) -> tuple[Outcome, Callable[[], None]]:
        """Where the outcome will be, and what does the work; nothing was computed yet."""
        ...


class CudaRecorder:
    """CUDA graphs, as PyTorch documents a capture of a whole network: first on a side stream, then captured, all graphs in one pool of memory.

    Threads that copy batches meanwhile are no part of it, so that a capture is the affair of its own thread.
    """

    def __init__(self, device: torch.device):
        self._stream, self._pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()  # type: ignore[no-untyped-call]

    def do(self, work: Work) -> Outcome:
        """See `Recorder`."""
        steps = torch.cuda.current_stream()
        self._stream.wait_stream(steps)
        with torch.cuda.stream(self._stream):
            outcome = work()
        steps.wait_stream(self._stream)
        return outcome

    def record(self, work: Work) -> tuple[Outcome, Callable[[], None]]:
        """See `Recorder`."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            outcome = work()
        return outcome, graph.replay


@dataclass(frozen=True, slots=True)
class Recorded:
    """A step that can be replayed: where it reads, where it writes."""

    parts: Sequence[Batch]
    outcome: Outcome
    replay: Callable[[], None]


class Graphs:
    """The steps of a run, in place of `train_step`."""

    def __init__(self, state: TrainState, recorder: Recorder):
        self.state, self.recorder = state, recorder
        self._rate, self._frames = (torch.zeros((), dtype=torch.float64, device=state.device) for _ in range(2))
        self._seen: set[Hashable] = set()
        self._recorded: OrderedDict[Hashable, Recorded] = OrderedDict()

    def step(self, parts: Sequence[Batch], *, frames: int, stop: bool = False) -> Taken:
        """As `train_step` of one rank."""
        self._rate.fill_(self.state.schedule.rate(self.state.step))
        self._frames.fill_(frames)
        told, metrics = self._computed(parts)
        told = told.clone()  # the next replay writes there
        if stop:
            told[2:].fill_(1.0)
        return taken_in(self.state, parts, Taken(told), metrics)

    def _computed(self, parts: Sequence[Batch]) -> Outcome:
        shape = tuple(part.shape for part in parts)
        if shape not in self._seen:
            self._seen.add(shape)
            return self.recorder.do(lambda: self._work(parts))
        if shape not in self._recorded:
            self._recorded[shape] = self._record([part.copy() for part in parts])
            if len(self._recorded) > MOST:
                self._recorded.popitem(last=False)
        self._recorded.move_to_end(shape)
        recorded = self._recorded[shape]
        for own, part in zip(recorded.parts, parts):
            own.fill(part)
        recorded.replay()
        return recorded.outcome

    def _record(self, parts: Sequence[Batch]) -> Recorded:
        outcome, replay = self.recorder.record(lambda: self._work(parts))
        return Recorded(parts, outcome, replay)

    def _work(self, parts: Sequence[Batch]) -> Outcome:
        return step_on_device(self.state, parts, frames=self._frames, rate=self._rate)


def graphs_of(state: TrainState, ranks: Ranks) -> Graphs | None:
    """Those of a run that asks for them, else None; raises ConfigError where what it asks for besides cannot be recorded."""
    if not state.config.graphs:
        return None
    if ranks.device.type != "cuda":
        raise ConfigError(f"graphs are recorded on a CUDA device, and this is {ranks.device}", where="graphs", hint="--set graphs=false")
    if ranks.world > 1:
        raise ConfigError(f"a step of {ranks.world} ranks cannot be recorded", where="graphs", hint="--set graphs=false, or one process")
    if added := [kind for kind in state.metrics.kinds if kind not in BUILTIN]:
        found = f"a step with a head for {added[0]}, which is not of this package, cannot be recorded"
        raise ConfigError(found, where="graphs", hint="--set graphs=false")
    return Graphs(state, CudaRecorder(ranks.device))
