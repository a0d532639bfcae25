"""Commits: the index of a store, one small object each, created once and never changed.

`commits/00000042.json` holds everything that a reader needs to list the store and to find its segments. A writer adds a dataset by
creating the next number; where another writer took it first, it merges and tries again. Old commits are pruned, the newest kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import StoreError
from ..places import Place, open_place
from .metadata import group_document
from .shard import SegmentEntry

FORMAT, VERSION = "lamdata", 2
KEPT = 8  # commits left for readers that listed before newer ones came
ATTEMPTS = 50
HINT = "commits/latest"  # for places that cannot list, such as plain http; listing decides where it works


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetEntry:
    """What an index says of a dataset: its segments in order, and the `meta` its writer gave (plain JSON)."""

    segments: tuple[SegmentEntry, ...]
    meta: Mapping

    def to_json(self) -> dict:
        return {"segments": [segment.to_json() for segment in self.segments], "meta": dict(self.meta)}

    @staticmethod
    def from_json(data: Mapping) -> DatasetEntry:
        return DatasetEntry(segments=tuple(SegmentEntry.from_json(x) for x in data["segments"]), meta=data["meta"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """One commit. Entries stay plain JSON until they are asked for: a store of 1,000 datasets opens by parsing one document."""

    number: int = 0
    datasets: Mapping[str, Mapping] = field(default_factory=dict)

    def entry(self, name: str) -> DatasetEntry:
        return DatasetEntry.from_json(self.datasets[name])

    def to_bytes(self) -> bytes:
        body = {"format": FORMAT, "version": VERSION, "commit": self.number, "datasets": dict(sorted(self.datasets.items()))}
        return json.dumps(body, separators=(",", ":")).encode()

    @staticmethod
    def from_bytes(data: bytes, *, where: str) -> Index:
        try:
            body = json.loads(data)
            found, version = body["format"], body["version"]
        except (ValueError, KeyError, TypeError) as err:
            raise StoreError("this is not a commit of a lamdata store", where=where) from err
        if found == FORMAT and version < VERSION:
            raise StoreError(
                f"format {found} version {version}, this program reads version {VERSION}", where=where, hint="ingest into a new store"
            )
        if found != FORMAT or version > VERSION:
            raise StoreError(
                f"format {found} version {version}, this program reads {FORMAT} up to version {VERSION}", where=where, hint="upgrade lam"
            )
        return Index(number=body["commit"], datasets=body["datasets"])


def read_index(place: Place) -> Index | None:
    """Return the newest commit, or `None` where there is no store."""
    for _ in range(ATTEMPTS):
        number = _newest(place)
        if number is None:
            return None
        try:
            return Index.from_bytes(place.read(_path(number)), where=f"{place.url}/{_path(number)}")
        except FileNotFoundError:
            continue  # pruned between listing and reading: there are newer ones
    raise StoreError("commits vanish faster than they can be read", where=place.url)


def commit(store_url: str, dataset: str, segments: Sequence[SegmentEntry], meta: Mapping, *, append: bool = False) -> int:
    """Make `segments` the content of `dataset` (or add them to it) and return the commit's number.

    `meta` is plain JSON and replaces the earlier one. Committing what is already there changes nothing.
    """

    def change(old: Mapping | None) -> Mapping:
        kept = [] if old is None or not append else old["segments"]
        added = [segment.to_json() for segment in segments]
        known = {segment["path"] for segment in added}
        return {"segments": [*(x for x in kept if x["path"] not in known), *added], "meta": json.loads(json.dumps(meta))}

    return _land(store_url, dataset, change)


def remove(store_url: str, dataset: str) -> int:
    """Take `dataset` out of the index; its segments stay until `compact.clean`."""
    return _land(store_url, dataset, lambda old: None)


def referenced_segments(store_url: str) -> set[str]:
    """Paths of all segments that any kept commit names: a reader may still be at an older one."""
    place = open_place(store_url)
    found = set()
    for number in _numbers(place):
        try:
            index = Index.from_bytes(place.read(_path(number)), where=f"{place.url}/{_path(number)}")
        except FileNotFoundError:
            continue
        found |= {segment["path"] for entry in index.datasets.values() for segment in entry["segments"]}
    return found


def _land(store_url: str, dataset: str, change: Callable[[Mapping | None], Mapping | None]) -> int:
    """Create the next commit with `dataset` changed; merge with other writers, refuse if they changed the same dataset."""
    place = open_place(store_url)
    based_on = _dataset(read_index(place), dataset)
    wanted = change(based_on)
    for _ in range(ATTEMPTS):
        index = read_index(place) or Index()
        current = _dataset(index, dataset)
        if current == wanted:
            _tidy(place, index.number)
            return index.number
        if current != based_on:
            raise StoreError(f"another writer changed dataset `{dataset}` meanwhile", where=store_url, hint="run the command again")
        others = {name: entry for name, entry in index.datasets.items() if name != dataset}
        new = Index(number=index.number + 1, datasets=others if wanted is None else others | {dataset: wanted})
        if place.size("zarr.json") is None:
            place.write("zarr.json", json.dumps(group_document({"format": FORMAT, "version": VERSION})).encode())
        if place.create(_path(new.number), new.to_bytes()):
            _tidy(place, new.number)
            return new.number
    raise StoreError(f"other writers took {ATTEMPTS} commits in a row", where=store_url, hint="run the command again")


def _dataset(index: Index | None, name: str) -> Mapping | None:
    return None if index is None else index.datasets.get(name)


def _tidy(place: Place, newest: int) -> None:
    """Prune old commits and refresh the hint; a kill before or in here leaves a valid store, and the next writer goes on."""
    for number in _numbers(place):
        if number <= newest - KEPT:
            place.remove(_path(number))
    place.write(HINT, str(newest).encode())


def _newest(place: Place) -> int | None:
    numbers = _numbers(place)
    if numbers:
        return numbers[-1]
    try:
        return int(place.read(HINT))
    except FileNotFoundError:
        return None


def _numbers(place: Place) -> list[int]:
    return sorted(int(name.removesuffix(".json")) for name in place.list("commits") if name.endswith(".json"))


def _path(number: int) -> str:
    return f"commits/{number:08d}.json"
