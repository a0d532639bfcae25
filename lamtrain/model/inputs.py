"""What a model takes: frames of any size, flat over their atoms, with edges in chunks of atoms that have alike counts.

Shapes: F frames, A atoms of all frames; in a chunk N atoms, W edge slots, V the leading slots of the shorter lists.
Two orders of atoms: the caller's (frame after frame), and rows (sorted so that a chunk wastes few slots).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

ALIGNED = 16  # bytes at which a tensor begins in a buffer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Movable:
    """Dataclasses of tensors that travel to a device as one."""

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """A copy whose tensors are on `device`; to an accelerator all go in one buffer for each type of number, page-locked for a GPU."""
        device, found = torch.device(device), tensors_of(self)
        if all(tensor.device == device for tensor in found):
            return self
        if device.type == "cpu":
            moved = iter([tensor.to(device, non_blocking=non_blocking) for tensor in found])
        else:
            moved = iter(_sent(found, device, non_blocking=non_blocking))
        same: Self = _mapped(self, lambda _: next(moved))
        return same

    def copy(self) -> Self:
        """The same numbers elsewhere on the device."""
        same: Self = _mapped(self, lambda tensor: tensor.clone())
        return same

    def fill(self, other: Self) -> None:
        """Take the numbers of another of the same shape, by as few operators as there are types of them."""
        pairs: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        for mine, its in zip(tensors_of(self), tensors_of(other), strict=True):
            for own, tensor in zip(pairs.setdefault(mine.dtype, ([], [])), (mine, its)):
                own.append(tensor)
        for own, new in pairs.values():
            torch._foreach_copy_(own, new)

    def used_by(self, stream: torch.Stream) -> None:
        """Keep the memory of all tensors until a stream that they were not made on is done with them."""
        for tensor in tensors_of(self):
            tensor.record_stream(stream)


def tensors_of(value: Any) -> list[Tensor]:
    """All tensors, in order."""
    found: list[Tensor] = []

    def take(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    _mapped(value, take)
    return found


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`value` with its tensors changed, always in the same order."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_mapped(item, change) for item in value)
    if isinstance(value, dict):
        return {name: _mapped(item, change) for name, item in value.items()}
    if isinstance(value, _Movable):
        return replace(value, **{f.name: _mapped(getattr(value, f.name), change) for f in fields(value)})
    return value


def _shape(value: Any) -> Hashable:
    """Shapes and types of tensors, and what else there is."""
    if isinstance(value, Tensor):
        return value.shape, value.dtype
    if isinstance(value, tuple):
        return tuple(map(_shape, value))
    if isinstance(value, dict):
        return tuple((name, _shape(item)) for name, item in value.items())
    if isinstance(value, _Movable):
        return type(value), *(_shape(getattr(value, f.name)) for f in fields(value))
    known: Hashable = value
    return known


def _sent(tensors: Sequence[Tensor], device: torch.device, *, non_blocking: bool) -> list[Tensor]:
    """The tensors on a device, as views of one buffer for each type."""
    places: dict[torch.dtype, list[tuple[int, int]]] = {}  # type -> where each begins, and its index
    ends: dict[torch.dtype, int] = {}
    for k, tensor in enumerate(tensors):
        places.setdefault(tensor.dtype, []).append((ends.get(tensor.dtype, 0), k))
        step = ALIGNED // tensor.element_size()
        ends[tensor.dtype] = places[tensor.dtype][-1][0] + -(-tensor.numel() // step) * step
    out = list(tensors)
    for dtype, begins in places.items():
        buffer = torch.empty(ends[dtype], dtype=dtype, pin_memory=device.type == "cuda")
        for begin, k in begins:
            buffer[begin : begin + tensors[k].numel()].copy_(tensors[k].reshape(-1))
        buffer = buffer.to(device, non_blocking=non_blocking)
        for begin, k in begins:
            out[k] = buffer[begin : begin + tensors[k].numel()].view(tensors[k].shape)
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk(_Movable):
    """Rows `start:stop` with their edges; a slot without a neighbour points to its own row, from `rcut + 1` Å away."""

    start: int
    stop: int
    vectors: Tensor  # (N, W, 3) Å, centre to neighbour, the nearest first
    neighbors: Tensor  # (N, W) int64, row of the neighbour
    widths: dict[str, int]  # for each neighbour list of the descriptor, the leading slots that can be within its cutoff
    with_forces: bool  # the rows belong to energy heads, so derivatives of the vectors are wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRows(_Movable):
    """Which rows a head is evaluated on; in a padded batch none, where tiles say it of all heads of the kind."""

    name: str
    rows: Tensor  # (n,) int64, increasing
    by_chunk: tuple[Tensor, ...]  # for each chunk, those of its rows, counted from the chunk's start


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles(_Movable):
    """Rows of several heads, laid out for one product: tiles of one height, each of one head, which repeats a row where it has fewer."""

    count: int  # of tiles
    rows: Tensor  # (tiles * height,) int64
    slots: Tensor  # (n,) int64, where the rows themselves lie among these, head after head
    heads: Tensor | None  # (tiles,) int64, the head of each among those that have rows here; None where each has one, in order

    @property
    def own_rows(self) -> Tensor:
        """(n,) the rows, head after head."""
        return self.rows[self.slots]


@dataclass(frozen=True, slots=True, kw_only=True)
class KindTiles(_Movable):
    """What heads of one kind are evaluated on, where several have rows."""

    atoms: Tiles
    by_chunk: tuple[Tiles | None, ...]  # for each chunk, of those of its rows, counted from the chunk's start; None where it has none


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(_Movable):
    """Frames for one step of a model, with what they are to be compared to.

    Per-atom fields are in the caller's order unless they say rows. A label that a frame lacks is zero, and its flag, `has_` or the
    choice of its atoms, is off.
    """

    natoms: Tensor  # (F,) int64
    frame: Tensor  # (A,) int64, frame of each atom
    head: Tensor  # (F,) int64, index of the frame's head in `ModelConfig.heads`
    types: Tensor  # (A,) int64, index in `ModelConfig.elements`; one past them where the element is hidden
    clean_types: Tensor  # (A,) int64, type index before masking
    weight: Tensor | None  # (F,) float64, of the frame in the loss; None where each is 1
    labels: dict[str, Tensor]  # what the task kinds of the heads compare with; their files name them and say shapes and units
    order: Tensor  # (A,) int64, caller's index of each row
    rank: Tensor  # (A,) int64, row of each of the caller's atoms
    chunks: tuple[Chunk, ...]  # rows in sequence
    heads: tuple[HeadRows, ...]  # heads that have atoms here, in the order of the config
    tiles: dict[str, KindTiles]  # for each kind of which several heads have atoms here
    truncated: dict[str, int]  # for each list, atoms that have more neighbours within its cutoff than it keeps
    padding: int = 0  # atoms behind the others that only bring it to a shape

    @property
    def shape(self) -> Hashable:
        """All but the numbers: batches of one shape go through a model by the same operators, on other numbers."""
        return _shape(replace(self, truncated={}, padding=0))

    @property
    def nframes(self) -> int:
        """Frames."""
        return len(self.natoms)

    @property
    def natoms_total(self) -> int:
        """Atoms of all frames."""
        return len(self.types)

    @property
    def lead_types(self) -> Tensor:
        """(A,) type of the first atom of the atom's frame: the reference gives it to padded slots."""
        return self.types[self.natoms.cumsum(0) - self.natoms][self.frame]

    @property
    def atom_head(self) -> Tensor:
        """(A,) head of each atom's frame."""
        return self.head[self.frame]
