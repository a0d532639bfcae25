"""The words of a command -> a process of its own: of this Python, by a template, or on a worker of Dask; its output goes to files.

A stage that crashes takes nothing else with it, and what it computes does not depend on what ran before it.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamdata.errors import ConfigError, SetupError, need

from .spec import ARGS, Stage

POLL = 0.2  # s between two looks at a command
LOG, SAID = "log.txt", "said.json"  # what it prints on the way, and the one document it ends with


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A command, where it runs and what it is given."""

    argv: tuple[str, ...]
    base: str  # current folder
    folder: str  # of the stage, for LOG and SAID
    environment: Mapping[str, str]  # beside the worker's own


def job_of(stage: Stage, base: Path, *, threads: int) -> Job:
    """How a stage is started."""
    program, word = stage.how.command.split()
    words = [word, *stage.words]
    if stage.launcher is None:
        argv = [sys.executable, "-m", program, *words]
    else:
        argv = [part for piece in shlex.split(stage.launcher) for part in (words if piece == ARGS else [piece])]
    return Job(argv=tuple(argv), base=str(base), folder=str(base / stage.folder), environment={"OMP_NUM_THREADS": str(threads)})


def launch(job: Job, *, dask: str | None, held: int, see: Callable[[], None], name: str) -> int:
    """Run a job to its end, and return its exit code; `see` is called now and then. `held` is a descriptor that it keeps open.

    What stops this process is passed on, and waited for: then it ends as the command does, with 130.
    """
    return _on_dask(job, dask, see=see, name=name) if dask else _here(job, held=held, see=see)


def _here(job: Job, *, held: int, see: Callable[[], None]) -> int:
    process = start(job, held=(held,))
    try:
        while process.poll() is None:
            time.sleep(POLL)
            see()
    except BaseException:  # Ctrl-C, which a terminal gives to both; a signal, which only this process has seen
        end(process)
        raise
    return process.returncode


def start(job: Job, *, held: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    """Start a job; what it prints is added to its log."""
    folder = Path(job.folder)
    with open(folder / LOG, "ab") as log, open(folder / SAID, "wb") as said:
        log.write(f"$ {shlex.join(job.argv)}\n".encode())
        log.flush()
        environment = {**os.environ, **job.environment, "PYTHONPATH": _path()}
        try:
            return subprocess.Popen(
                job.argv, cwd=job.base, stdin=subprocess.DEVNULL, stdout=said, stderr=log, env=environment, pass_fds=held
            )
        except OSError as err:
            raise SetupError(f"cannot be started: {err.strerror}", where=job.argv[0], hint="mend `launcher`") from None


def _path() -> str:
    """Where this package is imported from, for a command that runs in another folder."""
    root = str(Path(__file__).resolve().parents[3])
    return os.pathsep.join(dict.fromkeys([root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]))


def end(process: subprocess.Popen[bytes]) -> None:
    """Tell a command to stop, and wait: a training saves itself between two steps."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _on_dask(job: Job, address: str, *, see: Callable[[], None], name: str) -> int:
    distributed = need("distributed", extra="dask")
    try:
        client = distributed.Client(address, timeout=30)
    except (OSError, ValueError) as err:
        raise SetupError(f"no scheduler of Dask answers: {err}", where=address) from None
    with client:
        stop = distributed.Event(f"stop {name} {os.getpid()}", client=client)
        future: Any = client.submit(work, job, stop.name, pure=False)
        try:
            while not future.done():
                time.sleep(POLL)
                see()
        except BaseException:
            stop.set()
            future.result()
            raise
        return int(future.result())


def work(job: Job, stop: str) -> int:
    """What a worker of Dask does: run the command, and tell it to stop when that is wished."""
    from .state import alone

    if not Path(job.folder).is_dir():
        raise ConfigError("a worker of Dask does not see this folder", where=job.folder, hint="put the process where all machines see it")
    wished = need("distributed", extra="dask").Event(stop)
    with alone(Path(job.folder), quiet=True):
        process = start(job)
        while process.poll() is None:
            if wished.wait(timeout=1):
                end(process)
        return int(process.returncode)
