"""Stop: a signal or the end of the time -> a flag that is read between two steps, so that nothing is ever saved in the middle of one."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

from lamdata.errors import LamError

SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")  # Ctrl-C; a scheduler that ends a job; a scheduler's warning ahead of it


class Interrupted(LamError):
    """The run was saved and goes on where it stopped."""

    exit_code = 130


class Stop:
    """A context in which the signals above only set `reason`; a second Ctrl-C ends the process as it does elsewhere.

    Inside another it passes on what it was told: of several runs the last step of one may be where to stop.
    """

    def __init__(self, *, time_limit: float | None = None):
        self.reason: str | None = None
        self._deadline = None if time_limit is None else time.monotonic() + time_limit
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for name in SIGNALS:
                if (number := getattr(signal, name, None)) is not None:
                    self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
            outer = getattr(handler, "__self__", None)
            if isinstance(outer, Stop) and outer.reason is None:
                outer.reason = self.reason

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.reason is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.reason = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"

    @property
    def asked(self) -> bool:
        """Whether this process was told to stop."""
        if self.reason is None and self._deadline is not None and time.monotonic() > self._deadline:
            self.reason = "stopped at the time limit"
        return self.reason is not None
