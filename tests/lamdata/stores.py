"""Small seeded stores for the tests: ragged frames with labels, written through the public calls."""

from __future__ import annotations

import numpy as np

from lamdata.frames import Frames
from lamdata.store import Survey, commit, plan_segment, seal_segment, write_shard


def make_frames(count: int, *, seed: int = 0, decimals: int | None = 6, smallest: int = 2, largest: int = 20) -> Frames:
    """Ragged frames; numbers rounded to `decimals`, or with full mantissas where it is `None`."""
    rng = np.random.default_rng(seed)
    natoms = rng.integers(smallest, largest + 1, count).astype(np.int32)
    atoms = int(natoms.sum())

    def printed(values):
        return values if decimals is None else np.round(values, decimals)

    return Frames(
        numbers=rng.integers(1, 90, atoms).astype(np.uint8),
        positions=printed(rng.uniform(0, 12, (atoms, 3))),
        natoms=natoms,
        cell=printed(rng.normal(size=(count, 3, 3)) + 10 * np.eye(3)),
        pbc=np.ones((count, 3), bool),
        energy=printed(rng.normal(size=count) * 100),
        forces=printed(rng.normal(size=(atoms, 3))),
        virial=printed(rng.normal(size=(count, 3, 3))),
        has_energy=np.ones(count, bool),
        has_forces=np.ones(count, bool),
        has_virial=rng.random(count) < 0.5,
        charge=np.zeros(count, np.int16),
        multiplicity=np.zeros(count, np.int16),
        weight=np.ones(count),
        shortest=rng.uniform(0.7, 3, count).astype(np.float32),
        head=np.zeros(count, np.int32),
        dataset=np.zeros(count, np.uint64),
        index=np.arange(count, dtype=np.int64),
        epoch=np.zeros(count, np.int64),
    )


def make_texts(count: int) -> tuple[list[str], list[str]]:
    """Groups and origins."""
    return [f"system-{i % 17}" for i in range(count)], [f"run/ö/OUTCAR.gz#{i}" for i in range(count)]


def make_split(count: int, *, seed: int = 1) -> np.ndarray:
    """80% train, 10% validation, 10% test, in this order as ingest writes them."""
    return np.sort(np.random.default_rng(seed).choice(3, count, p=(0.8, 0.1, 0.1))).astype(np.uint8)


def write_store(
    url,
    frames: Frames,
    *,
    name: str = "demo",
    segment: str = "segment-0",
    profile: str = "lossless",
    block_frames: int = 16,
    shard_blocks: int = 4,
    append: bool = False,
    meta: dict | None = None,
    texts: tuple[list[str], list[str]] | None = None,
    split: np.ndarray | None = None,
    infos: list[str] | None = None,
) -> None:
    """Write `frames` as one segment of dataset `name`, small blocks so that a test has many; groups and origins are `texts`."""
    infos = infos or [""] * len(frames)
    groups, origins = make_texts(len(frames)) if texts is None else texts
    split = make_split(len(frames)) if split is None else split
    plan = plan_segment(
        frames.natoms, Survey.of(frames, groups, origins, infos), profile=profile, block_frames=block_frames, shard_blocks=shard_blocks
    )
    path = f"{name}/{segment}"
    for shard in range(plan.shards):
        mine = plan.shard_frames(shard)
        rows = slice(mine.start, mine.stop)
        write_shard(
            f"{url}/{path}",
            plan,
            shard,
            records=frames.part(mine.start, mine.stop),
            groups=groups[rows],
            origins=origins[rows],
            infos=infos[rows],
            split=split[rows],
        )
    entry = seal_segment(f"{url}/{path}", plan, path=path, attributes={"dataset": name})
    commit(str(url), name, [entry], meta or {"card": {"name": name}}, append=append)
