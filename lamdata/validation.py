"""Validation: a store -> everything in it that is not what was written, as a report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import ingestion
from .catalog import open_catalog
from .errors import StoreError
from .progress import track
from .store import Store, open_store, pages, views
from .store.verify import Damage, verify_dataset


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


def validate(store: str, *, quiet: bool = False) -> ValidationReport:
    """Read and hash every object of every dataset and every view again."""
    opened, frames, findings = open_store(store), dict[str, int](), list[Damage]()
    for name in track(opened, "validating", total=len(opened), unit="datasets", quiet=quiet):
        with suppress(StoreError):  # which is found next
            frames[name] = sum(segment.frames for segment in opened.entry(name).segments)
        findings += verify_dataset(opened, name)
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
