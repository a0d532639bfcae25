"""Dataset: frames of a store, or a filtered view of them, frame by frame, in bulk, or as named arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from itertools import chain
from operator import index
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

from ..elements import NUMBERS, SYMBOLS
from ..errors import ConfigError
from ..frame import Frame
from ..frames import Frames
from ..notebook import facts_table, sentence
from ..places import Place, open_place
from ..places.cache import with_cache
from ..places.local import LocalPlace
from .arrays import frame_values, labels_of, to_xarray
from .commits import DatasetEntry
from .layout import COLUMNS, FRAMES_PER_BLOCK, NOT_STREAMED, infos_of
from .load import Part, begin_load
from .segment import Segment
from .selection import Filter, Selection, check_keys, select
from .shown import dataset_facts
from .views import NamedView

if TYPE_CHECKING:
    import xarray
    from ase import Atoms

    from ..catalog import Card
    from ..energies import Energies
    from ..statistics import Statistics
    from ..theory import Theory

READ_AT_ONCE = 8  # blocks decoded together by the bulk methods: bounds their memory


def dataset_key(name: str) -> int:
    """The 64-bit hash of a dataset's name that enters the key of its frames' noise."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


class Dataset:
    """Frames of one dataset, or those of a view of it (with a name, filtered, or both), in store order."""

    def __init__(self, place: Place, name: str, entry: DatasetEntry, wanted: Filter, *, view: NamedView | None = None):
        self.name, self.filter, self.view = name, wanted, view
        self.meta = entry.meta if view is None else {**entry.meta, **view.facts}
        self.key = dataset_key(name if view is None else view.of)  # a frame has the same noise wherever it is found
        self._place, self._entry = place, entry
        self.segments = [Segment(_below(place, segment.path), segment) for segment in entry.segments]
        self._first_index = np.cumsum([0, *(segment.entry.frames for segment in self.segments)])
        self._load_one = lru_cache(maxsize=4)(self._load_block)
        self._texts_of = lru_cache(maxsize=4)(partial(labels_of, self))
        self._infos_of = lru_cache(maxsize=4)(self._infos)

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
        """Of the frames of this view: as measured at ingest, or measured now where a filter keeps more than a split apart."""
        from ..statistics import Statistics, merge

        if not self.filter.of_splits:
            return self._measured[0]
        sides = self.meta["statistics"].items()
        return merge(Statistics.from_json(part) for side, part in sides if self.filter.split in (None, side))

    @cached_property
    def energies(self) -> Energies:
        """What `lamdata.energies.fit_references` needs of the frames of this view, as measured at ingest, or now."""
        from ..energies import merge_energies
        from .energies import energies_in

        if not self.filter.of_splits:
            return self._measured[1]
        sides = [side for side in self.meta["statistics"] if self.filter.split in (None, side)]
        return merge_energies(energies_in(self._place, self.meta, side) for side in sides)

    @cached_property
    def _measured(self) -> tuple[Statistics, Energies]:
        return self.measure()

    def measure(self) -> tuple[Statistics, Energies]:
        """What is known of the frames of this view, all of which are read."""
        from ..energies import Energies
        from ..statistics import Statistics

        found = Statistics(), Energies()
        for frames in self.batches(batch_frames=READ_AT_ONCE * FRAMES_PER_BLOCK):
            found[0].add(frames, shortest=frames.shortest)
            found[1].add(frames)
        return found

    @property
    def references(self) -> Mapping[str, Any] | None:
        """Reference energies fitted at ingest, as committed; never subtracted in the store."""
        return self.meta.get("references")

    @property
    def isolated_atoms(self) -> dict[str, float]:
        """Energies of free atoms in eV by element, as the sources or the card state them; {} where neither does."""
        return {symbol: atom["energy"] for symbol, atom in self.meta.get("isolated_atoms", {}).items()}

    @property
    def elements(self) -> list[str]:
        """Symbols of the elements that occur in the whole dataset or named view, those that a filter leaves out left out, by atomic number."""
        present = {z for segment in self.segments for z in segment.entry.elements}
        if self.view is not None:
            present = {NUMBERS[symbol] for side in self.view.facts["statistics"].values() for symbol in side["element_atoms"]}
        return [SYMBOLS[z] for z in sorted(present if self.filter.elements is None else present & self.filter.elements)]

    @property
    def content_hash(self) -> str:
        """sha256 of the content of the whole dataset, or of that and the frames of a named view: equal for equal bytes, whoever wrote them."""
        return self._entry.content_hash if self.view is None else self.view.digest

    @property
    def whole(self) -> Dataset:
        """The dataset that this is, or of which it is a view: all its frames."""
        return Dataset(self._place, self.name if self.view is None else self.view.of, self._entry, Filter())

    def among(self, name: str, view: NamedView) -> Dataset:
        """The frames of the dataset that a view holds, under its name."""
        return Dataset(self._place, name, self._entry, Filter(), view=view)

    def select(
        self,
        *,
        split: str | None = None,
        elements: Sequence[int | str] | None = None,
        natoms: tuple[int, int] | None = None,
        max_force: float | None = None,
        where: str | None = None,
    ) -> Dataset:
        """Return the frames of the whole dataset, or of the named view, that pass a filter, as `open_dataset` has it."""
        numbers = None if elements is None else frozenset(_atomic_number(x) for x in elements)
        sizes = None if natoms is None else (natoms[0], natoms[1])
        wanted = Filter(split=split, elements=numbers, natoms=sizes, max_force=max_force, where=where)
        return Dataset(self._place, self.name, self._entry, wanted, view=self.view)

    @property
    def lossless(self) -> bool:
        """Whether its floating arrays are float64."""
        return all(segment.plan.profile == "lossless" for segment in self.segments)

    @cached_property
    def _selections(self) -> list[Selection]:
        check_keys(self.filter.condition, self.meta)
        kept = None if self.view is None else self.view.kept
        fitted = (self.references or {}).get("energies")
        references = None if fitted is None else {NUMBERS[symbol]: energy for symbol, energy in fitted.items()}
        return [
            select(segment, self.filter, among=None if kept is None else kept[first : first + segment.entry.frames], references=references)
            for segment, first in zip(self.segments, self._first_index.tolist())
        ]

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

    @overload
    def __getitem__(self, i: int | np.integer) -> Frame: ...

    @overload
    def __getitem__(self, i: slice | Sequence[int] | NDArray[np.integer | np.bool_]) -> list[Frame]: ...

    def __getitem__(self, i: int | np.integer | slice | Sequence[int] | NDArray[np.integer | np.bool_]) -> Frame | list[Frame]:
        """One frame with its group and origin; a list of them for a slice, a list of rows or an array of flags.

        Negative rows count from the end. `frames(start, stop)` gives the same rows as flat arrays, which take less memory.

        >>> dataset[0], dataset[-1]  # doctest: +SKIP
        >>> dataset[:3], dataset[[5, 2]], dataset[dataset.natoms < 10]  # doctest: +SKIP
        """
        if isinstance(i, SupportsIndex) and not isinstance(i, np.ndarray):
            [row] = checked_rows([index(i)], len(self), of=self.name).tolist()
            return self._frame(row)
        rows = np.arange(len(self))[i] if isinstance(i, slice) else checked_rows(i, len(self), of=self.name)
        return self._frames_at(rows)

    def __iter__(self) -> Iterator[Frame]:
        """Every frame of the view, in store order."""
        return map(self._frame, range(len(self)))

    def _frame(self, i: int) -> Frame:
        block, row = self._locate(i)
        frame = next(iter(self._load_one(block).part(row, row + 1)))
        (groups, origins, _), infos = self._texts_of(block), self._infos_of(block)
        return replace(frame, group=groups[row], origin=origins[row], info=infos[row])

    def _frames_at(self, rows: NDArray[np.int64]) -> list[Frame]:
        """Frames in the order asked for, each block that holds any decoded once."""
        found: dict[int, Frame] = {}
        wanted = np.unique(rows)
        of = np.searchsorted(self._frame_starts, wanted, side="right") - 1
        for block in np.unique(of).tolist():
            local = wanted[of == block] - self._frame_starts[block]
            (groups, origins, _), infos = labels_of(self, block), self._infos(block)
            for row, frame in zip(local.tolist(), self.load([block], local)):
                found[int(self._frame_starts[block]) + row] = replace(frame, group=groups[row], origin=origins[row], info=infos[row])
        return [found[row] for row in rows.tolist()]

    def labels(self, start: int, stop: int) -> tuple[list[str], list[str], NDArray[np.uint8]]:
        """Groups, origins and splits (0 train, 1 validation, 2 test) of frames `start:stop`."""
        self._check_range(start, stop)
        if start == stop:
            return [], [], np.empty(0, np.uint8)
        blocks, begin, _ = self.blocks_of(start, stop)
        groups, origins, splits = zip(*map(partial(labels_of, self), blocks))
        wanted = slice(start - begin, stop - begin)
        return list(chain(*groups))[wanted], list(chain(*origins))[wanted], np.concatenate(splits)[wanted]

    def infos(self, start: int, stop: int) -> list[Mapping[str, str]]:
        """What the source says of frames `start:stop` under the keys that its card keeps."""
        self._check_range(start, stop)
        blocks, begin, _ = self.blocks_of(start, stop) if stop > start else (range(0), 0, 0)
        return list(chain(*map(self._infos, blocks)))[start - begin : stop - begin]

    def _infos(self, block: int) -> list[Mapping[str, str]]:
        """The same of the selected frames of one block."""
        return infos_of(frame_values(self, "info", range(block, block + 1)).tolist())

    def locate_block(self, b: int) -> tuple[Segment, int, slice | NDArray[np.int64]]:
        """Selected block number `b` of the view: its segment, its number there, and its selected rows."""
        s, block = self._block_places[b]
        return self.segments[s], block, self._selections[s].rows.get(block, slice(0, int(self.block_counts[b])))

    def blocks_of(self, start: int, stop: int) -> tuple[range, int, int]:
        """The blocks that hold frames `start:stop`, at least one of them, with the first frame and the end of these blocks."""
        first, last = self._locate(start)[0], self._locate(stop - 1)[0] + 1
        return range(first, last), int(self._frame_starts[first]), int(self._frame_starts[last])

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

    @property
    def stored_bytes(self) -> int:
        """Bytes of the arrays of the whole dataset that a pass over it reads, as they lie in the store."""
        read = COLUMNS.keys() - set(NOT_STREAMED)
        sizes = (
            (o.path.removeprefix(f"{x.path}/").split("/")[0], o.size) for x in self._entry.segments for o in self._place.objects(x.path)
        )
        return sum(size for name, size in sizes if name in read)

    def frames(self, start: int = 0, stop: int | None = None) -> Frames:
        """Frames `start:stop` of the view as one `Frames`."""
        stop = len(self) if stop is None else min(stop, len(self))
        self._check_range(start, stop)
        if start == stop:
            return Frames.empty(np.float64 if self.lossless else np.float32)
        of, parts = self.blocks_of(start, stop)[0], []
        for b in range(of.start, of.stop, READ_AT_ONCE):
            blocks = range(b, min(b + READ_AT_ONCE, of.stop))
            begin = int(self._frame_starts[b])
            counted = min(int(self._frame_starts[blocks.stop]), stop) - begin
            parts.append(self.load(blocks, np.arange(max(start - begin, 0), counted)))
        return Frames.concatenate(parts) if len(parts) > 1 else parts[0]

    def _check_range(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"there are no frames {start}:{stop}: {self.name} holds {len(self)} here")

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
        return frame_values(self, "natoms", range(len(self.block_counts)))

    @property
    def rows(self) -> NDArray[np.int64]:
        """(F,) row in the whole dataset of each frame of the view."""
        first = dict(zip(self.segments, self._first_index.tolist()))
        places = (self.locate_block(b) for b in range(len(self.block_counts)))
        parts = [first[s] + block * s.plan.block_frames + np.arange(s.plan.block_frames)[kept] for s, block, kept in places]
        return np.concatenate([np.empty(0, np.int64), *parts])

    def to_ase(self, i: int) -> Atoms:
        """Frame `i` as `ase.Atoms`."""
        return self[i].to_ase()

    def to_xarray(self) -> xarray.Dataset:
        """The frames of the view as an `xarray.Dataset`, read when looked at: named dimensions, units; what a frame lacks is NaN."""
        return to_xarray(self)

    def __repr__(self) -> str:
        return sentence(f"Dataset {self.name}", dataset_facts(self))

    def _repr_html_(self) -> str:
        return facts_table(f"Dataset {self.name}", dataset_facts(self))


