"""Write one segment, shard by shard, from any number of processes: each call is idempotent and gives the same bytes.

`write_shard` for every shard in any order, then `seal_segment` once; nothing is visible before `commit.commit`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, StoreError
from ..frames import Frames
from ..places import Place, open_place
from .codec import checksum, encode_block, pack_shard
from .layout import COLUMNS, ELEMENT_BYTES, SPLITS, ArrayPlan, SegmentPlan, Texts, encoded
from .metadata import block_arrays, segment_documents

LEDGER = "rejected.jsonl"  # what ingest refused, beside the shards
RECEIPTS = "receipts"  # a folder with one for each shard that is finished, until the segment is sealed
MANIFEST = "manifest.json"  # last object of a sealed segment: what it holds, with hashes


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentEntry:
    """What an index says of a segment."""

    path: str  # below the store
    frames: int
    atoms: int
    splits: tuple[int, int, int]  # frames in train, validation and test
    elements: tuple[int, ...]  # atomic numbers present
    hash: str  # sha256 over the names and hashes of all objects
    plan: SegmentPlan

    def to_json(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in ("path", "frames", "atoms", "hash")}
        return values | {"splits": list(self.splits), "elements": list(self.elements), "plan": self.plan.to_json()}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> SegmentEntry:
        changed = {"splits": tuple(data["splits"]), "elements": tuple(data["elements"]), "plan": SegmentPlan.from_json(data["plan"])}
        return SegmentEntry(**{**data, **changed})


def write_shard(
    segment_url: str,
    plan: SegmentPlan,
    shard: int,
    *,
    records: Frames,
    groups: Texts,
    origins: Texts,
    split: NDArray[np.integer],
    infos: Texts = (),
) -> dict[str, Any]:
    """Write all objects of shard number `shard` and return its receipt (plain JSON: hashes and block statistics).

    `records` are the frames `plan.shard_frames(shard)` in final order, float64; `split` is (F,) with 0 train, 1 validation,
    2 test; `infos` are objects in JSON, as {"config_type": "liquid"}, or "". The receipt is also kept beside the shard, as its last object: a shard with a receipt is finished.
    """
    expected = len(plan.shard_frames(shard))
    infos = infos if len(infos) else [""] * expected
    if not len(records) == len(groups) == len(origins) == len(infos) == len(split) == expected:
        raise DataError(f"shard {shard} takes {expected} frames, got {len(records)}", where=segment_url)
    place = open_place(segment_url)
    columns = _columns(plan, records, {"group": groups, "origin": origins, "info": infos}, split)
    columns["atom_start"] += shard * plan.shard_blocks * plan.atom_width
    objects = {}
    for name in plan.arrays:
        array = plan.array(name)
        if array.constant is not None:
            _check_constant(columns[name], array)
            continue
        data = pack_shard([encode_block(block, array) for block in _blocks(columns, array, plan)], plan.shard_blocks)
        path = shard_path(array, shard)
        place.write(path, data)
        objects[path] = [len(data), hashlib.sha256(data).hexdigest()]
    receipt = {"objects": objects, "blocks": _statistics(plan, records, split)}
    place.write(_receipt_path(shard), _json(receipt))
    return receipt


def shard_path(array: ArrayPlan, shard: int) -> str:
    """Where the object of a shard of an array is, below the segment: Zarr's default chunk key."""
    return f"{array.column.name}/c/{shard}" + "/0" * (len(array.block_shape) - 1)


def finished_shards(segment_url: str) -> set[int]:
    """Numbers of the shards that need not be written again."""
    return {int(name.removesuffix(".json")) for name in open_place(segment_url).list(RECEIPTS)}


def seal_segment(segment_url: str, plan: SegmentPlan, *, path: str, attributes: Mapping[str, Any]) -> SegmentEntry:
    """Write metadata, block statistics and the manifest of a segment whose shards are all written; idempotent.

    `path` is the segment's place below its store; `attributes` go into its Zarr group.
    """
    place = open_place(segment_url)
    if place.size(MANIFEST) is None:
        _seal(place, plan, path=path, attributes=attributes)
    else:
        place.write(MANIFEST, place.read(MANIFEST))  # its age is that of the last who wanted it, which `gc` goes by
    place.remove(RECEIPTS)
    return SegmentEntry.from_json(json.loads(place.read(MANIFEST))["entry"])


def _seal(place: Place, plan: SegmentPlan, *, path: str, attributes: Mapping[str, Any]) -> None:
    missing = sorted(set(range(plan.shards)) - finished_shards(place.url))
    if missing:
        raise StoreError(f"{len(missing)} of {plan.shards} shards are not written, first {missing[0]}", where=place.url)
    receipts = [json.loads(place.read(_receipt_path(shard))) for shard in range(plan.shards)]
    blocks = [block for receipt in receipts for block in receipt["blocks"]]
    objects = {name: entry for receipt in receipts for name, entry in receipt["objects"].items()}
    for name, data in (_block_objects(blocks) | segment_documents(plan, attributes)).items():
        place.write(name, data)
        objects[name] = [len(data), hashlib.sha256(data).hexdigest()]
    entry = _entry(plan, blocks, path=path, digest=digest(objects))
    place.write(MANIFEST, _json({"entry": entry.to_json(), "objects": dict(sorted(objects.items()))}))


