"""Frames: many frames as flat arrays, the contiguous ragged arrays of the CF conventions (section 9.3.3).

This is what the store decodes into, the stream yields and a trainer collates. F = frames, A = all their atoms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import repeat
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .errors import DataError
from .frame import Frame
from .notebook import facts_table, listed, sentence, symbols

LABELS = ("energy", "forces", "virial")
MASKED = 0  # the atomic number that stands for "type hidden": no element has it

ATOM_FIELDS = ("numbers", "positions", "forces", "noise", "noised", "clean_numbers")
FRAME_FIELDS = (
    "natoms", "cell", "pbc", "energy", "virial", "has_energy", "has_forces", "has_virial", "charge", "multiplicity",
    "weight", "shortest", "head", "dataset", "index", "epoch",
)  # fmt: skip
SELDOM = ("splits", "isolated", "left_out", "converged", "infos")  # of `Parsed`: empty where nothing is said
Said = TypeVar("Said")


@dataclass(slots=True)
class Frames:
    """F frames with A atoms in all; frame f owns atoms `starts[f]:starts[f] + natoms[f]`.

    Labels that a frame lacks hold zeros, and their `has_` flag says so: read the flag, never the value.
    Floating arrays are float64 from a lossless store, float32 from a fast one.
    """

    numbers: NDArray[np.uint8]  # (A,) atomic numbers; MASKED where the type is hidden
    positions: NDArray[np.floating]  # (A, 3) Å
    natoms: NDArray[np.int32]  # (F,)
    cell: NDArray[np.floating]  # (F, 3, 3) Å, rows are lattice vectors; zeros for a molecule
    pbc: NDArray[np.bool_]  # (F, 3)
    energy: NDArray[np.float64]  # (F,) eV
    forces: NDArray[np.floating]  # (A, 3) eV/Å
    virial: NDArray[np.floating]  # (F, 3, 3) eV
    has_energy: NDArray[np.bool_]  # (F,)
    has_forces: NDArray[np.bool_]  # (F,)
    has_virial: NDArray[np.bool_]  # (F,)
    charge: NDArray[np.int16]  # (F,) e
    multiplicity: NDArray[np.int16]  # (F,) 2S + 1; 0 when not known
    weight: NDArray[np.float64]  # (F,) of its labels in a loss
    shortest: NDArray[np.float32]  # (F,) Å, shortest distance between two atoms, images included; inf for a lone atom
    head: NDArray[np.int32]  # (F,) which head of the mixture the frame is for; 0 outside a mixture
    dataset: NDArray[np.uint64]  # (F,) hash of the dataset's name: part of the key of its noise
    index: NDArray[np.int64]  # (F,) row in its dataset
    epoch: NDArray[np.int64]  # (F,) how many times the stream of its dataset had been through
    noise: NDArray[np.floating] | None = None  # (A, 3) Å, the displacement that was added: clean = positions - noise
    noised: NDArray[np.bool_] | None = None  # (A,) which atoms were displaced
    clean_numbers: NDArray[np.uint8] | None = None  # (A,) atomic numbers before masking

    def __len__(self) -> int:
        return len(self.natoms)

    def __repr__(self) -> str:
        return sentence("Frames", self._facts())

    def _repr_html_(self) -> str:
        return facts_table("Frames", self._facts())

    def _facts(self) -> dict[str, Any]:
        labels = {name: int(np.count_nonzero(getattr(self, f"has_{name}"))) for name in LABELS}
        return {
            "frames": f"{len(self):,}",
            "atoms": f"{len(self.numbers):,}",
            "elements": listed(symbols(self.numbers), separator=" "),
            "labels": listed([name if count == len(self) else f"{name} (of {count:,})" for name, count in labels.items() if count]),
            "displaced atoms": None if self.noised is None else f"{np.count_nonzero(self.noised):,}",
            "hidden elements": None if self.clean_numbers is None else f"{np.count_nonzero(self.numbers == MASKED):,}",
            "floats": self.positions.dtype,
        }

    @property
    def starts(self) -> NDArray[np.int64]:
        """(F + 1,) where each frame's atoms start, and the end."""
        starts = np.zeros(len(self.natoms) + 1, np.int64)
        np.cumsum(self.natoms, out=starts[1:])
        return starts

    def part(self, start: int, stop: int) -> Frames:
        """Frames `start:stop`, as views."""
        a, b = int(self.natoms[:start].sum()), int(self.natoms[:stop].sum())
        return self.cut(start, stop, a, b)

    def cut(self, start: int, stop: int, first_atom: int, last_atom: int) -> Frames:
        """Frames `start:stop`, which own atoms `first_atom:last_atom`, as views."""
        values = {}
        for name in FRAME_FIELDS:
            values[name] = getattr(self, name)[start:stop]
        for name in ATOM_FIELDS:
            value = getattr(self, name)
            values[name] = None if value is None else value[first_atom:last_atom]
        return Frames(**values)

    def in_equal_parts(self, size: int) -> Iterator[Frames]:
        """Parts of `size` frames each, as views: `cut` again and again, at half the price. `size` must divide the number of frames."""
        parts = len(self) // size
        ends = np.cumsum(self.natoms.reshape(parts, size).sum(axis=1)).tolist()
        atoms = [slice(first, last) for first, last in zip([0, *ends], ends)]
        columns = []
        for name in (field.name for field in fields(Frames)):
            value = getattr(self, name)
            if name in FRAME_FIELDS:
                columns.append(value.reshape(parts, size, *value.shape[1:]))
            else:
                columns.append([None] * parts if value is None else map(value.__getitem__, atoms))
        return map(Frames, *columns)

    def take(self, order: NDArray[np.integer]) -> Frames:
        """Frames in the given order, copied."""
        starts, natoms = self.starts, self.natoms[order]
        atoms = np.repeat(starts[order] - np.concatenate([[0], np.cumsum(natoms)[:-1]]), natoms) + np.arange(natoms.sum())
        values = {name: getattr(self, name)[order] for name in FRAME_FIELDS}
        for name in ATOM_FIELDS:
            value = getattr(self, name)
            values[name] = None if value is None else value[atoms]
        return Frames(**values)

    def with_(self, **changes: Any) -> Frames:
        """A copy with some arrays replaced."""
        return replace(self, **changes)

    def without(self, labels: Iterable[str]) -> Frames:
        """A copy that lacks some labels."""
        changes = {name: np.zeros_like(getattr(self, name)) for name in labels}
        return replace(self, **changes, **{f"has_{name}": np.zeros(len(self), bool) for name in changes})

    def clean(self, name: str) -> np.ndarray:
        """What `noise`, `noised` or `clean_numbers` stands for where it is not set."""
        if name == "noise":
            return np.zeros_like(self.positions)
        return np.zeros(len(self.numbers), bool) if name == "noised" else self.numbers

    @staticmethod
    def concatenate(parts: Sequence[Frames]) -> Frames:
        """One after the other; where only some parts carry noise or masks, the others are clean."""
        if not parts:
            return Frames.empty()
        values: dict[str, Any] = {}
        for field in fields(Frames):
            arrays = [getattr(part, field.name) for part in parts]
            if all(array is None for array in arrays):
                values[field.name] = None
                continue
            values[field.name] = np.concatenate([part.clean(field.name) if a is None else a for part, a in zip(parts, arrays)])
        return Frames(**values)

    @staticmethod
    def empty(dtype: DTypeLike = np.float64) -> Frames:
        """No frames: what a rank gets that is left without one."""
        none = Frames.from_arrays(numbers=np.empty(0, np.uint8), positions=np.empty((0, 3)), natoms=np.empty(0, np.int32))
        return none.with_(**{name: getattr(none, name).astype(dtype) for name in ("positions", "forces", "cell", "virial")})

    @staticmethod
    def from_list(frames: Iterable[Frame], *, shortest: Sequence[float] | None = None) -> Frames:
        """Stack single frames (float64)."""
        frames = list(frames)
        if not frames:
            return Frames.empty()
        zero3, counts = np.zeros((3, 3)), np.array([len(f.numbers) for f in frames], np.int32)
        n = len(frames)
        return Frames(
            numbers=_small(np.concatenate([f.numbers for f in frames])),
            positions=np.concatenate([f.positions for f in frames]),
            natoms=counts,
            cell=np.array([zero3 if f.cell is None else f.cell for f in frames]),
            pbc=np.array([f.pbc for f in frames], bool),
            energy=np.array([0.0 if f.energy is None else f.energy for f in frames]),
            forces=np.concatenate([np.zeros((len(f.numbers), 3)) if f.forces is None else f.forces for f in frames]),
            virial=np.array([zero3 if f.virial is None else f.virial for f in frames]),
            has_energy=np.array([f.energy is not None for f in frames]),
            has_forces=np.array([f.forces is not None for f in frames]),
            has_virial=np.array([f.virial is not None for f in frames]),
            charge=np.array([f.charge for f in frames], np.int16),
            multiplicity=np.array([f.multiplicity or 0 for f in frames], np.int16),
            weight=np.array([f.weight for f in frames]),
            shortest=np.full(n, np.nan, np.float32) if shortest is None else np.asarray(shortest, np.float32),
            head=np.zeros(n, np.int32),
            dataset=np.zeros(n, np.uint64),
            index=np.arange(n, dtype=np.int64),
            epoch=np.zeros(n, np.int64),
        )

    @staticmethod
    def from_arrays(
        *,
        numbers: NDArray[np.uint8],
        positions: NDArray[np.float64],
        natoms: NDArray[np.int32],
        cell: NDArray[np.float64] | None = None,
        energy: NDArray[np.float64] | None = None,
        forces: NDArray[np.float64] | None = None,
        virial: NDArray[np.float64] | None = None,
    ) -> Frames:
        """Frames that are all crystals, or all molecules (`cell` None), and have the same labels; None for one they lack."""
        n = len(natoms)
        tensors, none = np.zeros((n, 3, 3)), np.zeros(n, np.int64)
        return Frames(
            numbers=numbers,
            positions=positions,
            natoms=natoms,
            cell=tensors if cell is None else cell,
            pbc=np.full((n, 3), cell is not None),
            energy=np.zeros(n) if energy is None else energy,
            forces=np.zeros_like(positions) if forces is None else forces,
            virial=tensors if virial is None else virial,
            has_energy=np.full(n, energy is not None),
            has_forces=np.full(n, forces is not None),
            has_virial=np.full(n, virial is not None),
            charge=none.astype(np.int16),
            multiplicity=none.astype(np.int16),
            weight=np.ones(n),
            shortest=np.full(n, np.nan, np.float32),
            head=none.astype(np.int32),
            dataset=none.astype(np.uint64),
            index=np.arange(n),
            epoch=none,
        )

    def __iter__(self) -> Iterator[Frame]:
        """Single frames, for a look at a few; group and origin live in the store, not in a stream."""
        starts = self.starts
        for f in range(len(self)):
            atoms = slice(starts[f], starts[f + 1])
            yield Frame(
                numbers=self.numbers[atoms],
                positions=np.asarray(self.positions[atoms], np.float64),
                cell=np.asarray(self.cell[f], np.float64) if self.cell[f].any() else None,
                pbc=(bool(self.pbc[f, 0]), bool(self.pbc[f, 1]), bool(self.pbc[f, 2])),
                energy=float(self.energy[f]) if self.has_energy[f] else None,
                forces=np.asarray(self.forces[atoms], np.float64) if self.has_forces[f] else None,
                virial=np.asarray(self.virial[f], np.float64) if self.has_virial[f] else None,
                charge=int(self.charge[f]),
                multiplicity=int(self.multiplicity[f]) or None,
                weight=float(self.weight[f]),
            )


