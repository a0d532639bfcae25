"""Collation: order, types, labels, chunks."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from lamdata.errors import DataError
from lamdata.frames import MASKED, Frames
from lamtrain.data.batch import collate
from lamtrain.data.neighbors import Edges, find_neighbors
from lamtrain.model import inputs
from lamtrain.model.config import Dpa1Config, ModelConfig
from tests.lamtrain.model_cases import model_config, structure

CONFIG = model_config(heads={"dft": "energy_force", "relaxed": "denoise"})
FRAMES = Frames.from_list([structure(9, seed=1), structure(1, periodic=(False,) * 3), structure(14, seed=2, periodic=(True, True, False))])


def test_rows_are_the_callers_atoms_in_another_order():
    batch = collate(FRAMES, CONFIG, chunk_atoms=5)
    assert torch.equal(batch.rank[batch.order], torch.arange(24))
    assert [chunk.start for chunk in batch.chunks] == [0, *(chunk.stop for chunk in batch.chunks)][:-1]
    assert batch.chunks[-1].stop == 24
    assert torch.equal(batch.frame, torch.tensor([0] * 9 + [1] + [2] * 14))


def test_edges_join_atoms_of_one_frame_and_empty_slots_lie_beyond_the_cutoff():
    batch = collate(FRAMES, CONFIG, chunk_atoms=5)
    frame = batch.frame[batch.order]
    for chunk in batch.chunks:
        assert torch.equal(frame[chunk.neighbors], frame[chunk.start : chunk.stop].unsqueeze(1).expand_as(chunk.neighbors))
        r = chunk.vectors.norm(dim=-1)
        assert (r.diff(dim=1) >= 0).all() and ((r < 5.0) | (r == 6.0)).all()
        assert not (r[:, chunk.widths["repformer"] :] < 3.5).any()


def test_an_edge_leads_to_its_neighbours_position_up_to_lattice_vectors():
    batch = collate(FRAMES, CONFIG)
    positions = torch.from_numpy(FRAMES.positions)[batch.order]
    cell = torch.from_numpy(FRAMES.cell[0])
    for chunk in batch.chunks:
        steps = positions[chunk.neighbors] - positions[chunk.start : chunk.stop].unsqueeze(1) - chunk.vectors
        first = (batch.frame[batch.order][chunk.start : chunk.stop] == 0).unsqueeze(1) & (chunk.vectors.norm(dim=-1) < 5.0)
        whole = steps[first] @ torch.linalg.inv(cell)
        assert (whole - whole.round()).abs().max() < 1e-9


def test_types_follow_the_elements_of_the_model_and_hidden_atoms_come_last():
    numbers = FRAMES.numbers.copy()
    numbers[3] = MASKED
    head = np.ones(len(FRAMES), np.int32)  # a denoise head: elsewhere nothing is asked of hidden atoms
    batch = collate(FRAMES.with_(numbers=numbers, clean_numbers=FRAMES.numbers, head=head), CONFIG)
    assert batch.types[3] == CONFIG.masked_type == 3 and batch.labels["masked"].nonzero().tolist() == [[3]]
    assert torch.equal(batch.clean_types, torch.from_numpy(np.searchsorted([1, 6, 8], FRAMES.numbers)))


def test_an_element_outside_the_model_is_named():
    strange = Frames.from_list([replace(structure(3), numbers=np.array([1, 26, 79], np.uint8))])
    with pytest.raises(DataError, match="Fe, Au"):
        collate(strange, CONFIG)


def test_a_head_outside_the_model_is_an_error():
    with pytest.raises(DataError, match="head 7"):
        collate(FRAMES.with_(head=np.array([0, 7, 0], np.int32)), CONFIG)


def test_labels_and_noise_come_through_in_the_callers_order():
    rng = np.random.default_rng(0)
    noise, forces = rng.normal(size=(24, 3)), rng.normal(size=(24, 3))
    noised = rng.random(24) < 0.5
    frames = FRAMES.with_(
        noise=noise, noised=noised, forces=forces, energy=np.array([1.0, 2.0, 3.0]), has_energy=np.array([True, False, True])
    )
    batch = collate(frames, CONFIG, dtype=torch.float32)
    assert torch.equal(batch.labels["displacement"], torch.from_numpy(-noise).float())
    assert torch.equal(batch.labels["forces"], torch.from_numpy(forces).float())
    assert batch.labels["energy"].dtype == torch.float64 and batch.labels["has_energy"].tolist() == [True, False, True]
    of_denoise = np.repeat(FRAMES.head == 1, FRAMES.natoms)
    assert torch.equal(batch.labels["noised"], torch.from_numpy(noised & of_denoise)), "flags of a kind are off in frames of others"


def test_chunks_hold_frames_of_one_kind_of_head_only():
    batch = collate(FRAMES.with_(head=np.array([1, 0, 0], np.int32)), CONFIG, chunk_atoms=4)
    kinds = [set((batch.head[batch.frame[batch.order]][c.start : c.stop] == 0).tolist()) for c in batch.chunks]
    assert kinds == [{c.with_forces} for c in batch.chunks] and {c.with_forces for c in batch.chunks} == {True, False}
    by_name = {head.name: head for head in batch.heads}
    assert len(by_name["relaxed"].rows) == 9 and len(by_name["dft"].rows) == 15
    assert sum(len(rows) for rows in by_name["dft"].by_chunk) == 15


def test_tiles_hold_the_rows_of_their_heads_and_repeat_one_where_they_are_not_full():
    config = model_config(heads={"a": "energy_force", "b": "denoise", "c": "energy_force", "d": "energy_force"})
    frames = Frames.from_list([structure(n, seed=n) for n in (9, 1, 4, 14, 2)]).with_(head=np.array([0, 0, 1, 2, 3], np.int32))
    batch = collate(frames, config, chunk_atoms=5)
    assert batch.tiles.keys() == {"energy_force"}
    own = [head for head in batch.heads if head.name != "b"]
    laid = batch.tiles["energy_force"]
    assert [tiles is None for tiles in laid.by_chunk] == [not chunk.with_forces for chunk in batch.chunks]
    places = [(laid.atoms, [head.rows for head in own])]
    places += [(tiles, [head.by_chunk[k] for head in own]) for k, tiles in enumerate(laid.by_chunk) if tiles is not None]
    for tiles, rows in places:
        assert torch.equal(tiles.own_rows, torch.cat(rows)) and len(tiles.rows) % tiles.count == 0
        names = torch.arange(len(own)) if tiles.heads is None else tiles.heads
        for name, tile in zip(names.tolist(), tiles.rows.view(tiles.count, -1), strict=True):
            assert set(tile.tolist()) <= set(rows[name].tolist())
    assert any(tiles.heads is not None for tiles, _ in places) and any(tiles.heads is None for tiles, _ in places)


def test_a_batch_counts_the_atoms_whose_lists_were_cut():
    tight = model_config(repinit={"nsel": 10, "three_body_sel": 4}, repformer={"nsel": 4})
    batch = collate(FRAMES, tight)
    assert all(0 < count <= 24 for count in batch.truncated.values())
    assert max(chunk.vectors.shape[1] for chunk in batch.chunks) == 10
    assert max(chunk.widths["repformer"] for chunk in batch.chunks) == 4


STUDENT = ModelConfig(elements=["H", "C", "O"], descriptor=Dpa1Config(type="dpa1", rcut=4.5, sel=13))
TIGHT = model_config(repinit={"nsel": 10, "three_body_sel": 4}, repformer={"nsel": 4})


def edges_of(frames: Frames, *, cutoff: float, most: int | None) -> list[Edges]:
    """Found frame by frame, as a simulation would give them."""
    return [
        find_neighbors(f.positions, cell=np.zeros((3, 3)) if f.cell is None else f.cell, pbc=np.array(f.pbc), cutoff=cutoff, most=most)
        for f in frames
    ]


def assert_same(a: Any, b: Any) -> None:
    """Every tensor and number of two batches."""
    if is_dataclass(a):
        for field in fields(a):
            assert_same(getattr(a, field.name), getattr(b, field.name))
    elif isinstance(a, tuple):
        for one, two in zip(a, b, strict=True):
            assert_same(one, two)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for name in a:
            assert_same(a[name], b[name])
    else:
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("config", [CONFIG, TIGHT, STUDENT], ids=["dpa2", "cut lists", "dpa1"])
@pytest.mark.parametrize("further", [0.0, 1.7])
def test_edges_from_elsewhere_give_the_same_batch_however_far_they_reach(config: ModelConfig, further: float) -> None:
    longest = next(iter(config.descriptor.lists.values()))
    for most in (None, longest.nsel) if not further else (None,):
        edges = edges_of(FRAMES, cutoff=longest.rcut + further, most=most)
        assert_same(collate(FRAMES, config, chunk_atoms=7, edges=edges), collate(FRAMES, config, chunk_atoms=7))


def test_edges_that_cannot_be_those_of_the_frames_are_refused() -> None:
    whole = edges_of(FRAMES, cutoff=5.0, most=None)
    with pytest.raises(ValueError, match=r"atoms, for frames with \[9, 1, 14\]"):
        collate(FRAMES, CONFIG, edges=whole[::-1])
    with pytest.raises(ValueError, match=r"structures with \[9, 1\] atoms"):
        collate(FRAMES, CONFIG, edges=whole[:2])
    for cutoff, most in ((5.0, 9), (6.5, 30)):
        with pytest.raises(ValueError, match="lost neighbours"):
            collate(FRAMES, CONFIG, edges=edges_of(FRAMES, cutoff=cutoff, most=most))
    far = whole[0]
    backwards = replace(far, neighbors=far.neighbors[::-1], vectors=far.vectors[::-1], distances=far.distances[::-1])
    with pytest.raises(ValueError, match="the nearest first"):
        collate(FRAMES, CONFIG, edges=[backwards, *whole[1:]])


def test_moving_a_batch_moves_every_tensor():
    moved = collate(FRAMES, CONFIG).to("meta")
    assert moved.types.device.type == moved.chunks[0].vectors.device.type == moved.heads[0].by_chunk[0].device.type == "meta"


def test_a_batch_goes_to_an_accelerator_in_one_buffer_for_each_type() -> None:
    """Each tensor at a multiple of 16 bytes, with the values it had."""
    batch = collate(FRAMES, CONFIG)
    found = inputs.tensors_of(batch)
    sent = inputs._sent(found, torch.device("cpu"), non_blocking=False)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(found, sent, strict=True)) and len(found) >= 20
    assert len({tensor.untyped_storage().data_ptr() for tensor in sent}) == len({tensor.dtype for tensor in found}) <= 4
    assert all(tensor.storage_offset() * tensor.element_size() % 16 == 0 for tensor in sent)


def test_a_batch_that_is_there_already_stays() -> None:
    batch = collate(FRAMES, CONFIG)
    assert batch.to("cpu") is batch
