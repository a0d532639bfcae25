"""Store and Dataset: what a URL holds, listed by one object and read frame by frame or in bulk.

To write: `Survey.of` per piece, `plan_segment` once, `write_shard` for each shard in any process, `seal_segment`, then
`commit`. To read: `open_store`, `open_dataset`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..elements import NUMBERS, SYMBOLS
from ..errors import ConfigError, StoreError
from ..frame import Frame
from ..frames import Frames
from ..places import Place, open_place
from ..places.cache import with_cache
from ..places.local import LocalPlace
from .commits import DatasetEntry, Index, read_index
from .load import Part, begin_load
from .segment import Segment
from .selection import Filter, Selection, select

if TYPE_CHECKING:
    from ..catalog import Card
    from ..statistics import Statistics
    from ..theory import Theory

READ_AT_ONCE = 8  # blocks decoded together by the bulk methods: bounds their memory


def open_store(url: str | Path) -> Store:
    """Open the store at a local path or any fsspec URL, as its newest commit has it."""
    place = open_place(url)
    index = read_index(place)
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
) -> Dataset:
    """Open a dataset of a store, or the frames of it that pass a filter; `name` may be left out where there is only one.

    `elements` keeps frames made of nothing else (symbols or atomic numbers), `natoms` those within (smallest, largest).
    """
    store = open_store(url)
    if name is None:
        if len(store) != 1:
            raise ConfigError(f"the store holds {len(store)} datasets", where=store.url, hint=f"name one of {', '.join(store)}")
        name = next(iter(store))
    return store.open(name, split=split, elements=elements, natoms=natoms)


def dataset_key(name: str) -> int:
    """The 64-bit hash of a dataset's name that enters the key of its frames' noise."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


class Store(Mapping[str, "Dataset"]):
    """Datasets by name, as one commit lists them."""

    def __init__(self, place: Place, index: Index):
        self.url, self.commit = place.url, index.number
        self._place, self._index = place, index

    def __getitem__(self, name: str) -> Dataset:
        return self.open(name)

    def __contains__(self, name: object) -> bool:
        return name in self._index.datasets

    def __iter__(self) -> Iterator[str]:
        return iter(self._index.datasets)

    def __len__(self) -> int:
        return len(self._index.datasets)

    def meta(self, name: str) -> Mapping:
        """The plain JSON that was committed with a dataset; nothing is read for it."""
        return self._index.datasets[name]["meta"]

    def open(
        self,
        name: str,
        *,
        split: str | None = None,
        elements: Sequence[int | str] | None = None,
        natoms: tuple[int, int] | None = None,
    ) -> Dataset:
        """Open one dataset, filtered as `open_dataset` says."""
        if name not in self:
            from difflib import get_close_matches

            close = get_close_matches(name, self, n=1)
            raise StoreError(
                f"no dataset `{name}`", where=self.url, hint=f"did you mean `{close[0]}`?" if close else f"it holds {', '.join(self)}"
            )
        return Dataset(self._place, name, self._index.entry(name), Filter()).select(split=split, elements=elements, natoms=natoms)


