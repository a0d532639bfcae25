"""`lamtrain run`: a process and its folder -> all stages done, each once, and a report; what fails leaves the others."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from lamdata.errors import DataError, LamError

from ...files import replace_yaml
from . import configs
from .contents import Contents
from .launch import LOG, SAID, job_of, launch
from .live import Board
from .plan import Decision, chosen_stages, decide, needed, take
from .report import write_report
from .spec import Process, Stage
from .state import Ended, alone, begin, results_of, threads_of, write_done

STOPPED = 130
TAIL = 5  # last lines of a log that are looked at for what went wrong


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of a stage."""

    stage: Stage
    state: str  # "done" before, "taken", "ran", "failed", or "left out" since a stage that it reads failed
    why: tuple[str, ...] = ()
    seconds: float = 0.0
    results: dict[str, str] = field(default_factory=dict)
    said: str = ""  # of one that failed, in a line

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "stage": self.stage.name,
            "kind": self.stage.kind,
            "state": self.state,
            "why": list(self.why),
            "seconds": self.seconds,
            "results": {
                name: {"path": f"{self.stage.out}/{self.stage.how.leaves[name]}", "hash": self.results[name]} for name in self.results
            },
            **({"said": self.said} if self.said else {}),
        }


def contents_of(process: Process) -> Contents:
    """What is known of the contents of a process's folder and of all that it reads."""
    return Contents(process.base, process.base / process.folder / "contents.json")


def run_process(process: Process, *, first: str | None = None, until: str | None = None, quiet: bool = False) -> dict[str, Any]:
    """Do what is not done; return what became of each stage. Raises DataError once the others are done where some failed.

    `first` takes the stages before it as they are, `until` is the last. Stopped or killed at any instant, the same call goes on, and ends
    with the same hashes.
    """
    before, after = chosen_stages(process, first=first, until=until)
    folder = process.base / process.folder
    contents = contents_of(process)
    with alone(folder, quiet=quiet) as held, stops_raise():
        outcomes = [_left_alone(take(stage, contents)) for stage in needed(before, after)]
        threads = threads_of(process)
        with Board([stage.name for stage in after], title=process.name, quiet=quiet) as board:
            try:
                for stage in after:
                    outcomes.append(_do(stage, outcomes, contents, board, threads=threads, held=held))
                    contents.save()
            finally:
                report = write_report(process, [outcome.to_json() for outcome in outcomes], contents.base)
    result = {"process": process.name, "folder": str(folder), "stages": [outcome.to_json() for outcome in outcomes], "report": str(report)}
    if failed := [outcome for outcome in outcomes if outcome.state == "failed"]:
        left = [outcome.stage.name for outcome in outcomes if outcome.state == "left out"]
        rest = f"; not run for that: {', '.join(left)}" if left else ""
        lines = [f"stage {one.stage.name} failed: {one.said}" for one in failed]
        raise DataError(
            "; ".join(lines) + rest, where=failed[0].stage.place, hint="mend that, and give the same command again", result=result
        )
    return result


def _left_alone(decision: Decision) -> Outcome:
    assert decision.done is not None, "only what is done is left alone"
    return Outcome(
        stage=decision.stage, state=decision.state, why=decision.why, seconds=decision.done.seconds, results=decision.done.results
    )


def _do(stage: Stage, outcomes: list[Outcome], contents: Contents, board: Board, *, threads: int, held: int) -> Outcome:
    """One stage: left alone, run, or left out."""
    lost = [one.stage.name for one in outcomes if one.stage.name in stage.needs and one.state in ("failed", "left out")]
    if lost:
        board.show(stage.name, "left out", f"{', '.join(lost)} failed")
        return Outcome(stage=stage, state="left out", why=(f"{', '.join(lost)} failed",))
    try:
        decision = decide(stage, contents)
        if decision.state == "done":
            board.show(stage.name, "done", decision.why[0])
            return _left_alone(decision)
        board.show(stage.name, "runs", "; ".join(decision.why))
        return _run(decision, contents, board, threads=threads, held=held)
    except LamError as err:
        if err.exit_code == STOPPED:
            raise
        said = "; ".join(map(str, getattr(err, "errors", [err])))
        board.show(stage.name, "failed", said)
        return Outcome(stage=stage, state="failed", said=said)


def _run(decision: Decision, contents: Contents, board: Board, *, threads: int, held: int) -> Outcome:
    """Start its command, wait, and keep what it left."""
    stage, identity, base = decision.stage, decision.identity, contents.base
    assert identity is not None, "a stage that runs was looked at"
    folder, began = base / stage.folder, time.monotonic()
    begin(folder, identity, resumes=stage.how.resumes)
    if stage.how.config is not None and stage.inside is not None:
        beside = configs.moved(stage.how.config, stage.inside, lambda name: os.path.relpath(name, stage.folder), only_said=True)
        replace_yaml(base / stage.config_file, beside)
    job = job_of(stage, base, threads=threads)
    code = launch(job, dask=stage.dask, held=held, see=lambda: board.tick(stage.name, folder / LOG), name=stage.name)
    if code == STOPPED:
        raise _Stopped(f"stage {stage.name} was stopped", hint="the same command goes on from there")
    seconds, results = time.monotonic() - began, results_of(stage, contents)
    verdict = stage.how.judges and code == 1 and set(results) == set(stage.how.leaves)
    if code and not verdict:
        said = f"{_what_went_wrong(folder, code)} (see {stage.folder}/{LOG})"
        board.show(stage.name, "failed", said)
        return Outcome(stage=stage, state="failed", why=decision.why, seconds=seconds, said=said)
    write_done(folder, Ended(identity=identity, results=results, seconds=seconds))
    board.show(stage.name, "ran", f"{seconds:.0f} s")
    return Outcome(stage=stage, state="ran", why=decision.why, seconds=seconds, results=results)


class _Stopped(LamError):
    exit_code = STOPPED


def _what_went_wrong(folder: Path, code: int) -> str:
    """One line: what the command says in its JSON document, else the last line of its log."""
    try:
        errors = json.loads((folder / SAID).read_bytes())["errors"]
        first = LamError(errors[0]["message"], where=errors[0]["where"], hint=errors[0]["hint"])
        return f"{first}{f' (and {len(errors) - 1} more)' if len(errors) > 1 else ''}"
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-TAIL:]
        last = next((line.removeprefix("error: ") for line in reversed(lines) if line.strip()), "it said nothing")
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"{how}: {last.strip()}"


@contextmanager
def stops_raise() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that the command at work is told, and waited for."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