def _entry(plan: SegmentPlan, blocks: Sequence[Mapping[str, Any]], *, path: str, digest: str) -> SegmentEntry:
    present = np.bitwise_or.reduce([np.frombuffer(bytes.fromhex(block["elements"]), np.uint8) for block in blocks])
    splits = [sum(block["splits"][i] for block in blocks) for i in range(len(SPLITS))]
    return SegmentEntry(
        path=path,
        frames=plan.frames,
        atoms=sum(block["atoms"] for block in blocks),
        splits=(splits[0], splits[1], splits[2]),
        elements=tuple(int(z) for z in np.flatnonzero(np.unpackbits(present, bitorder="little"))),
        hash=digest,
        plan=plan,
    )


def digest(objects: Mapping[str, Sequence[Any]]) -> str:
    """Hash of the segment's content: its objects in the order of their names."""
    return hashlib.sha256("".join(f"{name} {digest}\n" for name, (_, digest) in sorted(objects.items())).encode()).hexdigest()


def _columns(plan: SegmentPlan, records: Frames, texts: Mapping[str, Texts], split: NDArray[np.integer]) -> dict[str, np.ndarray]:
    """Every array of the shard, frame arrays (F, ...) and atom arrays (A, ...), in the types of the plan."""
    columns = {name: getattr(records, name) for name in COLUMNS if hasattr(records, name)}
    columns["split"] = np.asarray(split)
    columns |= {name: _characters(texts[name], width) for name, width in plan.text_widths.items()}
    columns["atom_start"] = _atom_starts(plan, records.natoms)
    typed = {name: np.asarray(values, plan.array(name).dtype) for name, values in columns.items()}
    floats = {name for name, values in typed.items() if values.dtype.kind == "f" and name not in plan.lattices}
    return {name: values + 0.0 if name in floats else values for name, values in typed.items()}  # -0.0 becomes 0.0


def _atom_starts(plan: SegmentPlan, natoms: NDArray[np.integer]) -> NDArray[np.int64]:
    """(F,) where each frame's atoms start, from the shard's first block on; each block takes `plan.atom_width` atoms."""
    starts = np.cumsum(natoms, dtype=np.int64) - natoms
    shift = np.arange(-(-len(starts) // plan.block_frames)) * plan.atom_width - starts[:: plan.block_frames]
    return starts + np.repeat(shift, plan.block_frames)[: len(starts)]


def _characters(texts: Texts, width: int) -> NDArray[np.uint8]:
    """(F, width) UTF-8, padded with zeros."""
    return encoded(texts).astype(f"S{width}").view(np.uint8).reshape(len(texts), width)


def _blocks(columns: Mapping[str, np.ndarray], array: ArrayPlan, plan: SegmentPlan) -> Iterator[np.ndarray]:
    """The array cut into blocks."""
    values, natoms = columns[array.column.name], columns["natoms"]
    starts = np.concatenate([[0], np.cumsum(natoms, dtype=np.int64)])
    for first in range(0, len(natoms), plan.block_frames):
        last = min(first + plan.block_frames, len(natoms))
        part = values[first:last] if array.column.axis == "frame" else values[starts[first] : starts[last]]
        if len(part) > array.block_shape[0]:
            raise DataError(f"a block has {len(part)} atoms, the plan allows {array.block_shape[0]}", hint="plan with the final order")
        yield part


def _check_constant(values: np.ndarray, array: ArrayPlan) -> None:
    if not (values == np.asarray(array.constant, array.dtype)).all():
        raise DataError(f"{array.column.name} is not {array.constant} throughout", hint="plan the segment from a survey of all its frames")


def _statistics(plan: SegmentPlan, records: Frames, split: NDArray[np.integer]) -> list[dict[str, Any]]:
    """For each block: elements (hex bit mask), smallest and largest frame, atoms, frames in each split."""
    starts, found = records.starts, []
    for first in range(0, len(records), plan.block_frames):
        last = min(first + plan.block_frames, len(records))
        natoms = records.natoms[first:last]
        present = np.zeros(8 * ELEMENT_BYTES, bool)
        present[records.numbers[starts[first] : starts[last]]] = True
        found.append(
            {
                "elements": np.packbits(present, bitorder="little").tobytes().hex(),
                "natoms": [int(natoms.min()), int(natoms.max())],
                "atoms": int(natoms.sum()),
                "splits": np.bincount(split[first:last], minlength=len(SPLITS)).tolist(),
            }
        )
    return found


def _block_objects(blocks: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """The one chunk of each array over blocks."""
    values = {
        "block_elements": [list(bytes.fromhex(block["elements"])) for block in blocks],
        "block_natoms_min": [block["natoms"][0] for block in blocks],
        "block_natoms_max": [block["natoms"][1] for block in blocks],
        "block_splits": [block["splits"] for block in blocks],
    }
    objects = {}
    for name, (shape, dtype) in block_arrays(len(blocks)).items():
        body = np.array(values[name], dtype).tobytes()
        objects[f"{name}/c/0" + "/0" * (len(shape) - 1)] = body + checksum(body)
    return objects


def _receipt_path(shard: int) -> str:
    return f"{RECEIPTS}/{shard:06d}.json"


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, indent=0, separators=(",", ":")).encode()