class Dataset:
    """Frames of one dataset, or those of a filtered view, in store order."""

    def __init__(self, place: Place, name: str, entry: DatasetEntry, wanted: Filter):
        self.name, self.meta, self.filter = name, entry.meta, wanted
        self.key = dataset_key(name)
        self._place, self._entry = place, entry
        self.segments = [Segment(_below(place, segment.path), segment) for segment in entry.segments]
        self._first_index = np.cumsum([0, *(segment.entry.frames for segment in self.segments)])
        self._load_one = lru_cache(maxsize=4)(self._load_block)

    @cached_property
    def card(self) -> Card:
        """The card it was ingested by."""
        from ..catalog import Card

        return Card.model_validate(self.meta["card"])

    @property
    def theory(self) -> Theory:
        """How its labels were computed."""
        return self.card.theory

    @cached_property
    def statistics(self) -> Statistics:
        """What was measured at ingest: of the split that this view holds, or of all of them."""
        from ..statistics import Statistics, merge

        parts, side = self.meta["statistics"], self.filter.split  # a split without frames may have none
        return merge([Statistics.from_json(part) for name, part in parts.items() if side in (None, name)])

    @property
    def references(self) -> Mapping | None:
        """Reference energies fitted at ingest, as committed; never subtracted in the store."""
        return self.meta.get("references")

    @property
    def isolated_atoms(self) -> dict[str, float]:
        """Energies of free atoms in eV by element, as the sources or the card state them; {} where neither does."""
        return {symbol: atom["energy"] for symbol, atom in self.meta.get("isolated_atoms", {}).items()}

    @property
    def elements(self) -> list[str]:
        """Symbols of the elements that occur in the whole dataset, by atomic number."""
        return [SYMBOLS[z] for z in sorted({z for segment in self.segments for z in segment.entry.elements})]

    @property
    def content_hash(self) -> str:
        """sha256 of the content of the whole dataset: equal for equal frames, whoever wrote them."""
        hashes = "".join(f"{segment.entry.hash}\n" for segment in self.segments)
        return hashlib.sha256(hashes.encode()).hexdigest()

    def select(
        self, *, split: str | None = None, elements: Sequence[int | str] | None = None, natoms: tuple[int, int] | None = None
    ) -> Dataset:
        """Return the view of the whole dataset that passes a filter, as `open_dataset` has it."""
        numbers = None if elements is None else frozenset(_atomic_number(x) for x in elements)
        wanted = Filter(split=split, elements=numbers, natoms=None if natoms is None else tuple(natoms))
        return Dataset(self._place, self.name, self._entry, wanted)

    @property
    def lossless(self) -> bool:
        """Whether its floating arrays are float64."""
        return all(segment.plan.profile == "lossless" for segment in self.segments)

    @cached_property
    def _selections(self) -> list[Selection]:
        return [select(segment, self.filter) for segment in self.segments]

    @cached_property
    def block_counts(self) -> NDArray[np.int64]:
        """(S,) selected frames of each block that holds any, over all segments: what a shuffle needs to know."""
        return np.concatenate([selection.counts for selection in self._selections])

    @cached_property
    def _block_places(self) -> list[tuple[int, int]]:
        """(S,) segment and block of each selected block."""
        return [(s, block) for s, selection in enumerate(self._selections) for block in selection.blocks.tolist()]

    @cached_property
    def _frame_starts(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.block_counts)])

    def __len__(self) -> int:
        return int(self.block_counts.sum())

    def __getitem__(self, i: int) -> Frame:
        """One frame, with its group and origin."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"frame {i} of {len(self)}")
        block, row = self._locate(i % len(self))
        frame = next(iter(self._load_one(block).part(row, row + 1)))
        groups, origins, _ = self._labels(block)
        return replace(frame, group=groups[row], origin=origins[row])

    def labels(self, start: int, stop: int) -> tuple[list[str], list[str], NDArray[np.uint8]]:
        """Groups, origins and splits (0 train, 1 validation, 2 test) of frames `start:stop`."""
        (first, skip), (last, _) = self._locate(start), self._locate(stop - 1)
        groups, origins, splits = zip(*(self._labels(block) for block in range(first, last + 1)))
        wanted = slice(skip, skip + stop - start)
        return sum(groups, [])[wanted], sum(origins, [])[wanted], np.concatenate(splits)[wanted]

    def _labels(self, block: int) -> tuple[list[str], list[str], NDArray[np.uint8]]:
        """The same of the selected frames of one block."""
        s, local = self._block_places[block]
        segment = self.segments[s]
        read = segment.read(("group", "origin", "split"), [local])
        rows = self._selections[s].rows.get(local, slice(0, int(self.block_counts[block])))
        texts = ([bytes(row).rstrip(b"\0").decode() for row in read[name][0][rows]] for name in ("group", "origin"))
        split = read["split"][0][rows] if "split" in read else np.full(self.block_counts[block], segment.array("split").constant, np.uint8)
        return *texts, split

    def _locate(self, i: int) -> tuple[int, int]:
        block = int(np.searchsorted(self._frame_starts, i, side="right")) - 1
        return block, i - int(self._frame_starts[block])

    def _load_block(self, block: int) -> Frames:
        return self.load([block])

    def load(self, blocks: Sequence[int], order: NDArray[np.integer] | None = None) -> Frames:
        """Decode frames of selected blocks (numbers into `block_counts`).

        They are counted through the blocks in the order given; `order` names those that are wanted, in which order: at most once each.
        """
        return self.begin_load(blocks, order)()

    def begin_load(
        self, blocks: Sequence[int], order: NDArray[np.integer] | None = None, *, head: int = 0, epoch: int = 0
    ) -> Callable[[], Frames]:
        """Ask for the bytes of frames, as `load` has them; the call that is returned waits for them and decodes."""
        by_segment: dict[int, list[int]] = {}
        for b in blocks:
            by_segment.setdefault(self._block_places[b][0], []).append(b)
        parts, rows, row = [], {}, 0
        for s, mine in by_segment.items():
            local, first, size = [self._block_places[b][1] for b in mine], row, self.segments[s].plan.block_frames
            for b, block in zip(mine, local):
                kept = self._selections[s].rows.get(block)
                rows[b] = np.arange(row, row + self.block_counts[b]) if kept is None else row + kept
                row += size
            parts.append(Part(segment=self.segments[s], first_index=int(self._first_index[s]), blocks=local, rows=slice(first, row)))
        counted = np.concatenate([rows[b] for b in blocks])
        return begin_load(parts, counted if order is None else counted[order], dataset=self.key, head=head, epoch=epoch)

    @property
    def distant(self) -> bool:
        """Whether it pays to ask for bytes long before they are needed."""
        return not isinstance(self._place, LocalPlace)

    def frames(self, start: int = 0, stop: int | None = None) -> Frames:
        """Frames `start:stop` of the view as one `Frames`."""
        stop = len(self) if stop is None else min(stop, len(self))
        if not 0 <= start < stop:
            raise IndexError(f"frames {start}:{stop} of {len(self)}")
        (first, _), (last, _) = self._locate(start), self._locate(stop - 1)
        parts = []
        for b in range(first, last + 1, READ_AT_ONCE):
            blocks = range(b, min(b + READ_AT_ONCE, last + 1))
            begin = int(self._frame_starts[b])
            counted = min(int(self._frame_starts[blocks.stop]), stop) - begin
            parts.append(self.load(blocks, np.arange(max(start - begin, 0), counted)))
        return Frames.concatenate(parts) if len(parts) > 1 else parts[0]

    def batches(
        self, *, batch_frames: int | None = None, batch_atoms: int | None = None, rank: int = 0, world: int = 1
    ) -> Iterator[Frames]:
        """Every frame once in store order, for evaluation; rank r of `world` takes every world-th frame, from the r-th on."""
        from .batching import cut_batches

        for b in range(0, len(self.block_counts), READ_AT_ONCE):
            blocks = range(b, min(b + READ_AT_ONCE, len(self.block_counts)))
            begin, end = self._frame_starts[[blocks.start, blocks.stop]].tolist()
            mine = np.arange((rank - begin) % world, end - begin, world)
            if len(mine):
                yield from cut_batches(self.load(blocks, mine), batch_frames=batch_frames, batch_atoms=batch_atoms)

    @cached_property
    def natoms(self) -> NDArray[np.int32]:
        """(F,) atoms of each frame of the view."""
        counts = []
        for segment, selection in zip(self.segments, self._selections):
            array, blocks = segment.array("natoms"), selection.blocks.tolist()
            read = None if array.constant is not None else segment.read(("natoms",), blocks)["natoms"]
            for i, (block, count) in enumerate(zip(blocks, selection.counts.tolist())):
                rows = selection.rows.get(block, slice(0, count))
                counts.append(np.full(count, array.constant, np.int32) if read is None else read[i][rows])
        return np.concatenate(counts)

    def to_ase(self, i: int):
        """Frame `i` as `ase.Atoms`."""
        return self[i].to_ase()

    def to_xarray(self, segment: int = 0):
        """One segment as an `xarray.Dataset` (lazy, unfiltered): named dimensions, units, long names."""
        import warnings

        import xarray
        from zarr.errors import ZarrUserWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ZarrUserWarning)  # fixedscaleoffset is numcodecs' name for a codec, not Zarr's own
            return xarray.open_zarr(self.segments[segment].url, consolidated=True, chunks=None)


def _below(place: Place, path: str) -> Place:
    """A segment's place; its bytes never change, so they may be kept nearer."""
    below = open_place(f"{place.url}/{path}")
    return below if isinstance(below, LocalPlace) else with_cache(below)


def _atomic_number(element: int | str) -> int:
    if isinstance(element, str) and element not in NUMBERS:
        raise ConfigError(f"unknown element {element!r}")
    return NUMBERS[element] if isinstance(element, str) else int(element)
