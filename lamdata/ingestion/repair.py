"""Repair: damaged objects of an ingested dataset -> the same bytes again, from its raw files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..catalog import Card
from ..energies import Energies
from ..errors import DataError, StoreError
from ..places import Place, open_place
from ..store.commits import DatasetEntry
from ..store.named import ENERGIES, FOLDERS, SOURCES, object_of, sources_in
from ..store.shard import MANIFEST, SegmentEntry, digest, seal_segment
from ..store.verify import Damage
from .replacement import committed
from .run import (
    Crew,
    attributes_of,
    committed_sources,
    facts_of,
    fill_shards,
    hash_files,
    parse_files,
    plan_shards,
    segment_name,
    source_files,
    staged,
)
from .splits import Splitter, read_splitter


def repair(
    card: Card,
    store: str,
    *,
    base: Path,
    damaged: Sequence[Damage],
    workers: int = 1,
    scheduler: str | None = None,
    staging: Path | None = None,
    quiet: bool = False,
) -> list[str]:
    """Write the damaged objects of a dataset again, and return their paths below the store.

    Shards are filled from the raw files as when they were first written; only those that are damaged, unless the manifest or
    metadata are. Nothing is replaced before its new bytes have the hash that was committed.
    """
    crew = Crew(title=card.dataset, workers=workers, scheduler=scheduler, quiet=quiet)
    entry = committed(store, card.dataset)
    if entry is None:
        raise StoreError(f"there is no dataset {card.dataset} to repair", where=store, hint="`lamdata ls STORE` lists what is there")
    files, splitter = source_files(card, base), read_splitter(card, base)
    hashes = hash_files(files, crew, like=committed_sources(store, entry))
    segment = _segment_of(entry, card, hashes, splitter, where=store)
    with staged(store, segment.path, staging) as folder:
        pieces = parse_files(files, card, splitter, folder, "skip", crew)
        _, energies, survey = facts_of(card, pieces, [piece.facts() for piece in pieces])
        lost = {f"{found.segment}/{found.object}" for found in damaged if found.segment in FOLDERS}
        damaged = [found for found in damaged if found.segment not in FOLDERS]
        again = _write_named(store, lost, energies.values(), hashes)
        if not damaged:
            return again
        plan, order = plan_shards(pieces, survey, segment.path, segment.plan.profile)
        plan = dataclasses.replace(plan, packing=segment.plan.packing)
        scratch = str(folder / "again")
        shards = {found.shard for found in damaged if found.shard is not None}
        everything = any(found.shard is None for found in damaged)
        fill_shards(scratch, plan, pieces, order, set(range(plan.shards)) if everything else shards, crew)
        if everything:
            seal_segment(scratch, plan, path=segment.path, attributes=attributes_of(card))
        return again + _replace(scratch, store, segment, None if everything else {found.object for found in damaged})


def _segment_of(entry: DatasetEntry, card: Card, hashes: dict[str, str], splitter: Splitter, *, where: str) -> SegmentEntry:
    """The segment that these files gave when they were ingested."""
    for segment in entry.segments:
        if segment.path == f"{card.dataset}/{segment_name(card, hashes, segment.plan.profile, splitter)}":
            return segment
    try:
        changed = sorted(name for name, digest in sources_in(open_place(where), entry.meta).items() if hashes.get(name) != digest)
    except StoreError:  # damaged itself
        changed = []
    what = f"source files changed or are gone: {', '.join(changed[:5])}" if changed else "it was ingested with another card"
    raise DataError(f"cannot repair {card.dataset}: {what}", where=where, hint="ingest it again")


def _write_named(store: str, lost: set[str], energies: Iterable[Energies], hashes: Mapping[str, str]) -> list[str]:
    """Put energies and sources in their places whose names are those of what was lost."""
    objects = dict([object_of(ENERGIES, each.to_json()) for each in energies] + [object_of(SOURCES, dict(sorted(hashes.items())))])
    place = open_place(store)
    for path in sorted(lost):
        if path not in objects:
            raise DataError("does not come out as it was committed", where=f"{place.url}/{path}", hint="ingest it again")
        place.write(path, objects[path])
    return sorted(lost)


def _replace(scratch: str, store: str, segment: SegmentEntry, objects: set[str] | None) -> list[str]:
    """Put objects written again, `None` for all that differ, in their places, once each is known to be what was committed."""
    source, target = open_place(scratch), open_place(f"{store.rstrip('/')}/{segment.path}")
    manifest = json.loads((source if objects is None else target).read(MANIFEST))["objects"]
    if digest(manifest) != segment.hash:
        raise DataError("the sources no longer give what was committed", where=target.url, hint="ingest it again")
    if objects is None:
        objects = {path for path, (_, expected) in manifest.items() if not _is(target, path, expected)} | {MANIFEST}
    for path in objects - {MANIFEST}:
        if not _is(source, path, manifest[path][1]):
            raise DataError("does not come out as it was committed", where=f"{target.url}/{path}", hint="ingest it again")
    for path in sorted(objects):
        target.write(path, source.read(path))
    return [f"{segment.path}/{path}" for path in sorted(objects)]


def _is(place: Place, path: str, expected: str) -> bool:
    try:
        return hashlib.sha256(place.read(path)).hexdigest() == expected
    except OSError:
        return False