def checked_rows(wanted: Sequence[int] | NDArray[np.integer | np.bool_], count: int, *, of: str) -> NDArray[np.int64]:
    """Row numbers, negative ones from the end, or flags for each of `count` rows -> row numbers; an error that says what does not fit."""
    rows = np.asarray(wanted)
    if rows.size == 0:
        return np.empty(0, np.int64)
    if rows.ndim != 1 or rows.dtype.kind not in "iub":
        raise TypeError(f"a frame is asked for by its row, frames by a slice, a list of rows or an array of flags, not by {wanted!r:.60}")
    if rows.dtype.kind == "b":
        if len(rows) != count:
            raise IndexError(f"{len(rows)} flags for the {count} frames of {of}")
        return np.flatnonzero(rows)
    rows = rows.astype(np.int64)
    outside = rows[(rows < -count) | (rows >= count)]
    if len(outside):
        raise IndexError(f"there is no frame {outside[0]}: {of} holds {count} here")
    return np.where(rows < 0, rows + count, rows)


def _below(place: Place, path: str) -> Place:
    """A segment's place; its bytes never change, so they may be kept nearer."""
    below = open_place(f"{place.url}/{path}")
    return below if isinstance(below, LocalPlace) else with_cache(below)


def _atomic_number(element: int | str) -> int:
    number = NUMBERS.get(element, 0) if isinstance(element, str) else int(element)
    if not 1 <= number < len(NUMBERS):
        raise ConfigError(f"unknown element {element!r}")
    return number
