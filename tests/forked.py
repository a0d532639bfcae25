"""A call in a process of its own, which may be killed: it is forked from a server that has imported what it needs, in milliseconds."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.lamdata.stores", "lamdata.store"])


def start(work: Callable[..., object], *args: Any) -> ForkServerProcess:
    """Begin the call; `work` is a function of a module, `exitcode` of what is returned minus the signal that killed it."""
    process = CONTEXT.Process(target=work, args=args)
    process.start()
    return process
