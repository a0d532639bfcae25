"""The training loop: a config -> a folder with metrics, checkpoints and everything needed to go on from any instant.

The state of a run is the model, the optimizer and two integers (steps done, frames drawn). The stream's order and noise are pure
functions of the second, so a run killed anywhere goes on from its last checkpoint with the same bits. Ranks share each batch:
their number changes who does what, not what is done.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from lamdata.errors import ConfigError, LamError
from lamdata.frames import Frames
from lamdata.progress import Progress
from lamdata.stream import Stream

from ..checkpoint import to_json
from ..config import TrainConfig
from ..cores import usable_threads
from ..data.batch import Batch
from ..data.feed import Feed
from ..data.mixture import open_training_data
from ..files import replace_file, replace_yaml
from ..runlog import MetricsFile, flatten, read_metrics
from .before import measure_before, say_after, validation_before
from .blame import find_culprits
from .board import Board
from .graphs import Graphs, graphs_of
from .observers import Checkpoints, Look, Observer
from .products import set_products
from .ranks import Ranks
from .sinks import open_sinks
from .start import clear, start_run
from .state import TrainState
from .step import add_gradients, step_in_memory
from .stop import Interrupted, Stop
from .taken import Taken
from .threads import choose_threads, feeding_threads

__all__ = ["Interrupted", "train"]
READ_EVERY = 16  # steps after which an accelerator is asked what came of them, where nothing is due before


def train(
    config: TrainConfig,
    *,
    out: Path,
    resume: str = "auto",
    device: str = "auto",
    time_limit: float | None = None,
    quiet: bool = False,
    observers: Sequence[Observer] = (),
) -> Path:
    """Train until `config.steps` are done; return the run's folder. `resume` is "auto", "never" or a checkpoint; `time_limit` is in s.

    `observers` are called after each step, once the run has looked itself.
    """
    ranks = Ranks(device)
    set_products(config.matmul, ranks.device)
    with arithmetic(), Stop(time_limit=time_limit) as stop, ranks:
        fitting, batch = config.model.fitting, config.batch
        data = open_training_data(config.mixture, config.store, rcond=None if fitting is None else fitting.rcond)
        frames = config.step.draws if config.step.heads == "one" else batch.frames
        runs = config.runs(data.heads)
        with data.stream(
            seed=config.seed,
            batch_frames=frames,
            batch_atoms=batch.atoms,
            runs=runs,
            rank=ranks.rank,
            world=ranks.world,
            exchange=ranks.exchange,
        ) as stream:
            state = start_run(config, data, out, resume=resume, stream=stream.fingerprint(), ranks=ranks, quiet=quiet)
            if state.step >= config.steps and state.looked >= state.step:
                return _left_alone(state, out, quiet=quiet or not ranks.first)
            stream.position = state.position
            _go_on(state, stream, out, fresh=resume == "never", ranks=ranks, stop=stop, quiet=quiet, observers=observers)
    return out


@contextmanager
def arithmetic() -> Iterator[None]:
    """How a run computes, and no other code of this process: the same bits each time, and numbers next to zero as zero.

    Products of edges that fade out are such numbers, and a CPU needs a hundred times as long for them; but SciPy's trees do not end on them.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    torch.use_deterministic_algorithms(True)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.use_deterministic_algorithms(before[0])
        torch.set_num_threads(before[1])


def _go_on(
    state: TrainState, stream: Stream, out: Path, *, fresh: bool, ranks: Ranks, stop: Stop, quiet: bool, observers: Sequence[Observer]
) -> None:
    """Do the steps that are left, in the run's folder; `fresh` removes what an earlier run left there."""
    graphs = graphs_of(state, ranks)
    if ranks.first:
        if fresh:
            clear(out)
        _write_config(state, out)
        if state.step == 0 and state.started:
            measure_before(state)
    checkpoints = Checkpoints(out, ranks, saved=state.step)
    look = Look(checkpoints, ranks, _open_log(state, out) if ranks.first else None, quiet=quiet)
    board = Board(state.data.heads)
    if look.log is not None:
        look.log.sinks += [*open_sinks(state.config, out, read_metrics(look.log.path)), board]
    if state.threads is not None and ranks.device.type == "cpu":
        torch.set_num_threads(state.threads)
    if state.looked < state.step and look.due(state):  # killed between the checkpoint of a step and its look
        look.look(state, {})
    if state.step < state.config.steps:  # all are done where it was killed in its last look
        watching: list[Observer] = [checkpoints, look, *observers]
        _loop(state, stream, watching, ranks=ranks, stop=stop, quiet=quiet, save=checkpoints, board=board, graphs=graphs)
    checkpoints.save(state)
    checkpoints.finish()
    ranks.wait()
    if ranks.first and not quiet:
        say_after(state, look.table)


