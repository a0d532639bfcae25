"""Statistics of the environment matrix: by hand, and as sums."""

from __future__ import annotations

import numpy as np
import torch

from lamdata.frames import Frames
from lamtrain.data.batch import collate
from lamtrain.model.statistics import environment_statistics
from tests.lamtrain.model_cases import build_model, model_config, structure

CONFIG = model_config(repinit={"set_davg_zero": False})
FRAMES = Frames.from_list([structure(9, seed=k) for k in range(4)])


def test_statistics_of_parts_add_up_to_those_of_the_whole():
    whole = environment_statistics([collate(FRAMES, CONFIG)], CONFIG)
    parts = environment_statistics([collate(FRAMES.part(0, 1), CONFIG)], CONFIG) + environment_statistics(
        [collate(FRAMES.part(1, 3), CONFIG, chunk_atoms=3), collate(FRAMES.part(3, 4), CONFIG)], CONFIG
    )
    for block in ("repinit", "three_body", "repformer"):
        torch.testing.assert_close(parts.std(block), whole.std(block), rtol=1e-12, atol=0)
        torch.testing.assert_close(parts.mean(block), whole.mean(block), rtol=1e-12, atol=0)


def test_padding_counts_as_zeros():
    """std^2 = sum s^2 / (n nsel) - mean^2, with nsel slots for each atom however few neighbours it has."""
    batch = collate(FRAMES, CONFIG)
    stats = environment_statistics([batch], CONFIG)
    block = CONFIG.descriptor.repinit
    types = batch.types[batch.order]
    total, square, number = np.zeros(4), np.zeros(4), np.zeros(4)
    for chunk in batch.chunks:
        for atom, vectors in zip(range(chunk.start, chunk.stop), chunk.vectors.numpy()):
            r = np.linalg.norm(vectors, axis=1)
            u = np.clip((r - block.rcut_smth) / (block.rcut - block.rcut_smth), 0, 1)
            s = (u**3 * (-6 * u**2 + 15 * u - 10) + 1) / r
            total[types[atom]] += s.sum()
            square[types[atom]] += (s**2).sum()
            number[types[atom]] += block.nsel
    mean = total[:3] / number[:3]
    np.testing.assert_allclose(stats.mean("repinit")[:3, 0], mean, rtol=1e-12)
    np.testing.assert_allclose(stats.std("repinit")[:3, 0], np.sqrt(square[:3] / number[:3] - mean**2), rtol=1e-12)


def test_a_type_without_atoms_gets_the_references_default_and_a_hidden_type_the_pool_of_all():
    only = Frames.from_list([structure(9, seed=1)]).with_(numbers=np.array([1] * 6 + [8] * 3, np.uint8))
    std = environment_statistics([collate(only, CONFIG)], CONFIG).std("repformer")
    assert (std[1] == 0.1).all()
    assert min(std[0, 0], std[2, 0]) <= std[3, 0] <= max(std[0, 0], std[2, 0]) * 1.5


def test_statistics_go_into_the_buffers_of_each_block():
    model = build_model(CONFIG)
    stats = environment_statistics([collate(FRAMES, CONFIG)], CONFIG)
    stats.apply(model.descriptor, CONFIG)
    assert torch.equal(model.descriptor.repinit.environment.std, stats.std("repinit"))
    assert torch.equal(model.descriptor.repinit.environment.mean, stats.mean("repinit"))
    assert (model.descriptor.repformer.environment.mean == 0).all()  # its set_davg_zero is on
