"""Progress: a bar with rate and time left on a terminal, a plain line now and then elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Counts work done. Use as a context manager; `note` is the text shown behind the bar, `above` what rich is to draw above it.

    `total` may be changed on the way, where it turns out that there is more or less to do.
    """

    def __init__(self, title: str, *, total: int, unit: str, done: int = 0, quiet: bool = False, above: object | None = None):
        self.title, self.total, self.unit, self.done, self.note = title, total, unit, done, ""
        self._first, self._start, self._last_line = done, time.monotonic(), time.monotonic()
        self._quiet, self._above = quiet, above
        self._bar: Bar | None = None

    def __enter__(self) -> Progress:
        if not self._quiet and sys.stderr.isatty():
            self._bar = _rich_bar(self.title, self.total, self.done, self._above)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()
        elif not self._quiet and self.done > self._first:
            self._line()

    def advance(self, amount: int = 1) -> None:
        """Count `amount` more done."""
        self.done += amount
        if self._bar:
            self._bar.update(
                self._bar.task_ids[0], completed=self.done, total=self.total, rate=f"{self.rate:.3g} {self.unit}/s", note=self.note
            )
        elif not self._quiet and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._line()

    @property
    def rate(self) -> float:
        """Work a second since the start."""
        return (self.done - self._first) / max(time.monotonic() - self._start, 1e-9)

    def _line(self) -> None:
        self._last_line = time.monotonic()
        left = (self.total - self.done) / self.rate if self.done > self._first else float("inf")
        eta = f", {left:.0f} s left" if 0 < left < float("inf") else ""
        print(f"{self.title}: {self.done}/{self.total} {self.unit}, {self.rate:.3g}/s{eta} {self.note}".rstrip(), file=sys.stderr)


def _rich_bar(title: str, total: int, done: int, above: Any = None) -> Bar:
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )

    class WithTable(Bar):
        def get_renderables(self) -> Iterator[RenderableType]:
            yield from ([] if above is None else [above])
            yield from super().get_renderables()

    bar = WithTable(*columns, console=Console(stderr=True), transient=True)
    bar.add_task(title, total=total, completed=done, rate="", note="")
    return bar


def track(items: Iterable[Item], title: str, *, total: int, unit: str, quiet: bool = False) -> Iterator[Item]:
    """Yield `items` under a progress bar."""
    with Progress(title, total=total, unit=unit, quiet=quiet) as progress:
        for item in items:
            yield item
            progress.advance()
