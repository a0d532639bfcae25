"""Store: what a URL holds, listed by one small object; datasets are opened from it by name.

To write: `Survey.of` per piece, `plan_segment` once, `write_shard` for each shard in any process, `seal_segment`, then
`commit`. To read: `open_store`, `open_dataset`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError, StoreError
from ..notebook import html_table, listed, sentence
from ..places import Place, open_place
from .commits import DatasetEntry, Index, read_commit, read_index
from .dataset import Dataset
from .selection import Filter
from .shown import STORE_COLUMNS, store_rows
from .views import read_view, stale


def open_store(url: str | Path, *, commit: int | None = None) -> Store:
    """Open the store at a local path or any fsspec URL, as its newest commit has it, or as the commit of a number that is still kept had it."""
    place = open_place(url)
    index = read_index(place) if commit is None else read_commit(place, commit)
    if index is None:
        raise StoreError("there is no store here", where=place.url, hint="make one with `lamdata ingest`")
    return Store(place, index)


def open_dataset(
    url: str | Path,
    name: str | None = None,
    *,
    split: str | None = None,
    elements: Sequence[int | str] | None = None,
    natoms: tuple[int, int] | None = None,
    max_force: float | None = None,
    where: str | None = None,
    commit: int | None = None,
) -> Dataset:
    """Open a dataset or a named view of a store, or the frames of it that pass a filter; `name` may be left out where one dataset is all.

    `where` is an expression, as "natoms <= 64 and n(O) / natoms > 0.5" (`lamdata.where`). The others are short forms: `elements` keeps frames
    made of nothing else (symbols or atomic numbers), `natoms` those within (smallest, largest), `max_force` those whose forces are known and
    none larger (eV/Å).
    """
    store = open_store(url, commit=commit)
    if name is None:
        if len(store) != 1:
            raise ConfigError(f"the store holds {len(store)} datasets", where=store.url, hint=f"name one of {listed(list(store))}")
        name = next(iter(store))
    return store.open(name, split=split, elements=elements, natoms=natoms, max_force=max_force, where=where)


class Store(Mapping[str, "Dataset"]):
    """Datasets by name, as one commit lists them. Named views, in `views`, open like datasets; they are not counted among these."""

    def __init__(self, place: Place, index: Index):
        self.url, self.commit = place.url, index.number
        self._place, self._index = place, index

    def __getitem__(self, name: str) -> Dataset:
        return self.open(name)

    def __contains__(self, name: object) -> bool:
        return name in self._index.datasets or name in self._index.views

    def __iter__(self) -> Iterator[str]:
        return iter(self._index.datasets)

    def __len__(self) -> int:
        return len(self._index.datasets)

    @property
    def views(self) -> Mapping[str, Mapping[str, Any]]:
        """Name of each view -> `of` (its dataset), `frames`, `asked`, and `stale`: why it no longer opens, or None."""
        return {name: {**entry, "stale": stale(self._index, entry)} for name, entry in self._index.views.items()}

    def meta(self, name: str) -> Mapping[str, Any]:
        """The plain JSON that was committed with a dataset; one object is read for it, in a store of many datasets."""
        meta: Mapping[str, Any] = self._known(name)["meta"]
        return meta

    def entry(self, name: str) -> DatasetEntry:
        """What the commit says of a dataset: its segments and its `meta`, read as `meta` has it."""
        return DatasetEntry.from_json(self._known(name))

    def open(
        self,
        name: str,
        *,
        split: str | None = None,
        elements: Sequence[int | str] | None = None,
        natoms: tuple[int, int] | None = None,
        max_force: float | None = None,
        where: str | None = None,
    ) -> Dataset:
        """Open one dataset or view, filtered as `open_dataset` says."""
        opened = self._open_view(name) if name in self._index.views else Dataset(self._place, name, self.entry(name), Filter())
        return opened.select(split=split, elements=elements, natoms=natoms, max_force=max_force, where=where)

    def _open_view(self, name: str) -> Dataset:
        entry = self._index.views[name]
        if (why := stale(self._index, entry)) is not None:
            hint = f"`lamdata rm {self.url} {name}`, and `lamdata select` it again"
            raise StoreError(f"view `{name}` does not open: {why}", where=self.url, hint=hint)
        return Dataset(self._place, name, self.entry(entry["of"]), Filter(), view=read_view(self._place, name, entry))

    def _known(self, name: str) -> Mapping[str, Any]:
        return self._index.known(name, where=self.url)

    def __repr__(self) -> str:
        return sentence(
            f"Store {self.url}",
            {
                "commit": self.commit,
                f"{len(self)} datasets:": listed(list(self)),
                "views": listed(list(self.views)) if self.views else None,
            },
        )

    def _repr_html_(self) -> str:
        table = html_table(f"Store {self.url}, commit {self.commit}", STORE_COLUMNS, store_rows({name: self.entry(name) for name in self}))
        rows = [(name, view["of"], view["frames"], view["stale"] or "opens") for name, view in self.views.items()]
        return table + (html_table("Views", ("view", "of", "frames", "state"), rows) if rows else "")