@dataclass(slots=True, kw_only=True)
class Parsed:
    """Frames as they come from a source: with the words that go into a store, not into a stream. Labels are in float64."""

    frames: Frames
    groups: Sequence[str]  # (F,) material or trajectory: a group never straddles a split
    origins: Sequence[str]  # (F,) "file#index"
    unconverged: NDArray[np.bool_]  # (F,) the source says that self-consistency was not reached
    splits: Sequence[str] = ()  # (F,) as `Frame.split`; () where no source says anything
    isolated: Sequence[bool] = ()  # (F,) as `Frame.isolated`; () where none is
    left_out: Sequence[tuple[str, ...]] = ()  # (F,) as `Frame.left_out`; () where no frame lacks a label that its source has
    converged: Sequence[bool] = ()  # (F,) the source says that self-consistency was reached; () where it says so of none
    infos: Sequence[Mapping[str, str]] = ()  # (F,) as `Frame.info`; () where the card keeps no key of the source

    def __post_init__(self) -> None:
        counts = {name: len(getattr(self, name)) for name in ("frames", "groups", "origins", "unconverged")}
        counts |= {name: len(getattr(self, name)) for name in SELDOM if len(getattr(self, name))}
        if len(set(counts.values())) > 1 or len(self.frames.numbers) != self.frames.natoms.sum() or not self.frames.natoms.all():
            raise DataError(f"frames do not fit together: {counts}, {len(self.frames.numbers)} atoms", where=next(iter(self.origins), None))

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def numbers(self) -> NDArray[np.uint8]:
        """(A,) atomic numbers of all frames."""
        return self.frames.numbers

    def __iter__(self) -> Iterator[Frame]:
        """Single frames with their group and origin."""
        seldom = zip(
            self.splits or repeat(""),
            self.isolated or repeat(False),
            self.left_out or repeat(()),
            self.converged or repeat(False),
            self.infos or repeat({}),
        )
        for frame, group, origin, unconverged, rest in zip(self.frames, self.groups, self.origins, self.unconverged, seldom):
            split, isolated, left_out, reached, info = rest
            converged = False if unconverged else reached or None
            said: dict[str, Any] = {
                "group": group,
                "origin": origin,
                "converged": converged,
                "split": split,
                "isolated": isolated,
                "info": info,
            }
            yield replace(frame, **said, left_out=left_out)

    def take(self, rows: NDArray[np.integer]) -> Parsed:
        """Frames in the given order, copied."""
        return Parsed(
            frames=self.frames.take(rows),
            groups=[self.groups[row] for row in rows],
            origins=[self.origins[row] for row in rows],
            unconverged=self.unconverged[rows],
            **{name: [said[row] for row in rows] for name in SELDOM if (said := getattr(self, name))},
        )

    def part(self, start: int, stop: int) -> Parsed:
        """Frames `start:stop`, as views."""
        return Parsed(
            frames=self.frames.part(start, stop),
            **{name: getattr(self, name)[start:stop] for name in ("groups", "origins", "unconverged", *SELDOM)},
        )

    @staticmethod
    def from_list(frames: Sequence[Frame]) -> Parsed:
        """Stack single frames."""
        return Parsed(
            frames=Frames.from_list(frames),
            groups=[frame.group for frame in frames],
            origins=[frame.origin for frame in frames],
            unconverged=np.array([frame.converged is False for frame in frames]),
            splits=_or_none([frame.split for frame in frames]),
            isolated=_or_none([frame.isolated for frame in frames]),
            left_out=_or_none([frame.left_out for frame in frames]),
            converged=_or_none([frame.converged is True for frame in frames]),
            infos=_or_none([frame.info for frame in frames]),
        )

    @staticmethod
    def concatenate(parts: Sequence[Parsed]) -> Parsed:
        """One after the other."""
        if len(parts) == 1:
            return parts[0]
        return Parsed(
            frames=Frames.concatenate([part.frames for part in parts]),
            groups=[group for part in parts for group in part.groups],
            origins=[origin for part in parts for origin in part.origins],
            unconverged=np.concatenate([part.unconverged for part in parts]),
            splits=_or_none([split for part in parts for split in part.splits or [""] * len(part)]),
            isolated=_or_none([isolated for part in parts for isolated in part.isolated or [False] * len(part)]),
            left_out=_or_none([without for part in parts for without in part.left_out or [()] * len(part)]),
            converged=_or_none([reached for part in parts for reached in part.converged or [False] * len(part)]),
            infos=_or_none([info for part in parts for info in part.infos or [{}] * len(part)]),
        )


def _or_none(said: list[Said]) -> Sequence[Said]:
    """What is said of frames; () where it is nothing, which is nearly always."""
    return said if any(said) else ()


def _small(numbers: np.ndarray) -> NDArray[np.uint8]:
    """Atomic numbers as they are stored; what is none stays none, rather than wrap round to one."""
    return numbers if numbers.dtype == np.uint8 else np.clip(numbers, 0, 255).astype(np.uint8)
