"""Choose: frames of a dataset, by a filter, a list or what they are worth -> a view with a name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..energies import fit_references
from ..errors import ConfigError, DataError
from ..fields import NAME
from ..places import open_place
from ..worth import read_scored, worth_labelling
from .commits import commit_view
from .dataset import Dataset
from .layout import SPLITS
from .store import open_store
from .views import NamedView

AT_ONCE = 32 * 1024  # frames whose names are compared together
SHOWN = 8  # lines that are named


def select(
    store_url: str,
    dataset: str,
    *,
    name: str,
    split: str | None = None,
    elements: Sequence[int | str] | None = None,
    natoms: tuple[int, int] | None = None,
    max_force: float | None = None,
    where: str | None = None,
    listed: Sequence[str] | None = None,
    worth: Worth | None = None,
) -> NamedView:
    """Give the frames of a dataset (or of a view) that pass a filter, and are `listed`, a name under which they open like a dataset.

    A line of the list is a frame ("file#index" as `lamdata show` prints it), a file or a group. With `worth`, of these frames the ones that
    are worth labelling. Frames are chosen now and once: the same name stands for the same frames until it is removed. Raises ConfigError
    where the name is taken, DataError where nothing is chosen, a line of the list names nothing, or no frame is in the table of `worth`.
    """
    if not re.fullmatch(NAME, name):
        raise ConfigError(f"{name!r} is no name", where="--name", hint="letters, digits, and ._+()- after the first of them")
    opened = open_store(store_url)
    found = opened.open(dataset, split=split, elements=elements, natoms=natoms, max_force=max_force, where=where)
    whole = found.whole
    kept = np.zeros(len(whole), bool)
    kept[found.rows] = True
    if listed is not None:
        kept[found.rows[~_listed(found, listed, where=store_url)]] = False
    if worth is not None and kept.any():
        kept = _worth(whole, np.flatnonzero(kept), worth)
    if not kept.any():
        raise DataError(
            f"no frame of {dataset} is chosen", where=store_url, hint=f"`lamdata show {store_url} {dataset}` says what it holds"
        )
    asked: dict[str, Any] = {key: value for key, value in found.filter.to_json().items() if value is not None}
    asked |= {"among": dataset} if found.view is not None else {}
    asked |= {} if listed is None else {"listed": len(set(listed))}
    asked |= {} if worth is None else worth.to_json()
    bare = NamedView(of=whole.name, content_hash=whole.content_hash, asked=asked, kept=kept, facts={})
    view = NamedView(of=bare.of, content_hash=bare.content_hash, asked=asked, kept=kept, facts=_facts(whole.among(name, bare)))
    open_place(store_url).write(view.path, view.to_bytes())
    commit_view(store_url, name, view.to_index())
    return view


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """The frames worth labelling."""

    table: Path  # of scores and features, as `lamtrain cover` leaves it
    count: int
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, for people."""
        return {"by": self.table.name, "count": self.count, "seed": self.seed}


def _worth(whole: Dataset, rows: NDArray[np.int64], worth: Worth) -> NDArray[np.bool_]:
    """(F,) which of some rows of a dataset are worth labelling; those that were refused, and have no score, are not."""
    places: dict[str, int] = {}
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        _, origins, _ = whole.labels(int(part[0]), int(part[-1]) + 1)
        places |= {origins[row - part[0]]: row for row in part.tolist()}
    scored = read_scored(worth.table, among=places.keys())
    if not len(scored):
        raise DataError(f"the table scores no frame of {whole.name}", where=str(worth.table), hint="make it of this dataset")
    kept = np.zeros(len(whole), bool)
    kept[[places[scored.origins[i]] for i in worth_labelling(scored, worth.count, seed=worth.seed).tolist()]] = True
    return kept


def _listed(frames: Dataset, listed: Sequence[str], *, where: str) -> NDArray[np.bool_]:
    """(F,) which frames a list names."""
    wanted, met = set(listed), set[str]()
    kept = np.zeros(len(frames), bool)
    for start in range(0, len(frames), AT_ONCE):
        groups, origins, _ = frames.labels(start, min(start + AT_ONCE, len(frames)))
        for row, names in enumerate(zip(origins, groups, (origin.rpartition("#")[0] for origin in origins)), start=start):
            named = wanted.intersection(names)
            kept[row] = bool(named)
            met |= named
    if missing := sorted(wanted - met):
        shown = ", ".join(missing[:SHOWN]) + ", ..." * (len(missing) > SHOWN)
        raise DataError(
            f"{len(missing)} of {len(wanted)} lines name no frame, file or group of {frames.name}: {shown}",
            where=where,
            hint=f"a line is `file#index` as `lamdata show {where} {frames.name} --frames 3` prints it, a file or a group",
        )
    return kept


def _facts(frames: Dataset) -> Mapping[str, Any]:
    """What is measured of frames at ingest, of those of a view."""
    sides = {side: frames.select(split=side).measure() for side in SPLITS}
    references = fit_references(sides["train"][1])
    kept = {side: parts for side, parts in sides.items() if parts[0].frames or side != "test"}
    return {
        "statistics": {side: statistics.to_json() for side, (statistics, _) in kept.items()},
        "references": None if references is None else references.to_json(),
        "energies": {side: energies.to_json() for side, (_, energies) in kept.items()},
    }
