"""Stages and what is known of them -> what will run, and why."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lamdata.errors import ConfigError, LamError

from .contents import Contents
from .identity import Identity, differences, identify
from .spec import Process, Stage
from .state import Ended, read_begun, read_done, results_of

State = Literal["done", "taken", "runs", "follows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of a stage."""

    stage: Stage
    state: State  # nothing to do; taken as it is; runs; runs if a stage before it gives something else
    why: tuple[str, ...]
    identity: Identity | None  # None where its inputs are not there yet
    done: Ended | None = None  # how it ended, where nothing is to be done

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "stage": self.stage.name,
            "kind": self.stage.kind,
            "state": self.state,
            "why": list(self.why),
            "command": command_line(self.stage),
        }


def command_line(stage: Stage) -> str:
    """What is run, as one would type it where the process's file is."""
    return f"{stage.how.command.split()[0]} {shlex.join([stage.how.command.split()[1], *stage.words])}"


def chosen_stages(process: Process, *, first: str | None, until: str | None) -> tuple[Sequence[Stage], Sequence[Stage]]:
    """Stages before `first`, which are taken as they are, and those from it to `until`; raises ConfigError where there is nothing to do."""
    stages = list(process.stages)
    start = 0 if first is None else stages.index(process.stage(first, option="--from"))
    stop = len(stages) if until is None else stages.index(process.stage(until, option="--until")) + 1
    if start >= stop:
        raise ConfigError(f"stage {first!r} comes after {until!r}", where="--from")
    return stages[:start], stages[start:stop]


def decide(stage: Stage, contents: Contents) -> Decision:
    """What becomes of a stage whose inputs are there; raises LamError where one is not."""
    folder = contents.base / stage.folder
    identity = identify(stage, contents, base=contents.base)
    done = read_done(folder)

    def found(state: State, *why: str) -> Decision:
        return Decision(stage=stage, state=state, why=why, identity=identity)

    if done is None:
        begun = read_begun(folder)
        if begun is None:
            return found("runs", "was not run yet")
        if begun != identity.digest:
            return found("runs", "did not end, and something has changed since: begins anew")
        return found("runs", "did not end: goes on" if stage.how.resumes else "did not end: begins anew")
    if changed := differences(done.identity, identity):
        return found("runs", *changed)
    now = results_of(stage, contents)
    if lost := [name for name, digest in done.results.items() if now.get(name) != digest]:
        return found("runs", *(f"its {name} {'is not what it left' if name in now else 'is gone'}" for name in lost))
    return Decision(stage=stage, state="done", why=("nothing has changed",), identity=identity, done=done)


def take(stage: Stage, contents: Contents) -> Decision:
    """A stage whose results are used as they are; raises ConfigError where there are none."""
    done = read_done(contents.base / stage.folder)
    if done is None:
        hint = "leave --from out, or begin with this stage"
        raise ConfigError(f"stage {stage.name} is not done, and would be taken as it is", where="--from", hint=hint)
    return Decision(stage=stage, state="taken", why=("as it is",), identity=done.identity, done=done)


def make_plan(process: Process, contents: Contents, *, first: str | None = None, until: str | None = None) -> list[Decision]:
    """What `lamtrain run` would do; nothing is run."""
    before, after = chosen_stages(process, first=first, until=until)
    plan = [take(stage, contents) for stage in needed(before, after)]
    moving: set[str] = set()
    for stage in after:
        if waits := [name for name in stage.needs if name in moving]:
            decision = Decision(stage=stage, state="follows", why=(f"reads what {', '.join(waits)} will leave",), identity=None)
        else:
            try:
                decision = decide(stage, contents)
            except LamError as err:
                decision = Decision(stage=stage, state="runs", why=(f"will fail: {err}",), identity=None)
        plan.append(decision)
        if decision.state in ("runs", "follows"):
            moving.add(stage.name)
    return plan


def needed(before: Sequence[Stage], after: Iterable[Stage]) -> list[Stage]:
    """Of the stages before, those that one after them reads."""
    named = {name for stage in after for name in stage.needs}
    return [stage for stage in before if stage.name in named]
