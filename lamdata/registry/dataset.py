"""A dataset of a store -> a draft: its segments as they are, and a commit in which it stands alone."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ..catalog import Card
from ..errors import ConfigError, StoreError
from ..notebook import listed
from ..places import Place, open_place
from ..places.published import STORE, check_name, check_version
from ..statistics import Statistics, merge
from ..store import open_store
from ..store.commits import FORMAT, HINT, VERSION, DatasetEntry, Index
from ..store.layout import SPLITS
from ..store.metadata import group_document
from ..store.named import is_whole, named_objects
from ..store.shard import LEDGER, MANIFEST, SegmentEntry, digest
from .draft import Draft
from .entry import Entry, Listed
from .files import Stored
from .licences import accepted_of


def draft_dataset(store: str, dataset: str | None, *, version: str, name: str | None = None, accept: Iterable[str] = ()) -> Draft:
    """A version of a dataset of a store, or of its only one; raises DataError for a licence that is not known or not free and not in `accept`."""
    opened = open_store(store)
    if dataset is None and len(opened) == 1:
        (dataset,) = opened
    if dataset is None:
        raise ConfigError(f"the store holds {len(opened)} datasets", where=store, hint=f"name one of {listed(list(opened))}")
    if dataset in opened.views:
        hint = f"publish {opened.views[dataset]['of']}, and give the view's name beside it; or `lamdata export` it"
        raise ConfigError(f"{dataset} is a view, and only datasets are published", where=store, hint=hint)
    said = opened.entry(dataset)
    card = Card.model_validate(said.meta["card"])
    licences = {dataset: card.license}
    accepted = accepted_of(licences, accept, where=f"{store}: {dataset}")
    sides = {side: Statistics.from_json(part) for side, part in said.meta["statistics"].items()}
    total = merge(sides.values())
    entry = Entry(
        kind="dataset", name=check_name(name or dataset), version=check_version(version), published="1970-01-01", title=card.title, license=card.license,
        licenses=licences, accepted=accepted, elements=total.elements, theory=[card.theory.summary()],
        frames={side: sides[side].frames if side in sides else 0 for side in SPLITS}, atoms=total.atoms, labels=total.labels,
        data={dataset: said.content_hash}, content=said.content_hash, citations=card.citations,
    )  # fmt: skip
    items = {f"{STORE}/{path}": item for path, item in _store_files(open_place(store), dataset, said).items()}
    return Draft(entry=entry, card=card.model_dump(mode="json"), items=items)


def _store_files(place: Place, dataset: str, said: DatasetEntry) -> dict[str, bytes | Stored]:
    """Every file of a store that holds the dataset alone."""
    alone = Index(number=1, datasets={dataset: said.to_json()})
    items: dict[str, bytes | Stored] = {"commits/00000001.json": alone.to_bytes(), HINT: b"1"}
    items["zarr.json"] = json.dumps(group_document({"format": FORMAT, "version": VERSION})).encode()
    items |= {path: _read_named(place, path) for path in named_objects(said.meta)}
    for segment in said.segments:
        items |= _segment_files(place, segment)
    return items


def _read_named(place: Place, path: str) -> bytes:
    """An object that is named by its content."""
    where, hint = f"{place.url}/{path}", f"`lamdata validate {place.url}`"
    try:
        data = place.read(path)
    except FileNotFoundError:
        raise StoreError("is missing", where=where, hint=hint) from None
    if not is_whole(path, data):
        raise StoreError("does not have the hash that was committed", where=where, hint=hint)
    return data


def _segment_files(place: Place, segment: SegmentEntry) -> dict[str, bytes | Stored]:
    """A segment with the hashes that its manifest has, and the list of what was refused."""
    where, hint = f"{place.url}/{segment.path}/{MANIFEST}", f"`lamdata validate {place.url}`"
    try:
        manifest = place.read(f"{segment.path}/{MANIFEST}")
        objects = json.loads(manifest)["objects"]
        intact = digest(objects) == segment.hash
    except FileNotFoundError:
        raise StoreError("is missing", where=where, hint=hint) from None
    except (ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        raise StoreError("does not have the hash that was committed", where=where, hint=hint)
    items: dict[str, bytes | Stored] = {f"{segment.path}/{MANIFEST}": manifest}
    for path, (size, found) in objects.items():
        items[f"{segment.path}/{path}"] = Stored(place, f"{segment.path}/{path}", Listed(bytes=size, sha256=found))
    if place.size(f"{segment.path}/{LEDGER}"):
        items[f"{segment.path}/{LEDGER}"] = place.read(f"{segment.path}/{LEDGER}")
    return items
