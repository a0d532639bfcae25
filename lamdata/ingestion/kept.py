"""Kept: frames that passed their checks, and the `keep` of their card -> a row of the ledger for each that it does not keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..frame import F64, Rejection
from ..frames import Parsed
from ..keep import KeepSpec
from ..where import passing

NOT_KEPT = "not kept"  # a choice, and no fault of a frame


def not_kept(parsed: Parsed, keep: KeepSpec | None, *, shortest: F64) -> dict[int, Rejection]:
    """The rows that a card does not keep; `shortest` (F,) are distances in Å."""
    if keep is None or (condition := keep.condition) is None:
        return {}
    kept = passing(condition, _Columns(parsed, shortest))
    return {row: Rejection(origin=parsed.origins[row], reason=NOT_KEPT) for row in np.flatnonzero(~kept).tolist()}


class _Columns:
    """Frames in hand."""

    def __init__(self, parsed: Parsed, shortest: F64) -> None:
        self._parsed, self._shortest = parsed, shortest

    def __len__(self) -> int:
        return len(self._parsed)

    def array(self, name: str) -> np.ndarray:
        found: np.ndarray = self._shortest if name == "shortest" else getattr(self._parsed.frames, name)
        return found

    def texts(self, name: str) -> Sequence[str]:
        return self._parsed.groups if name == "group" else self._parsed.origins

    def infos(self) -> Sequence[Mapping[str, str]]:
        return self._parsed.infos or [{}] * len(self._parsed)

    def references(self) -> Mapping[int, float]:
        raise AssertionError("a card asks for no energies above references: they are not fitted yet")
