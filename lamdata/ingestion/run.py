"""Ingest: a card's raw files -> a segment of a store, with a ledger of what was refused.

Two passes, so that a dataset of any size is shuffled in bounded memory. Pass 1 (parse.py) turns files into pieces; pass 2 fills
each shard with its frames from all pieces. Every task of both is idempotent and leaves its result by one rename: an ingest killed at
any instant goes on where it stopped and ends with the same bytes. One last small write makes the segment visible.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..catalog import Card, SourceSpec
from ..errors import ConfigError, DataError, LamError
from ..places.remote import open_place
from ..progress import track
from ..sources import SourceFile, expand
from ..statistics import Statistics, fit_references, merge
from ..store.commits import commit, read_index
from ..store.layout import SegmentPlan
from ..store.shard import finished_shards, seal_segment, write_shard
from ..store.survey import Survey, plan_segment
from ..stream.order import balanced_order
from .parse import parse_part, parts_of
from .staging import Piece, Staging
from .workers import run_tasks

LEDGER = "rejected.jsonl"
Files = Sequence[tuple[SourceFile, SourceSpec]]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What an ingest did."""

    dataset: str
    segment: str  # path of the segment below the store; its name is a hash of everything that decides its content
    frames: int
    validation_frames: int
    rejected: dict[str, int]  # reason -> frames
    references: dict[str, Any] | None  # fitted to the training frames
    ledger: str  # where rejected.jsonl is
    new: bool  # False when the store had exactly this before


def ingest(
    card: Card,
    store: str,
    *,
    base: Path,
    profile: Literal["lossless", "fast"] = "lossless",
    workers: int = 1,
    scheduler: str | None = None,
    on_error: Literal["stop", "skip"] = "stop",
    staging: Path | None = None,
    quiet: bool = False,
) -> IngestReport:
    """Bring a dataset into a store; `base` is the folder that the card's paths are relative to.

    Doing it again does nothing; a changed card or source replaces the dataset. A file that cannot be read stops everything with
    nothing written (`on_error="stop"`), or becomes a row of the ledger (`"skip"`). A calculation that did not converge, or a frame
    that fails a check, is always a row of the ledger.
    """
    if not card.sources:
        raise ConfigError(f"dataset {card.dataset} names no source files", hint="add `sources:` to its card")
    files = [(file, spec) for spec in card.sources for file in expand(spec, base=base)]
    run = partial(run_tasks, workers=workers, scheduler=scheduler)
    bar = partial(track, quiet=quiet)
    hashes = dict(sorted(bar(run(_hash_of, [file for file, _ in files]), f"{card.dataset}: hashing", total=len(files), unit="files")))
    segment = f"{card.dataset}/{_segment_name(card, hashes, profile)}"
    done = _already_there(card.dataset, store, segment)
    if done is not None:
        return done
    folder = _staging_folder(store, staging) / segment.replace("/", "-")
    try:
        parts = parts_of(files, card=card, staging=folder, on_error=on_error)
        pieces = list(bar(run(parse_part, parts), f"{card.dataset}: parsing", total=len(parts), unit="parts"))
        pieces.sort(key=lambda piece: piece.folder)
        meta, survey = _facts(card, pieces, hashes)
        plan = _fill(pieces, survey, f"{store.rstrip('/')}/{segment}", profile, run, bar, title=f"{card.dataset}: writing")
        report = _publish(store, card, segment, plan, pieces, meta)
    except LamError:  # a clean refusal leaves nothing behind; a kill leaves the finished pieces for the next try
        _remove(folder)
        raise
    _remove(folder)
    return report


def _hash_of(file: SourceFile) -> tuple[str, str]:
    return file.name, file.sha256


def _segment_name(card: Card, hashes: dict[str, str], profile: str) -> str:
    """Equal for equal input, so that a rerun finds its own work and a changed input never meets it."""
    decides = card.model_dump(mode="json", include={"dataset", "theory", "sources", "checks", "split"})
    return hashlib.sha256(json.dumps([decides, hashes, profile], sort_keys=True).encode()).hexdigest()[:16]


def _already_there(dataset: str, store: str, segment: str) -> IngestReport | None:
    index = read_index(open_place(store))
    if index is None or dataset not in index.datasets:
        return None
    entry = index.entry(dataset)
    if [part.path for part in entry.segments] != [segment]:
        return None
    return _report(store, dataset, segment, entry.meta, new=False)


