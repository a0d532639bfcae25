"""Commits: the index of a store, one small object each, created once and never changed.

`commits/00000042.json` holds everything that a reader needs to list the store and to find its segments; of many datasets it names `pages` that do. A writer adds a dataset by
creating the next number; where another writer took it first, it merges and tries again. Old commits are pruned, the newest kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Literal

from ..errors import ConfigError, StoreError
from ..notebook import listed
from ..places import Place, open_place
from .metadata import group_document
from .named import named_objects
from .pages import Pages, read_page, with_entry
from .shard import MANIFEST, SegmentEntry

FORMAT, VERSION, OLDEST = "lamdata", 3, 2  # version 2 has energies by composition inside the commit
PAGED = 4  # is 3 with pages, and written where there are some
KEPT = 8  # commits left for readers that listed before newer ones came
ATTEMPTS = 50
HINT = "commits/latest"  # for places that cannot list, such as plain http; listing decides where it works


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetEntry:
    """What an index says of a dataset: its segments in order, and the `meta` its writer gave (plain JSON)."""

    segments: tuple[SegmentEntry, ...]
    meta: Mapping[str, Any]

    @property
    def content_hash(self) -> str:
        """sha256 of all segments, in order."""
        return hashlib.sha256("".join(f"{segment.hash}\n" for segment in self.segments).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        return {"segments": [segment.to_json() for segment in self.segments], "meta": dict(self.meta)}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> DatasetEntry:
        return DatasetEntry(segments=tuple(SegmentEntry.from_json(x) for x in data["segments"]), meta=data["meta"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """One commit. Entries stay plain JSON until they are asked for, and those of many datasets unread."""

    number: int = 0
    datasets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    views: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # name -> what `views.to_index` says of some frames of a dataset

    def entry(self, name: str) -> DatasetEntry:
        return DatasetEntry.from_json(self.datasets[name])

    def known(self, name: str, *, where: str) -> Mapping[str, Any]:
        """What it says of a dataset, as plain JSON; an error that helps where it has no such dataset."""
        if name not in self.datasets:
            names = [*self.datasets, *self.views]
            close = get_close_matches(name, names, n=1)
            hint = f"did you mean `{close[0]}`?" if close else f"it holds {listed(names)}"
            raise StoreError(f"no dataset `{name}`", where=where, hint=hint)
        return self.datasets[name]

    def to_bytes(self) -> bytes:
        pages = self.datasets.names if isinstance(self.datasets, Pages) else None
        body: dict[str, Any] = {"format": FORMAT, "version": VERSION if pages is None else PAGED, "commit": self.number}
        body |= {"datasets": dict(sorted(self.datasets.items()))} if pages is None else {"pages": pages}
        body |= {"views": dict(sorted(self.views.items()))} if self.views else {}
        return json.dumps(body, separators=(",", ":")).encode()

    @staticmethod
    def from_bytes(data: bytes, *, place: Place, where: str) -> Index:
        """Back from `to_bytes`; `place` is where the pages are."""
        try:
            body = json.loads(data)
            found, version = body["format"], int(body["version"])
        except (ValueError, KeyError, TypeError) as err:
            raise StoreError("this is not a commit of a lamdata store", where=where) from err
        if found == FORMAT and version < OLDEST:
            raise StoreError(
                f"format {found} version {version}, this program reads version {OLDEST} and later",
                where=where,
                hint="ingest into a new store",
            )
        if found != FORMAT or version > PAGED:
            raise StoreError(
                f"format {found} version {version}, this program reads {FORMAT} up to version {PAGED}", where=where, hint="upgrade lam"
            )
        number, views = body.get("commit"), body.get("views", {})
        datasets = Pages.from_json(place, body["pages"]) if "pages" in body else body.get("datasets")
        if not isinstance(number, int) or not isinstance(datasets, dict | Pages) or not isinstance(views, dict):
            raise StoreError("this is not a commit of a lamdata store", where=where)
        return Index(number=number, datasets=datasets, views=views)


def read_index(place: Place) -> Index | None:
    """Return the newest commit, or `None` where there is no store."""
    for _ in range(ATTEMPTS):
        number = _newest(place)
        if number is None:
            return None
        try:
            return _read(place, number)
        except FileNotFoundError:
            continue  # pruned between listing and reading: there are newer ones
    raise StoreError("commits vanish faster than they can be read", where=place.url)


def read_commit(place: Place, number: int) -> Index:
    """Return an old commit, as long as it is kept."""
    try:
        return _read(place, number)
    except FileNotFoundError as err:
        newest = _newest(place)
        if newest is None:
            raise StoreError("there is no store here", where=place.url, hint="make one with `lamdata ingest`") from err
        kept = kept_commits(place) or [newest]
        raise StoreError(f"there is no commit {number}", where=place.url, hint=f"it keeps {', '.join(map(str, kept))}") from err


def commit(store_url: str, dataset: str, segments: Sequence[SegmentEntry], meta: Mapping[str, Any], *, append: bool = False) -> int:
    """Make `segments` the content of `dataset` (or add them to it) and return the commit's number.

    `meta` is plain JSON and replaces the earlier one. Committing what is already there changes nothing.
    """
    place = open_place(store_url)
    for segment in segments:
        if place.size(f"{segment.path}/{MANIFEST}") is None:
            raise StoreError("is not there, or not sealed", where=f"{place.url}/{segment.path}", hint="run the command again")
    for path in named_objects(meta):
        if place.size(path) is None:
            raise StoreError("is not there", where=f"{place.url}/{path}", hint="run the command again")

    def change(old: Mapping[str, Any] | None) -> Mapping[str, Any]:
        kept = [] if old is None or not append else old["segments"]
        added = [segment.to_json() for segment in segments]
        known = {segment["path"] for segment in added}
        return {"segments": [*(x for x in kept if x["path"] not in known), *added], "meta": json.loads(json.dumps(meta))}

    return _land(store_url, "datasets", dataset, change)


def commit_view(store_url: str, name: str, entry: Mapping[str, Any]) -> int:
    """Name some frames of a dataset and return the commit's number. The name must be free, or stand for the same."""

    def change(old: Mapping[str, Any] | None) -> Mapping[str, Any]:
        if old not in (None, entry):
            raise ConfigError(
                f"view `{name}` is there already", where=store_url, hint=f"`lamdata rm {store_url} {name}`, or another --name"
            )
        return entry

    return _land(store_url, "views", name, change)


