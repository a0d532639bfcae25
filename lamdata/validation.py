"""Validation: a store -> everything in it that is not what was written, as a report."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from . import ingestion
from .cache import cached
from .catalog import open_catalog
from .errors import StoreError
from .progress import track
from .store import Store, open_store, pages, views
from .store.verify import Damage, verify_dataset

STALE = 86_400  # s
END = "."  # of a line that was written to its end


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationReport:
    """What was hashed again, and what was found."""

    store: str
    frames: dict[str, int]  # dataset -> frames looked at
    findings: tuple[Damage, ...]
    repaired: tuple[str, ...] = ()  # objects that were written again, below the store

    @property
    def ok(self) -> bool:
        """Whether every byte is as it was written."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        rows = [
            {
                "dataset": found.dataset,
                "object": f"{found.segment}/{found.object}",
                "problem": found.problem,
                "block": found.block,
                "frames": None if found.frames is None else [found.frames.start, found.frames.stop],
            }
            for found in self.findings
        ]
        return {"store": self.store, "ok": self.ok, "frames": self.frames, "findings": rows, "repaired": list(self.repaired)}

    def text(self) -> str:
        """As lines for a person."""
        lines = [*(f"{path}: written again" for path in self.repaired), *map(str, self.findings)]
        return "\n".join([*lines, f"{sum(self.frames.values())} frames of {len(self.frames)} datasets, {len(self.findings)} findings"])


class Journal:
    """What a validation has found whole, kept on this machine until it ends: one that was stopped goes on, within a day, for a disk may fail later."""

    def __init__(self, store: str):
        self.path = cached("validation", store)
        self.begun, self.found = time.time(), set[tuple[str, str]]()
        with suppress(OSError, ValueError):  # there is none, or it is of no use
            first, *rows = self.path.read_text().splitlines()
            if self.begun - float(first) < STALE:
                self.begun = float(first)
                self.found = {(words[0], words[1]) for row in rows if len(words := row.split(" ")) == 3 and words[2] == END}
        self._file: TextIO | None = None
        with suppress(OSError):  # where nothing can be kept, nothing is
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a" if self.found else "w", buffering=1)  # noqa: SIM115 closed in `done`
            self._file.write("" if self.found else f"{self.begun:.0f}\n")

    def __contains__(self, item: tuple[str, str]) -> bool:
        return item in self.found

    def add(self, item: tuple[str, str]) -> None:
        """Remember an object, by its segment's hash and its path."""
        if self._file is not None:
            with suppress(OSError):  # no room is left: it will be read again
                self._file.write(f"{item[0]} {item[1]} {END}\n")

    def done(self) -> None:
        """Forget it all."""
        if self._file is not None:
            self._file.close()
            self.path.unlink(missing_ok=True)


def validate(store: str, *, quiet: bool = False) -> ValidationReport:
    """Read and hash every object of every dataset and every view again; one that was stopped less than a day ago goes on."""
    opened, frames, findings, whole = open_store(store), dict[str, int](), list[Damage](), Journal(store)
    if whole.found and not quiet:
        at = time.strftime("%H:%M", time.localtime(whole.begun))
        print(
            f"note: {len(whole.found):,} objects were found whole by a validation begun at {at} and not ended; they are not read again",
            file=sys.stderr,
        )
    for name in track(opened, "validating", total=len(opened), unit="datasets", quiet=quiet):
        with suppress(StoreError):  # which is found next
            frames[name] = sum(segment.frames for segment in opened.entry(name).segments)
        findings += verify_dataset(opened, name, whole)
    whole.done()
    return ValidationReport(store=store, frames=frames, findings=(*findings, *_of_views(opened)))


def _of_views(opened: Store) -> Iterator[Damage]:
    """What is wrong with the objects of views; one of a dataset that was replaced is as it was written."""
    for name, view in opened.views.items():
        if view["stale"] is None:
            try:
                opened.open(name)
            except StoreError as err:
                folder, _, file = view["object"].rpartition("/")
                yield Damage(dataset=name, segment=folder, object=file, problem=f"{err.message}; {err.hint}")


def repair(report: ValidationReport, catalog: Path, *, workers: int = 1, quiet: bool = False) -> ValidationReport:
    """Write what is damaged again, from the raw files of the cards in `catalog`, and look once more."""
    cards, store, repaired = open_catalog(catalog), report.store, []
    lost = (views.FOLDER, pages.FOLDER)  # a view is chosen again; a page holds what was said of other datasets too
    for dataset in dict.fromkeys(found.dataset for found in report.findings if found.segment not in lost):
        damaged = [found for found in report.findings if found.dataset == dataset]
        card = cards.card(dataset)
        repaired += ingestion.repair(card, store, base=cards.files[dataset].parent, damaged=damaged, workers=workers, quiet=quiet)
    return replace(validate(store, quiet=quiet), repaired=tuple(repaired))
