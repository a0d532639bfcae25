"""Ingest: a card's raw files -> a segment of a store, with a ledger of what was refused.

Two passes, so that a dataset of any size is shuffled in bounded memory. Pass 1 (parse.py) turns files into pieces; pass 2 fills
each shard with its frames from all pieces. Every task of both is idempotent and leaves its result by one rename: an ingest killed at
any instant goes on where it stopped and ends with the same bytes. One last small write makes the segment visible.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from ..cache import cached
from ..catalog import Card, SourceSpec
from ..energies import Energies, fit_references, merge_energies
from ..errors import ConfigError, DataError, LamError, StoreError
from ..places import open_place
from ..places.local import explained
from ..progress import track
from ..sources import SourceFile, expand
from ..sources.bytes.digests import Kind, kind_like
from ..sources.bytes.group_files import hash_with_group
from ..statistics import Statistics, merge
from ..store.commits import DatasetEntry, commit
from ..store.energies import write_energies
from ..store.layout import SPLITS, SegmentPlan
from ..store.named import sources_in, write_sources
from ..store.shard import LEDGER, finished_shards, seal_segment, write_shard
from ..store.survey import Survey, plan_segment
from ..stream.order import balanced_order
from .asked import AskedKeys, check_asked
from .findings import (
    CARD,
    Implausible,
    IsolatedAtoms,
    LeftOut,
    check_plausible,
    check_refusals,
    implausible_in,
    isolated_atoms_of,
    merge_left_out,
)
from .parse import FILES_PER_PART, parse_part, parts_of
from .replacement import committed, refuse_foreign_folder, refuse_to_replace, replaced_by, said_otherwise
from .splits import Splitter, check_splits, read_splitter
from .staging import LAYOUT, Piece, PieceFacts, Staging
from .theories import Theories, check_theories
from .workers import one_thread, run_tasks

BUNDLE = 64 << 20  # bytes of files that one task hashes, about

Work = TypeVar("Work")
Result = TypeVar("Result")
Files = Sequence[tuple[SourceFile, SourceSpec]]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What an ingest did."""

    dataset: str
    segment: str  # path of the segment below the store; its name is a hash of everything that decides its content
    frames: int
    validation_frames: int
    test_frames: int
    groups: dict[str, int]  # groups of each split; {} where the store had exactly this before
    rejected: dict[str, int]  # reason -> frames
    left_out: LeftOut  # labels that stand in the files and not in the frames: "label: why" -> frames, and one of them
    implausible: list[Implausible]  # what of the whole dataset cannot be right, for a person to judge
    isolated_atoms: IsolatedAtoms  # element -> energy in eV, and who says so
    references: dict[str, Any] | None  # fitted to the training frames
    ledger: str  # where rejected.jsonl is
    new: bool  # False when the store had these frames before
    replaced: Mapping[str, int] = field(default_factory=dict)  # segments whose place the new one took -> bytes, which `gc` frees
    changed: tuple[str, ...] = ()  # words of its card that were written anew, the frames being there already


def ingest(
    card: Card,
    store: str,
    *,
    base: Path,
    profile: Literal["lossless", "fast"] = "lossless",
    workers: int = 1,
    scheduler: str | None = None,
    on_error: Literal["stop", "skip"] = "stop",
    replace: bool = False,
    staging: Path | None = None,
    quiet: bool = False,
) -> IngestReport:
    """Bring a dataset into a store; `base` is the folder that the card's paths are relative to.

    Doing it again does nothing; where the store has other frames under this name, they are replaced only if `replace` says so. A file that cannot be read stops everything with
    nothing written (`on_error="stop"`), or becomes a row of the ledger (`"skip"`). A calculation that did not converge, or a frame
    that fails a check, is always a row of the ledger.
    """
    crew = Crew(title=card.dataset, workers=workers, scheduler=scheduler, quiet=quiet)
    refuse_foreign_folder(store)
    files, splitter = source_files(card, base), read_splitter(card, base)
    hashes = hash_files(files, crew, like=committed_sources(store, committed(store, card.dataset)))
    segment, done = begin(card, store, hashes, splitter=splitter, profile=profile, replace=replace, staging=staging)
    if done is not None:
        return done
    with staged(store, segment, staging) as folder:
        pieces = parse_files(files, card, splitter, folder, on_error, crew)
        return complete(card, store, segment, pieces, hashes, splitter=splitter, profile=profile, crew=crew)