def remove(store_url: str, name: str) -> int:
    """Take a dataset or a view out of the newest commit and return its number; older ones keep it, and the bytes stay until `gc`."""
    index = read_index(open_place(store_url))
    if index is None:
        raise StoreError("there is no store here", where=store_url)
    if name in index.views:
        return _land(store_url, "views", name, lambda old: None)
    index.known(name, where=store_url)
    if views := [view for view, entry in index.views.items() if entry["of"] == name]:
        commands = " && ".join(f"lamdata rm {store_url} {view}" for view in views)
        raise ConfigError(f"{', '.join(views)} {'is a view' if len(views) == 1 else 'are views'} of {name}", where=store_url, hint=commands)
    return _land(store_url, "datasets", name, lambda old: None)


def named_paths(place: Place, numbers: Sequence[int], known: dict[str, set[str]]) -> set[str]:
    """Paths of all pages, segments, views and objects by name that some commits name; a commit that is pruned meanwhile names none.

    `known` keeps what each commit and each page names, for neither ever changes. A page of the newest commit that cannot be read is an error, for what it names is not to
    be taken for garbage; one of an older commit may be gone, where its writer came so late that its number had been pruned.
    """
    for number in numbers:
        if _path(number) not in known:
            with suppress(FileNotFoundError):
                known[_path(number)] = _named_by(place, _read(place, number), known, newest=number == max(numbers))
    return set().union(*(known.get(_path(number), ()) for number in numbers))