def _staging_folder(store: str, staging: Path | None) -> Path:
    """Beside a local store, hidden; for a bucket in the cache of this machine."""
    if staging is not None:
        return staging
    if "://" not in store:
        path = Path(store)
        return path.parent / f".{path.name}.staging"
    cache = os.environ.get("LAM_CACHE_DIR") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "lam")
    return Path(cache) / "staging" / hashlib.sha256(store.encode()).hexdigest()[:16]


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def _facts(card: Card, pieces: Sequence[Piece], hashes: dict[str, str]) -> tuple[dict[str, Any], Survey]:
    """What the store says of a dataset, and what the writing of its segment must know."""
    train, validation, surveys = zip(*(piece.summary() for piece in pieces))
    rejected = Counter(json.loads(line)["reason"] for piece in pieces for line in piece.rejected().splitlines())
    surveys = [survey for survey in surveys if survey is not None]
    if not surveys:
        first = next(line for piece in pieces for line in piece.rejected().splitlines())
        raise DataError(f"no frame of {card.dataset} passed: {_counts(rejected)}", where=json.loads(first)["origin"], hint="see `checks:` in its card")
    survey = surveys[0]
    for other in surveys[1:]:
        survey = survey.merge(other)
    statistics = {"train": merge(train), "validation": merge(validation)}
    references = fit_references(statistics["train"])
    meta = {
        "card": card.model_dump(mode="json"),
        "sources": hashes,
        "rejected": dict(sorted(rejected.items())),
        "statistics": {side: part.to_json() for side, part in statistics.items()},
        "references": None if references is None else references.to_json(),
    }
    return meta, survey


def _counts(rejected: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in rejected.most_common())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shard:
    """One task of pass 2."""

    number: int
    url: str
    plan: SegmentPlan
    pieces: tuple[Piece, ...]
    rows: np.ndarray  # (F,) rows of the staging table, in final order


def _fill(pieces: Sequence[Piece], survey: Survey, url: str, profile: str, run: Callable, bar: Callable, *, title: str) -> SegmentPlan:
    """Pass 2: shuffle once and write every shard that is not there yet."""
    staging = Staging(pieces)
    split = np.concatenate([piece.column("split") for piece in pieces])
    order = balanced_order(staging.natoms, split, url.rsplit("/", 1)[-1])
    split = split[order]
    plan = plan_segment(staging.natoms[order], survey, profile=profile, split=split)
    missing = sorted(set(range(plan.shards)) - finished_shards(url))
    tasks = [
        _Shard(number=number, url=url, plan=plan, pieces=tuple(pieces), rows=order[plan.shard_frames(number)]) for number in missing
    ]
    for _ in bar(run(_write, tasks), title, total=len(tasks), unit="shards"):
        pass
    return plan


def _write(task: _Shard) -> int:
    frames, split, groups, origins = Staging(task.pieces).take(task.rows)
    write_shard(task.url, task.plan, task.number, records=frames, groups=groups, origins=origins, split=split)
    return task.number


def _publish(
    store: str, card: Card, segment: str, plan: SegmentPlan, pieces: Sequence[Piece], meta: dict[str, Any]
) -> IngestReport:
    """Write the ledger, seal the segment, make it visible."""
    url = f"{store.rstrip('/')}/{segment}"
    open_place(url).write(LEDGER, "".join(piece.rejected() for piece in pieces).encode())
    entry = seal_segment(url, plan, path=segment, attributes={"title": card.title, "dataset": card.dataset})
    commit(store, card.dataset, [entry], meta)
    return _report(store, card.dataset, segment, meta, new=True)


def _report(store: str, dataset: str, segment: str, meta: Any, *, new: bool) -> IngestReport:
    train, validation = (Statistics.from_json(meta["statistics"][side]) for side in ("train", "validation"))
    return IngestReport(
        dataset=dataset,
        segment=segment,
        frames=train.frames + validation.frames,
        validation_frames=validation.frames,
        rejected=dict(meta["rejected"]),
        references=meta["references"],
        ledger=f"{store.rstrip('/')}/{segment}/{LEDGER}",
        new=new,
    )
