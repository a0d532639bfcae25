"""Pages: what the commit of a store of many datasets says of them, some dozens an object, named by the hash of its bytes; the commit names the pages and who is on each.

Names stand in order, and a page begins at each whose hash says so, wherever the others are. So the names alone decide the pages: whoever adds, changes or takes away a dataset writes
one page anew, or two. Pages that no commit names any more are left to `gc`. A store of few datasets has none: its commit holds all.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any

from ..errors import StoreError
from ..places import Place
from .named import is_whole, path_of

FOLDER = "pages"
OBJECT = re.compile(rf"{FOLDER}/[0-9a-f]{{16}}\.json")  # a dataset may have this name too: its folder holds folders
INLINE = 1000  # datasets up to which a commit holds what it says of them: 2.5 MB or so, which opens by one request
MEAN = 64  # datasets of a page
OPEN = 4  # pages held in memory

Entry = Mapping[str, Any]


class Pages(Mapping[str, Entry]):
    """Datasets by name, in order; a page is read when what it says is asked for. Raises StoreError where it is not what was written."""

    def __init__(self, place: Place, names: Mapping[str, list[str]]):
        self.names = names  # path of each page -> who is on it
        self._place = place
        self._page_of = {name: path for path, some in names.items() for name in some}
        self._read = lru_cache(OPEN)(partial(read_page, place))

    @staticmethod
    def from_json(place: Place, said: Any) -> Pages | None:
        """What a commit says of its pages; `None` where that makes no sense."""
        if not isinstance(said, dict) or not all(map(OBJECT.fullmatch, said)) or not all(isinstance(some, list) for some in said.values()):
            return None
        return Pages(place, said) if all(isinstance(name, str) for some in said.values() for name in some) else None

    def __getitem__(self, name: str) -> Entry:
        path = self._page_of[name]
        entry = self._read(path).get(name)
        if not isinstance(entry, dict):
            raise StoreError(f"`{name}` is not on its page", where=f"{self._place.url}/{path}", hint="run `lamdata validate`")
        return entry

    def __contains__(self, name: object) -> bool:
        return name in self._page_of

    def __iter__(self) -> Iterator[str]:
        return iter(self._page_of)

    def __len__(self) -> int:
        return len(self._page_of)


def read_page(place: Place, path: str) -> Mapping[str, Entry]:
    """What a page says of each of its datasets."""
    where, hint = f"{place.url}/{path}", f"give the command again, or run `lamdata validate {place.url}`"
    try:
        data = place.read(path)
    except FileNotFoundError:
        raise StoreError("a page of the commit is missing", where=where, hint=hint) from None
    found = json.loads(data) if is_whole(path, data) else None
    if not isinstance(found, dict):
        raise StoreError("a page of the commit is damaged", where=where, hint=hint)
    return found


def with_entry(place: Place, old: Mapping[str, Entry], name: str, entry: Entry | None) -> Mapping[str, Entry]:
    """The same datasets with one of them as `entry` says, or, for `None`, without it; the pages that this takes are written."""
    names = sorted({*old} - {name} if entry is None else {*old, name})

    def said(some: Iterable[str]) -> dict[str, Entry]:
        return {each: entry if entry is not None and each == name else old[each] for each in some}

    if len(names) <= INLINE:
        return said(names)
    there = {tuple(some): path for path, some in old.names.items()} if isinstance(old, Pages) else {}
    pages = {}
    for some in cut(names):
        path = there.get(tuple(some)) if name not in some else None
        pages[path or _write(place, said(some))] = some
    return Pages(place, pages)


def cut(names: Iterable[str]) -> Iterator[list[str]]:
    """Names in order -> those of each page."""
    page: list[str] = []
    for name in names:
        if page and int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % MEAN == 0:
            yield page
            page = []
        page.append(name)
    if page:
        yield page


def _write(place: Place, entries: Mapping[str, Entry]) -> str:
    data = json.dumps(entries, separators=(",", ":")).encode()
    path = path_of(FOLDER, data)
    place.write(path, data)
    return path
