"""What is at work -> a table that is drawn again on a terminal, with times and the last line each command printed; elsewhere a line for each change."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

COLOURS = {"done": "dim", "ran": "green", "runs": "bold cyan", "failed": "bold red", "left out": "yellow"}
END_OF_LOG = 4096  # bytes that are looked at for its last line


class Board:
    """States of stages, on stderr. Use as a context manager."""

    def __init__(self, names: Sequence[str], *, title: str, quiet: bool):
        self._rows = dict.fromkeys(names, ("", ""))
        self._title, self._quiet, self._began = title, quiet, time.monotonic()
        self._times: dict[str, tuple[float, float | None]] = {}  # name -> when it began and ended
        self._live: Live | None = None

    def __enter__(self) -> Board:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(self._table(), console=Console(stderr=True), refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
            self._live.stop()

    def show(self, name: str, state: str, note: str) -> None:
        """A stage has come to a state."""
        now = time.monotonic()
        if state == "runs":
            self._times[name] = (now, None)
        elif name in self._times:
            self._times[name] = (self._times[name][0], now)
        self._rows[name] = (state, note)
        if self._live is not None:
            self._live.update(self._table())
        elif not self._quiet:
            print(f"{name}: {state}: {note}", file=sys.stderr)

    def tick(self, name: str, log: Path) -> None:
        """A stage is still at work: show what it printed last."""
        if self._live is not None:
            self._rows[name] = ("runs", last_line(log) or self._rows[name][1])
            self._live.update(self._table())

    def _table(self) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table("stage", "", "time", "", title=f"{self._title}: {_clock(time.monotonic() - self._began)}", box=box.SIMPLE_HEAD)
        for name, (state, note) in self._rows.items():
            began, ended = self._times.get(name, (0.0, 0.0))
            seconds = (time.monotonic() if ended is None else ended) - began
            table.add_row(
                name, Text(state, style=COLOURS.get(state, "")), _clock(seconds) if began else "", Text(note, overflow="ellipsis")
            )
        return table


def last_line(log: Path) -> str:
    """The last line of a file, as far as it is written."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - END_OF_LOG))
            lines = file.read().decode("utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip() if lines else ""


def _clock(seconds: float) -> str:
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}"
