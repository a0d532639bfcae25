"""SegmentPlan: the fixed geometry and encoding of one segment, and the Zarr v3 metadata that says so.

A segment is a Zarr v3 group. Frames come in blocks of 1,024 (the chunks) and shards of 32 blocks (the objects). No frame
straddles a block: arrays over atoms are padded to the fullest block, so block b owns atoms `b * width : (b + 1) * width`,
the frames of the block first, one after the other. An array that is one value throughout has no chunks, only a fill value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .lattice import Lattice

FRAMES_PER_BLOCK = 1024
BLOCKS_PER_SHARD = 32
WIDTH_STEP = 64  # blosc leaves a buffer as it is where its bit shuffle finds no multiple of 8 values
ELEMENT_BYTES = 15  # bits 0..119, one for each atomic number
SPLITS = ("train", "validation", "test")
PACKING = 2  # how hard blocks are packed: levels of `ArrayPlan.blosc`; what a segment was written with stands in its plan, so that repair gives its bytes


@dataclass(frozen=True, slots=True)
class Column:
    """What one array of a segment means. `trailing` are the lengths after the frame or atom axis; -1 is set by the plan."""

    name: str
    axis: str  # "frame" or "atom"
    dtype: str  # what a reader gets from a lossless store
    trailing: tuple[int, ...]
    dimensions: tuple[str, ...]
    units: str | None
    long_name: str


COLUMNS = {
    column.name: column
    for column in (
        Column("natoms", "frame", "<i4", (), (), None, "number of atoms"),
        Column("atom_start", "frame", "<i8", (), (), None, "first atom of the frame on the atom axis"),
        Column("energy", "frame", "<f8", (), (), "eV", "total energy as computed"),
        Column("cell", "frame", "<f8", (3, 3), ("lattice_vector", "xyz"), "Angstrom", "lattice vectors as rows; zeros for a molecule"),
        Column("virial", "frame", "<f8", (3, 3), ("virial_row", "virial_column"), "eV", "virial, -volume x stress"),
        Column("pbc", "frame", "|b1", (3,), ("lattice_vector",), None, "periodic along each lattice vector"),
        Column("charge", "frame", "<i2", (), (), "e", "total charge"),
        Column("multiplicity", "frame", "<i2", (), (), None, "spin multiplicity 2S + 1; 0 when not known"),
        Column("weight", "frame", "<f8", (), (), None, "weight of the labels in a loss"),
        Column("shortest", "frame", "<f4", (), (), "Angstrom", "shortest distance between two atoms, images included"),
        Column("has_energy", "frame", "|b1", (), (), None, "the source has an energy"),
        Column("has_forces", "frame", "|b1", (), (), None, "the source has forces"),
        Column("has_virial", "frame", "|b1", (), (), None, "the source has a virial"),
        Column("split", "frame", "|u1", (), (), None, "0 train, 1 validation, 2 test"),
        Column("group", "frame", "|u1", (-1,), ("group_character",), None, "material or trajectory, UTF-8 padded with zeros"),
        Column("origin", "frame", "|u1", (-1,), ("origin_character",), None, "file#index of the source, UTF-8 padded with zeros"),
        Column(
            "info",
            "frame",
            "|u1",
            (-1,),
            ("info_character",),
            None,
            "what the source says under the keys its card keeps, as JSON padded with zeros",
        ),
        Column("numbers", "atom", "|u1", (), (), None, "atomic number"),
        Column("positions", "atom", "<f8", (3,), ("xyz",), "Angstrom", "positions"),
        Column("forces", "atom", "<f8", (3,), ("xyz",), "eV/Angstrom", "forces"),
    )
}
FLOATS = ("energy", "cell", "virial", "positions", "forces")  # what a lattice may hold
NARROWED = ("cell", "virial", "positions", "forces")  # float32 in the fast profile; an energy needs more than its 7 digits
TEXTS = ("group", "origin", "info")
Texts = Sequence[str] | NDArray[np.bytes_]  # or in UTF-8 already
NOT_STREAMED = (*TEXTS, "atom_start")  # read frame by frame or by other programs only


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayPlan:
    """How one array is stored. Decoded blocks have `dtype`; stored ones `stored`, integers where a lattice holds the values."""

    column: Column
    dtype: np.dtype  # decoded
    block_shape: tuple[int, ...]  # of one block, the Zarr inner chunk
    lattice: Lattice | None
    constant: float | int | bool | None  # the one value of an array without chunks
    plain: bool  # stored without compression
    packing: int  # `PACKING` of its writer

    @property
    def stored(self) -> np.dtype:
        return self.dtype if self.lattice is None else self.lattice.dtype

    @property
    def block_bytes(self) -> int:
        """Bytes of one decompressed block."""
        return math.prod(self.block_shape) * self.stored.itemsize

    @property
    def blosc(self) -> tuple[str, int, int] | None:
        """Compressor, level and shuffle (0 none, 1 bytes, 2 bits), or `None` for plain bytes.

        Of those within a few percent of the smallest, the fastest to decode. Blocks of a lattice are shuffled by bytes where that is
        not much larger (`codec.encode_block`). The second packing is a little larger than the first and quicker to make.
        """
        if self.plain:
            return None
        first = self.packing == 1
        if self.column.name in NOT_STREAMED:
            return "zstd", 5 if first else 1, int(self.stored.itemsize > 1)
        if self.lattice is not None:
            return "lz4hc", 5 if first else 2, 2  # unused high bits become planes of zeros; `hc` packs them tighter and decodes as fast
        return ("lz4", 5, 1) if self.stored.itemsize > 1 else ("lz4hc", 9 if first else 5, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentPlan:
    """Everything that each writer of a shard must agree on, decided once before the first shard is written."""

    profile: str  # "lossless" or "fast"
    frames: int
    atom_width: int  # atoms of the fullest block, rounded up to `WIDTH_STEP`
    lattices: Mapping[str, Lattice]
    constants: Mapping[str, float | int | bool]
    text_widths: Mapping[
        str, int
    ]  # bytes of the longest group, origin and info; without the last no frame has any, and the segment no array of it
    weighted: bool = False  # frames have weights; otherwise each is 1, and the segment has no array of them
    packing: int = 1
    block_frames: int = FRAMES_PER_BLOCK
    shard_blocks: int = BLOCKS_PER_SHARD

    @property
    def blocks(self) -> int:
        return -(-self.frames // self.block_frames)

    @property
    def shards(self) -> int:
        return -(-self.blocks // self.shard_blocks)

    def shard_frames(self, shard: int) -> range:
        """The frames that shard number `shard` holds."""
        size = self.block_frames * self.shard_blocks
        return range(shard * size, min((shard + 1) * size, self.frames))

    @property
    def arrays(self) -> list[str]:
        """The arrays over frames and atoms that the segment has."""
        return [name for name in COLUMNS if name not in self._absent]

    @property
    def _absent(self) -> Mapping[str, float]:
        """Arrays that the segment does not have, and the one value that stands for each."""
        weight = {} if self.weighted else {"weight": 1.0}
        return weight if "info" in self.text_widths else weight | {"info": 0}

    def array(self, name: str) -> ArrayPlan:
        """How array `name` is stored."""
        column = COLUMNS[name]
        dtype = np.dtype("<f4") if self.profile == "fast" and name in NARROWED else np.dtype(column.dtype)
        trailing = tuple(self.text_widths.get(name, 1) if length == -1 else length for length in column.trailing)
        return ArrayPlan(
            column=column,
            dtype=dtype,
            block_shape=(self.block_frames if column.axis == "frame" else self.atom_width, *trailing),
            lattice=self.lattices.get(name),
            constant=self._absent.get(name, self.constants.get(name)),
            plain=self.profile == "fast" and name not in NOT_STREAMED,
            packing=self.packing,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `from_json` gives the same plan back."""
        lattices = {k: [x.unit, x.factor, x.decimals, x.least, x.largest] for k, x in sorted(self.lattices.items())}
        seldom = ({"weighted": True} if self.weighted else {}) | ({"packing": self.packing} if self.packing > 1 else {})
        return seldom | {
            "profile": self.profile,
            "frames": self.frames,
            "atom_width": self.atom_width,
            "lattices": lattices,
            "constants": dict(sorted(self.constants.items())),
            "text_widths": dict(sorted(self.text_widths.items())),
            "block_frames": self.block_frames,
            "shard_blocks": self.shard_blocks,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> SegmentPlan:
        names = ("unit", "factor", "decimals", "least", "largest")
        lattices = {k: Lattice(**dict(zip(names, values))) for k, values in data["lattices"].items()}
        return SegmentPlan(**{**data, "lattices": lattices})


def atom_width(natoms: NDArray[np.integer], *, block_frames: int) -> int:
    """Atoms to set aside for each block, for frames in their final order."""
    fullest = np.add.reduceat(natoms.astype(np.int64), np.arange(0, len(natoms), block_frames)).max()
    return -(-int(fullest) // WIDTH_STEP) * WIDTH_STEP


def infos_of(texts: Iterable[str]) -> list[Mapping[str, str]]:
    """What is stored as JSON of what the source says under the keys that its card keeps."""
    return [json.loads(text) if text else {} for text in texts]


def encoded(texts: Texts) -> NDArray[np.bytes_]:
    """(F,) in UTF-8, each as wide as the longest."""
    return texts if isinstance(texts, np.ndarray) else np.array([text.encode() for text in texts], np.bytes_)