def _named_by(place: Place, index: Index, known: dict[str, set[str]], *, newest: bool) -> set[str]:
    found = {entry["object"] for entry in index.views.values()}
    if not isinstance(index.datasets, Pages):
        return found | _named_in(index.datasets)
    for path in index.datasets.names:
        if path not in known:
            if not newest and place.size(path) is None:
                continue
            known[path] = {path} | _named_in(read_page(place, path))
        found |= known[path]
    return found


def _named_in(entries: Mapping[str, Mapping[str, Any]]) -> set[str]:
    segments = {segment["path"] for entry in entries.values() for segment in entry["segments"]}
    return segments.union(*(named_objects(entry["meta"]) for entry in entries.values()))


def prune(place: Place, *, keep: int) -> None:
    """Forget all but the newest commits."""
    for number in kept_commits(place)[:-keep]:
        place.remove(_path(number))


Kind = Literal["datasets", "views"]
OTHER: dict[Kind, Kind] = {"datasets": "views", "views": "datasets"}


def _land(store_url: str, kind: Kind, name: str, change: Callable[[Mapping[str, Any] | None], Mapping[str, Any] | None]) -> int:
    """Create the next commit with a dataset or a view changed; merge with other writers, refuse if they changed the same one."""
    place = open_place(store_url)
    based_on = getattr(read_index(place) or Index(), kind).get(name)
    wanted = change(based_on)
    for _ in range(ATTEMPTS):
        index = read_index(place) or Index()
        entries: Mapping[str, Mapping[str, Any]] = getattr(index, kind)
        current = entries.get(name)
        if current == wanted:
            _tidy(place, index.number)
            return index.number
        if current != based_on:
            raise StoreError(f"another writer changed {kind[:-1]} `{name}` meanwhile", where=store_url, hint="run the command again")
        if wanted is not None and name in getattr(index, OTHER[kind]):
            raise ConfigError(f"`{name}` is the name of a {OTHER[kind][:-1]} here", where=store_url, hint="choose another name")
        if kind == "datasets":
            new = replace(index, number=index.number + 1, datasets=with_entry(place, entries, name, wanted))
        else:
            others = {other: entry for other, entry in entries.items() if other != name}
            new = replace(index, number=index.number + 1, views=others if wanted is None else others | {name: wanted})
        if place.size("zarr.json") is None:
            place.write("zarr.json", json.dumps(group_document({"format": FORMAT, "version": VERSION})).encode())
        if place.create(_path(new.number), new.to_bytes()) and _newest(place) == new.number:
            _tidy(place, new.number)
            return new.number
        # Where there are newer ones all the same, they stand on this one, or its number was free because it had come and been pruned: the next look tells.
    raise StoreError(f"other writers took {ATTEMPTS} commits in a row", where=store_url, hint="run the command again")


def _tidy(place: Place, newest: int) -> None:
    """Prune old commits and refresh the hint; a kill before or in here leaves a valid store, and the next writer goes on.

    Of many old ones it takes the newest: where 200 writers land at once, each would otherwise remove what all of them left.
    """
    for number in [number for number in kept_commits(place) if number <= newest - KEPT][-KEPT:]:
        place.remove(_path(number))
    place.write(HINT, str(newest).encode())


def _newest(place: Place) -> int | None:
    numbers = kept_commits(place)
    if numbers:
        return numbers[-1]
    try:
        return int(place.read(HINT))
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        hint = f"`lamdata init FOLDER --from {place.url}` proposes a card for raw files, and `lamdata ingest` makes a store of it"
        raise StoreError("this is a file, and a store is a folder", where=place.url, hint=hint) from None


def kept_commits(place: Place) -> list[int]:
    """Numbers of the commits that can still be opened, ascending; none where a place cannot list."""
    return sorted(int(name.removesuffix(".json")) for name in place.list("commits") if name.endswith(".json"))


def _read(place: Place, number: int) -> Index:
    """A commit; FileNotFoundError where it was pruned."""
    return Index.from_bytes(place.read(_path(number)), place=place, where=f"{place.url}/{_path(number)}")


def _path(number: int) -> str:
    return f"commits/{number:08d}.json"
