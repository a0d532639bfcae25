"""The ledgers of a dataset's segments -> some rows of each reason why a frame is not in the store; a bounded part of each ledger is read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ..places import Place
from ..store.shard import LEDGER

READ = 1 << 20  # bytes of each ledger: one of millions of rows is not read whole for a page
SHOWN = 8  # rows of each reason
LONGEST = 300  # characters of a text from a file


def refused_rows(place: Place, segments: Iterable[str]) -> list[dict[str, Any]]:
    """Rows (origin, reason, value), the first few of each reason, by reason; [] where nothing was refused."""
    found: dict[str, list[dict[str, Any]]] = {}
    for segment in segments:
        for row in _rows(place, f"{segment}/{LEDGER}"):
            mine = found.setdefault(row["reason"], [])
            if len(mine) < SHOWN:
                mine.append(row)
    return [row for reason in sorted(found) for row in found[reason]]


def _rows(place: Place, path: str) -> Iterable[dict[str, Any]]:
    size = place.size(path)
    if not size:
        return
    [data] = (bytes(part) for part in place.read_ranges([(path, 0, min(size, READ))]))
    whole = data if size <= READ else data[: data.rfind(b"\n") + 1]
    for line in whole.splitlines():
        try:
            row = json.loads(line)
            yield {"origin": _short(row["origin"]), "reason": _short(row["reason"]), "value": _short(row.get("value"))}
        except (ValueError, KeyError, TypeError):
            continue  # a damaged row says nothing; `lamdata validate` names it


def _short(value: Any) -> str | None:
    if value is None:
        return None
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
