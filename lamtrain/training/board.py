"""Board: the newest errors of each head, as a table on a terminal that changes while a run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..tasks import kinds_of

if TYPE_CHECKING:
    from rich.console import Group


class Board:
    """A sink that rich can draw: for each kind of task a row a head, training and validation side by side."""

    def __init__(self, heads: Mapping[str, str]):
        self.heads = dict(heads)
        self.values: dict[str, str] = {}
        self.step: str | None = None

    def write(self, row: Mapping[str, Any]) -> None:
        """Take in a row; what it leaves empty stays as it was."""
        self.step = str(row["step"])
        self.values |= {name: f"{float(value):.4g}" for name, value in row.items() if value is not None and value != ""}

    def cells(self, kind: str) -> list[list[str]]:
        """A row for each head of a kind: its name, and each error, training then validation."""
        names = kinds_of(self.heads)[kind].logged
        return [
            [head, *(self.values.get(f"{head}.{side}.{name}", "-") for name in names for side in ("train", "validation"))]
            for head, its in self.heads.items()
            if its == kind
        ]

    def __rich__(self) -> Group:
        """The tables; nothing before the first row."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Group
        from rich.table import Table

        tables = []
        for kind, task in kinds_of(self.heads).items() if self.step is not None else ():
            table = Table(box=SIMPLE_HEAD, title=f"{kind}, step {self.step}", title_justify="left")
            table.add_column("head")
            for name in task.logged:
                table.add_column(name.replace("_", " "), justify="right")
                table.add_column("held out", justify="right")
            for cells in self.cells(kind):
                table.add_row(*cells)
            tables.append(table)
        return Group(*tables)