def _open_log(state: TrainState, out: Path) -> MetricsFile:
    """metrics.csv up to the last look; that of a run that was adapted begins with what the heads could do before."""
    shares = state.config.shares_every is not None
    log = MetricsFile(out / "metrics.csv", state.data.heads, after=state.looked, shares=shares)
    if state.looked == 0 and (before := validation_before(state)):
        log.append({"step": 0} | flatten(before, "validation", state.data.heads))
    return log


def _left_alone(state: TrainState, out: Path, *, quiet: bool) -> Path:
    """Say that nothing was done; raise ConfigError where the finished run is not the one in `out`."""
    if not (out / "last.pt").exists():
        found = f"all {state.step} steps of that run are done"
        raise ConfigError(found, where="--resume", hint=f"--set steps={2 * state.step} goes on, into {out}")
    if not quiet:
        print(f"note: all {state.step} steps were done before", file=sys.stderr)
    return out


def _loop(
    state: TrainState,
    stream: Stream,
    observers: Sequence[Observer],
    *,
    ranks: Ranks,
    stop: Stop,
    quiet: bool,
    save: Checkpoints,
    board: Board,
    graphs: Graphs | None,
) -> None:
    config, model = state.config, state.model
    title = f"training {config.train}"
    by_head = config.step.clip == "per_head"
    with (
        Feed(
            state.data,
            stream,
            model.config,
            dtype=state.dtype,
            chunk_atoms=model.chunk_atoms,
            at_once=config.batch.at_once,
            by_head=by_head,
            padded=graphs is not None,
            device=state.device,
            threads=feeding_threads(state.device, sharing=ranks.on_this_machine),
        ) as feed,
        Progress(title, total=config.steps, unit="steps", done=state.step, quiet=quiet or not ranks.first, above=board) as bar,
    ):
        ahead: list[tuple[Taken, Frames]] = []  # steps that nobody looked at
        for parts, frames, position in feed:
            if state.threads is None:
                state.threads = settle_threads(state, parts, ranks, quiet=quiet)
            drawn = state.data.slots_of_heads(stream, state.position, position) if by_head or state.measures_shares else None
            count = position - state.position
            taken = step_in_memory(state, parts, frames, count=count, ranks=ranks, stop=stop.asked, drawn=drawn, graphs=graphs)
            state.step, state.position = state.step + 1, position
            ahead.append((taken, frames))
            if state.reads_later and len(ahead) < READ_EVERY and not any(observe.due(state) for observe in observers):
                bar.advance()
                continue
            for number, (one, its_frames) in enumerate(ahead, start=state.step - len(ahead)):
                if not one.finite:
                    state.step = number
                    _pass_over(state, one, ranks.gather_lines(find_culprits(state, its_frames)))
            ahead.clear()
            if taken.finite:
                bar.note = f"loss {taken.loss:.3g}"
                for observe in observers:
                    observe(state, {})
                bar.advance()
            if state.step == config.steps:
                break
            if taken.stop:
                save.save(state)
                save.finish()
                ranks.wait()
                raise Interrupted(f"{stop.reason or 'stopped'} after step {state.step}", hint="the same command goes on from there")


def settle_threads(state: TrainState, parts: list[Batch], ranks: Ranks, *, quiet: bool) -> int:
    """Set the threads of a new run on a CPU: as the config or OMP_NUM_THREADS says, else by trial on its first batch."""
    stated = state.config.threads or int(os.environ.get("OMP_NUM_THREADS", "0").split(",")[0] or 0)
    if stated or ranks.world > 1 or ranks.device.type != "cpu" or not parts:
        count = stated or max(1, usable_threads() // ranks.on_this_machine)
        torch.set_num_threads(count)
        return count

    def step() -> None:
        state.forget_gradients()
        add_gradients(state, parts[0], frames=parts[0].nframes)

    chosen = choose_threads(step)
    state.forget_gradients()
    if not quiet:
        print(f"threads: {chosen}", file=sys.stderr)
    return chosen.count


def _pass_over(state: TrainState, taken: Taken, culprits: list[str]) -> None:
    """Leave a batch out whose gradient is not finite, if the config allows for another; else raise LamError, and nothing was changed."""
    state.skipped += 1
    if state.skipped <= state.config.skip_nonfinite:
        return
    what = f"the gradient of step {state.step + 1} is not finite (loss {taken.loss:.3g}, norm {taken.norm:.3g})"
    who = "; ".join(culprits) or "no frame of the batch makes it so by itself"
    hint = "mend the frames or lower learning_rate.start, and run the same command; or pass over such batches with skip_nonfinite: N"
    raise LamError(f"{what}: {who}", hint=hint)


def _write_config(state: TrainState, out: Path) -> None:
    config = state.config.model_dump(mode="json", exclude_none=True)
    for name in ("mixture", "store"):
        if "://" not in config[name]:
            config[name] = os.path.relpath(config[name], out)
    replace_yaml(out / "config.yaml", config)
    replace_file(out / "catalog.lock", to_json(state.data.lock()).encode())
