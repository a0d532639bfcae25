"""The compiled search and layout against vesin and NumPy: the same bits for structures of every kind, from any thread."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from time import sleep
from typing import Any

import numpy as np
import pytest
import torch

from lamdata.frame import Frame
from lamdata.frames import Frames
from lamtrain.data import edge_table
from lamtrain.data.batch import Batch, collate
from lamtrain.data.edge_table import find_edges
from lamtrain.data.neighbors import find_neighbors
from lamtrain.model.config import Dpa1Config, ModelConfig
from lamtrain.model.inputs import tensors_of
from tests.lamtrain.model_cases import model_config, structure

needs_compiled = pytest.mark.skipif(edge_table.compiled is None, reason="_edges.c could not be compiled at installation")
HEADS = {"a": "energy_force", "b": "denoise", "c": "energy_force", "d": "energy_force"}
CONFIGS = {
    "dpa2": model_config(heads=HEADS),
    "cut": model_config(heads=HEADS, repinit={"nsel": 20, "three_body_sel": 12}, repformer={"nsel": 8}),
    "dpa1": ModelConfig(elements=["H", "C", "O"], descriptor=Dpa1Config(type="dpa1", rcut=6.0, sel=300)),
}
CUBE, FACES = [[0, 0, 0]], [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]


@contextmanager
def plain() -> Iterator[None]:
    """By vesin and NumPy."""
    compiled, edge_table.compiled = edge_table.compiled, None
    try:
        yield
    finally:
        edge_table.compiled = compiled


def frame_of(positions: np.ndarray, cell: np.ndarray, pbc: Any = (True, True, True)) -> Frame:
    periodic = tuple(map(bool, pbc))
    numbers = np.resize([1, 6, 8], len(positions)).astype(np.uint8)
    return Frame(numbers=numbers, positions=positions, cell=cell if any(periodic) else None, pbc=periodic)


def skewed(rng: np.random.Generator) -> Frame:
    """Atoms in and around a slanted cell, periodic in some directions."""
    count = int(rng.integers(1, 50))
    length = (rng.uniform(4.0, 14.0) * count) ** (1 / 3) + 0.5
    cell = np.eye(3) * length * rng.uniform(0.5, 2.0, 3) + rng.normal(scale=0.3 * length, size=(3, 3))
    return frame_of(rng.uniform(-1.5, 2.5, (count, 3)) @ cell, cell, rng.random(3) < 0.7)


def crystal(rng: np.random.Generator) -> Frame:
    """Shells of atoms at one distance, or at one but for the last digit, some of them at the cutoff."""
    base, times, length = np.array([CUBE, FACES][rng.integers(2)]), int(rng.integers(1, 4)), rng.choice([1.5, 2.5, 3.0, 3.61])
    points, cell = np.concatenate([base + cell for cell in np.ndindex((times,) * 3)]) * length, np.eye(3) * times * length
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0] if rng.random() < 0.5 else np.eye(3)
    return frame_of(points @ turn + rng.normal(size=3) * (rng.random() < 0.3), cell @ turn)


def tiny(rng: np.random.Generator) -> Frame:
    """A primitive cell: an atom sees images of itself, many at one distance."""
    cell = (np.ones((3, 3)) - np.eye(3)) * rng.choice([1.8, 2.0, 1.5])
    return frame_of(np.array([[0, 0, 0], [0.25, 0.25, 0.25]])[: rng.integers(1, 3)] @ cell, cell)


def slab(rng: np.random.Generator) -> Frame:
    """Open in one direction or two, whichever they are; the open rows may be zero."""
    cell = np.array([[6.0, 0.0, 0.0], [2.0, 7.0, 0.0], [0.5, 0.3, 30.0]])
    points = rng.random((int(rng.integers(2, 40)), 3)) @ cell * [1.0, 1.0, 0.4]
    order, pbc = rng.permutation(3), np.array([True, rng.random() < 0.5, False])
    return frame_of(points, np.where(pbc[:, None] | (rng.random() < 0.5), cell, 0.0)[order], pbc[order])


def molecule(rng: np.random.Generator) -> Frame:
    """From dense to scattered, in a line, in a plane, or a lone atom."""
    spread = rng.uniform(1.0, 12.0, 3) * (rng.random(3) < 0.8)
    return frame_of(rng.normal(size=(int(rng.integers(1, 60)), 3)) * spread, np.zeros((3, 3)), (False,) * 3)


def lone(rng: np.random.Generator) -> Frame:
    return frame_of(rng.normal(size=(1, 3)) * 10.0, np.eye(3) * rng.uniform(1.5, 20.0), rng.random(3) < 0.5)


def frames_of(rng: np.random.Generator, heads: int) -> Frames:
    makers: list[Callable[[np.random.Generator], Frame]] = [skewed, crystal, tiny, slab, molecule, lone]
    frames = Frames.from_list([makers[k](rng) for k in rng.integers(len(makers), size=int(rng.integers(1, 9)))])
    return frames.with_(head=rng.integers(heads, size=len(frames)).astype(np.int32))


def assert_same_bits(one: Batch, two: Batch) -> None:
    assert one.truncated == two.truncated and [c.widths for c in one.chunks] == [c.widths for c in two.chunks]
    assert [(c.start, c.stop, c.with_forces) for c in one.chunks] == [(c.start, c.stop, c.with_forces) for c in two.chunks]
    for a, b in zip(tensors_of(one), tensors_of(two), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()


@needs_compiled
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", range(12))
def test_both_ways_give_the_same_bits(name: str, seed: int) -> None:
    rng, config = np.random.default_rng(seed), CONFIGS[name]
    frames = frames_of(rng, len(config.heads))
    how: dict[str, Any] = {"dtype": (torch.float32, torch.float64)[seed % 2], "chunk_atoms": (7, 48)[seed // 2 % 2]}
    with plain():
        wanted = collate(frames, config, **how)
    assert_same_bits(collate(frames, config, **how), wanted)


@needs_compiled
@pytest.mark.parametrize("maker", [skewed, crystal, tiny, slab, molecule, lone])
def test_every_kind_of_structure_is_searched_by_the_compiled_file(maker: Callable[[np.random.Generator], Frame], monkeypatch) -> None:
    monkeypatch.setattr(edge_table, "find_neighbors", lambda *_, **__: pytest.fail("left to vesin"))
    find_edges(Frames.from_list([maker(np.random.default_rng(seed)) for seed in range(5)]), CONFIGS["dpa2"].descriptor.lists)


@needs_compiled
def test_a_large_cell_and_a_vast_space_have_the_same_bits_too() -> None:
    rng = np.random.default_rng(0)
    large = frame_of(rng.random((10_000, 3)) * 50.0, np.eye(3) * 50.0)
    vast = frame_of(rng.random((40, 3)) * [1e3, 2e3, 3e3], np.zeros((3, 3)), (False,) * 3)
    frames = Frames.from_list([large, vast])
    with plain():
        wanted = collate(frames, CONFIGS["dpa2"], dtype=torch.float32)
    assert_same_bits(collate(frames, CONFIGS["dpa2"], dtype=torch.float32), wanted)


@needs_compiled
def test_threads_side_by_side_make_the_batches_that_one_makes() -> None:
    config = CONFIGS["dpa2"]
    batches = [frames_of(np.random.default_rng(seed), len(config.heads)) for seed in range(32)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda frames: collate(frames, config), batches))
    for frames, batch in zip(batches, made):
        assert_same_bits(batch, collate(frames, config))


@needs_compiled
def test_other_threads_run_during_a_search() -> None:
    rng = np.random.default_rng(0)
    frames, lists = Frames.from_list([frame_of(rng.random((20_000, 3)) * 60.0, np.eye(3) * 60.0)]), CONFIGS["dpa2"].descriptor.lists
    ticks, done = [0], threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks[0] += 1
            sleep(1e-4)

    def ticks_of_a_search() -> int:
        before = ticks[0]
        find_edges(frames, lists)
        return ticks[0] - before

    other, interval = threading.Thread(target=tick), sys.getswitchinterval()
    sys.setswitchinterval(60.0)  # only who gives the lock away lets others run
    try:
        other.start()
        assert any(ticks_of_a_search() > 3 for _ in range(20))
    finally:
        done.set()
        sys.setswitchinterval(interval)
        other.join()


def test_what_vesin_refuses_is_refused_as_before() -> None:
    flat = frame_of(np.zeros((2, 3)) + [[0], [1.0]], np.ones((3, 3)))
    nowhere = frame_of(np.array([[0.0, np.nan, 0.0]]), np.eye(3) * 9.0)
    for frame, why in ((flat, "not invertible"), (nowhere, "non-finite")):
        with pytest.raises(RuntimeError, match=why):
            find_edges(Frames.from_list([structure(4), frame]), CONFIGS["dpa2"].descriptor.lists)


@pytest.mark.parametrize("way", ["compiled", "plain"])
def test_edges_that_lead_outside_of_a_batch_are_an_error(way: str) -> None:
    if way == "compiled" and edge_table.compiled is None:
        pytest.skip("_edges.c could not be compiled at installation")
    frame = structure(5, seed=1)
    edges = find_neighbors(frame.positions, cell=frame.cell, pbc=np.array(frame.pbc), cutoff=5.0)
    wrong = replace(edges, neighbors=np.where(np.arange(len(edges.neighbors)) == 3, 5, edges.neighbors))
    with pytest.raises((ValueError, IndexError)):
        if way == "plain":
            with plain():
                collate(Frames.from_list([frame]), CONFIGS["dpa2"], edges=[wrong])
        else:
            collate(Frames.from_list([frame]), CONFIGS["dpa2"], edges=[wrong])


@needs_compiled
def test_arrays_that_do_not_go_together_are_refused_before_anything_is_written() -> None:
    frames, compiled = Frames.from_list([structure(5)]), edge_table.compiled
    lengths = {"begins": 5, "counts": 5, "neighbors": 50, "vectors": 150, "truncated": 1}
    for name in lengths:
        short = {each: length - (each == name) for each, length in lengths.items()}
        arrays = [np.zeros(length, float if each == "vectors" else np.int64) for each, length in short.items()]
        with pytest.raises(ValueError, match="do not go together"):
            compiled.find(frames.positions, frames.starts, frames.cell, frames.pbc, np.array([5.0]), np.array([10]), *arrays)
    cuts, widths, room = np.array([0, 5]), np.array([10]), np.zeros(50, np.int64)
    table, order = find_edges(frames, {"one": CONFIGS["dpa1"].descriptor.lists["se_atten"]}), np.arange(5)
    (counts,) = table.counts.values()
    for bad in ({"order": order + 1}, {"widths": widths + 1}, {"counts": counts + 11}, {"begins": table.begins - 1}):
        given = {"order": order, "rank": order, "begins": table.begins, "counts": np.minimum(counts, 10), "widths": widths} | bad
        rows = [given[name] for name in ("order", "rank", "begins", "counts")]
        with pytest.raises(ValueError, match="outside its array"):
            compiled.lay_out(*rows, table.neighbors, table.vectors, cuts, given["widths"], np.array([0]), np.zeros((50, 3)), room, 7.0, 8)