def begin(
    card: Card, store: str, hashes: Mapping[str, str], *, splitter: Splitter, profile: str, replace: bool, staging: Path | None
) -> tuple[str, IngestReport | None]:
    """The path of the segment that is to be written, and the report where it is there; refuse to take another's place unasked."""
    segment = f"{card.dataset}/{segment_name(card, hashes, profile, splitter)}"
    entry = committed(store, card.dataset)  # once more: many files were hashed meanwhile
    done = None if entry is None else _already_there(card, entry, store, segment)
    if done is not None:
        _remove(_staging_folder(store, segment, staging))  # of a run that was killed between its commit and its end
    elif entry is not None and not replace:
        refuse_to_replace(card, entry, store, segment, hashes, profile)
    return segment, done


@one_thread()
def complete(
    card: Card,
    store: str,
    segment: str,
    pieces: Sequence[Piece],
    hashes: Mapping[str, str],
    *,
    splitter: Splitter,
    profile: str,
    crew: Crew,
    shuffled: bool = True,
) -> IngestReport:
    """Pass 2: what the card asks of all frames together, then the segment, and the commit that makes it visible."""
    facts = [piece.facts() for piece in pieces]
    check_asked(card, AskedKeys().merge(fact.asked for fact in facts))
    meta, energies, survey = facts_of(card, pieces, facts)
    check_theories(card, Theories().merge(fact.theories for fact in facts))
    check_refusals(card, _ledger(pieces), kept=survey.frames)
    check_plausible(card, meta.get("implausible", []))
    groups = check_splits(card, splitter, pieces, met={line for fact in facts for line in fact.met})
    plan, order = plan_shards(pieces, survey, segment, profile, shuffled=shuffled)
    fill_shards(f"{store.rstrip('/')}/{segment}", plan, pieces, order, set(range(plan.shards)), crew)
    return _publish(store, card, segment, plan, pieces, meta, energies, hashes, groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Who does the tasks of an ingest, and who is told."""

    title: str
    workers: int
    scheduler: str | None
    quiet: bool

    def do(self, function: Callable[[Work], Result], tasks: Sequence[Work], doing: str, unit: str) -> Iterator[Result]:
        """Yield the result of each task, in no particular order, behind a bar."""
        done = run_tasks(function, tasks, workers=self.workers, scheduler=self.scheduler)
        return iter(track(done, f"{self.title}: {doing}", total=len(tasks), unit=unit, quiet=self.quiet))


def source_files(card: Card, base: Path) -> Files:
    if not card.sources:
        raise ConfigError(f"dataset {card.dataset} names no source files", hint="add `sources:` to its card")
    return [(file, spec) for spec in card.sources for file in expand(spec, base=base)]


def committed_sources(store: str, entry: DatasetEntry | None) -> Mapping[str, str]:
    """The digests of the raw files of a dataset, as its store has them; {} where it has none that can be read."""
    try:
        return {} if entry is None else sources_in(open_place(store), entry.meta)
    except StoreError:  # damaged, which whoever needs them says
        return {}


def hash_files(files: Files, crew: Crew, *, like: Mapping[str, str]) -> dict[str, str]:
    """The digest of each file, of the kind of those that the store has."""
    kind = kind_like(like.values())
    bundles = [(bundle, kind) for bundle in _bundles_of([file for file, _ in files])]
    return dict(sorted(pair for pairs in crew.do(_digests_of, bundles, "hashing", "parts") for pair in pairs))


def _bundles_of(files: Sequence[SourceFile]) -> Iterator[tuple[SourceFile, ...]]:
    """Files that are worth a task together, in order."""
    bundle: list[SourceFile] = []
    size = 0
    for file in files:
        bundle.append(file)
        size += file.size
        if len(bundle) >= FILES_PER_PART or size >= BUNDLE:
            yield tuple(bundle)
            bundle, size = [], 0
    if bundle:
        yield tuple(bundle)


def _digests_of(task: tuple[Sequence[SourceFile], Kind]) -> list[tuple[str, str]]:
    files, kind = task
    return [(file.name, hash_with_group(file, kind)) for file in files]


def parse_files(files: Files, card: Card, splitter: Splitter, folder: Path, on_error: Literal["stop", "skip"], crew: Crew) -> list[Piece]:
    parts = parts_of(files, card=card, splitter=splitter, staging=folder, on_error=on_error)
    return sorted(crew.do(parse_part, parts, "parsing", "parts"), key=lambda piece: piece.path)


@contextmanager
def staged(store: str, segment: str, staging: Path | None) -> Iterator[Path]:
    """A folder for pieces. Success and a clean refusal leave nothing behind; a kill leaves what is finished for the next try."""
    folder = _staging_folder(store, segment, staging)
    try:
        with explained(folder):
            yield folder
    except LamError:
        _remove(folder)
        raise
    _remove(folder)


def segment_name(card: Card, hashes: Mapping[str, str], profile: str, splitter: Splitter) -> str:
    """Equal for equal input, so that a rerun finds its own work and a changed input never meets it."""
    decides = card.model_dump(mode="json", include={"dataset", "theory", "sources", "checks", "keep", "split"})
    for name in ("max_refused", "implausible"):  # they decide whether there is a segment, not what is in it
        decides["checks"].pop(name, None)
    decides |= {"lists": dict(splitter.digests)} if splitter.digests else {}
    return hashlib.sha256(json.dumps([decides, dict(hashes), profile], sort_keys=True).encode()).hexdigest()[:16]


def _already_there(card: Card, entry: DatasetEntry, store: str, segment: str) -> IngestReport | None:
    """The report of what is there, where it is exactly this; a card that changed in its words only is committed anew."""
    if [part.path for part in entry.segments] != [segment]:
        return None
    meta, changed = dict(entry.meta), said_otherwise(card, entry)
    ledger = open_place(store).read(f"{segment}/{LEDGER}").decode().splitlines() if meta["rejected"] else []
    check_refusals(card, ledger, kept=sum(part["frames"] for part in meta["statistics"].values()))
    check_plausible(card, meta.get("implausible", []))
    if changed:
        marked = {symbol: atom for symbol, atom in meta.pop("isolated_atoms", {}).items() if atom["origin"] != CARD}
        atoms = isolated_atoms_of(card, [marked])
        meta |= {"card": card.model_dump(mode="json")} | ({"isolated_atoms": atoms} if atoms else {})
        commit(store, card.dataset, entry.segments, meta)
    return _report(store, card.dataset, segment, meta, new=False, groups={}, changed=changed)


def _staging_folder(store: str, segment: str, staging: Path | None) -> Path:
    """Beside a local store, hidden; for a bucket in the cache of this machine."""
    if staging is None and "://" in store:
        staging = cached("staging", store)
    elif staging is None:
        staging = Path(store).parent / f".{Path(store).name}.staging"
    return staging / f"{segment.replace('/', '-')}-{LAYOUT}"


def _remove(folder: Path) -> None:
    for one in folder.parent.glob(f"{glob.escape(folder.name.rpartition('-')[0])}-*"):  # of this version and others
        shutil.rmtree(one, ignore_errors=True)
    with suppress(OSError):  # other ingests have their pieces there, or it cannot be written
        folder.parent.rmdir()


def facts_of(card: Card, pieces: Sequence[Piece], facts: Sequence[PieceFacts]) -> tuple[dict[str, Any], dict[str, Energies], Survey]:
    """What the store says of a dataset, with the energies of each split apart, and what the writing of its segment must know."""
    rejected = Counter(json.loads(line)["reason"] for line in _ledger(pieces))
    surveys = [fact.survey for fact in facts if fact.survey is not None]
    if not surveys:
        first = next((json.loads(line)["origin"] for line in _ledger(pieces)), None)
        what = _counts(rejected) or "all of them are isolated atoms"
        raise DataError(f"no frame of {card.dataset} passed: {what}", where=first, hint="see `checks:` and `sources:` in its card")
    survey = surveys[0]
    for other in surveys[1:]:
        survey = survey.merge(other)
    statistics = {side: merge(fact.statistics[side] for fact in facts) for side in SPLITS}
    energies = {side: merge_energies(fact.energies[side] for fact in facts) for side in SPLITS}
    references = fit_references(energies["train"])
    meta: dict[str, Any] = {
        "card": card.model_dump(mode="json"),
        "rejected": dict(sorted(rejected.items())),
        "statistics": {side: part.to_json() for side, part in statistics.items() if part.frames or side != "test"},
        "references": None if references is None else references.to_json(),
    }
    said = {
        "left_out": merge_left_out(fact.left_out for fact in facts),
        "implausible": implausible_in(fact.plausibility for fact in facts),
        "isolated_atoms": isolated_atoms_of(card, (fact.isolated for fact in facts)),
    }
    return meta | {name: value for name, value in said.items() if value}, {side: energies[side] for side in meta["statistics"]}, survey


def _ledger(pieces: Sequence[Piece]) -> Iterator[str]:
    return (line for piece in pieces for line in piece.rejected().splitlines())


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


def plan_shards(
    pieces: Sequence[Piece], survey: Survey, segment: str, profile: str, *, shuffled: bool = True
) -> tuple[SegmentPlan, np.ndarray]:
    """How the segment is laid out, and the order of the frames of all pieces in it."""
    staging = Staging(pieces)
    split, natoms = staging.split, staging.natoms
    order = balanced_order(natoms, split, segment.rsplit("/", 1)[-1]) if shuffled else np.arange(len(natoms))
    return plan_segment(natoms[order], survey, profile=profile, split=split[order]), order


def fill_shards(url: str, plan: SegmentPlan, pieces: Sequence[Piece], order: np.ndarray, shards: set[int], crew: Crew) -> None:
    """Pass 2: write those of the shards that are not there yet."""
    tasks = [
        _Shard(number=number, url=url, plan=plan, pieces=tuple(pieces), rows=order[plan.shard_frames(number)])
        for number in sorted(shards - finished_shards(url))
    ]
    for _ in crew.do(_write, tasks, "writing", "shards"):
        pass


def _write(task: _Shard) -> int:
    frames, split, texts = Staging(task.pieces).take(task.rows)
    said = {"groups": texts["group"], "origins": texts["origin"], "infos": texts["info"]}
    write_shard(task.url, task.plan, task.number, records=frames, split=split, **said)
    return task.number


def _publish(
    store: str,
    card: Card,
    segment: str,
    plan: SegmentPlan,
    pieces: Sequence[Piece],
    meta: dict[str, Any],
    energies: Mapping[str, Energies],
    hashes: Mapping[str, str],
    groups: dict[str, int],
) -> IngestReport:
    """Write the ledger, the energies and the names of the files, seal the segment, make it visible."""
    url = f"{store.rstrip('/')}/{segment}"
    open_place(url).write(LEDGER, "".join(piece.rejected() for piece in pieces).encode())
    entry = seal_segment(url, plan, path=segment, attributes=attributes_of(card))
    meta |= {"energies": write_energies(open_place(store), energies), "sources": write_sources(open_place(store), hashes)}
    replaced = replaced_by(store, card.dataset, segment)
    commit(store, card.dataset, [entry], meta)
    return dataclasses.replace(_report(store, card.dataset, segment, meta, new=True, groups=groups), replaced=replaced)


def attributes_of(card: Card) -> dict[str, str]:
    return {"title": card.title, "dataset": card.dataset}


def _report(
    store: str, dataset: str, segment: str, meta: Mapping[str, Any], *, new: bool, groups: dict[str, int], changed: tuple[str, ...] = ()
) -> IngestReport:
    frames = {side: Statistics.from_json(part).frames for side, part in meta["statistics"].items()}
    return IngestReport(
        dataset=dataset,
        segment=segment,
        frames=sum(frames.values()),
        validation_frames=frames["validation"],
        test_frames=frames.get("test", 0),
        groups=groups,
        rejected=dict(meta["rejected"]),
        left_out=dict(meta.get("left_out", {})),
        implausible=list(meta.get("implausible", [])),
        isolated_atoms=dict(meta.get("isolated_atoms", {})),
        references=meta["references"],
        ledger=f"{store.rstrip('/')}/{segment}/{LEDGER}",
        new=new,
        changed=changed,
    )
