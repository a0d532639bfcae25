"""Validation: a store -> everything in it that is not what was written, as a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .progress import track
from .store import open_store
from .store.verify import Damage, verify


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationReport:
    """What was hashed again, and what was found."""

    store: str
    frames: dict[str, int]  # dataset -> frames looked at
    findings: tuple[Damage, ...]

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
        return {"store": self.store, "ok": self.ok, "frames": self.frames, "findings": rows}

    def text(self) -> str:
        """As lines for a person."""
        lines = [str(found) for found in self.findings]
        return "\n".join([*lines, f"{sum(self.frames.values())} frames of {len(self.frames)} datasets, {len(lines)} findings"])


def validate(store: str, *, quiet: bool = False) -> ValidationReport:
    """Read and hash every object of every dataset again."""
    opened = open_store(store)
    frames = {name: len(opened[name]) for name in opened}
    findings = [found for name in track(opened, "validating", total=len(opened), unit="datasets", quiet=quiet) for found in verify(store, name)]
    return ValidationReport(store=store, frames=frames, findings=tuple(findings))
