"""The model's first block and its denoise head against equations written out by hand with NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from lamdata.frames import Frames
from lamtrain.data.batch import collate
from tests.lamtrain.model_cases import build_model, model_config, structure


def test_repinit_of_a_trimer_by_hand():
    """M = R^T G / nsel, D = M^T M[:, :axis], with R = s (1/r, d/r^2) / std and G = net(R_0, tebd_j, tebd_i)."""
    config = model_config()
    model = build_model(config)
    frame = replace(
        structure(3, periodic=(False,) * 3),
        numbers=np.array([8, 1, 6], np.uint8),
        positions=np.array([[0.0, 0, 0], [0.9, 0, 0], [0, 2.0, 1.0]]),
    )
    batch = collate(Frames.from_list([frame]), config)
    taken = {}
    model.descriptor.repinit.register_forward_hook(lambda module, args, out: taken.update(out=out))
    with torch.no_grad():
        model(batch)
    block = config.descriptor.repinit
    p = {name: value.detach().numpy() for name, value in model.descriptor.named_parameters()}
    std = model.descriptor.repinit.environment.std.numpy()
    # tebd_dim is 4 and there are 3 elements: the type embedding is the plain matrix, with no skip
    tebd, types = p["type_embedding.weight"], [2, 0, 1]

    def net(x):
        x = np.tanh(x @ p["repinit.embedding.layers.0.weight"] + p["repinit.embedding.layers.0.bias"])
        for k in (1, 2):
            x = np.tanh(x @ p[f"repinit.embedding.layers.{k}.weight"] + p[f"repinit.embedding.layers.{k}.bias"]) + np.concatenate([x, x])
        return x

    for i in range(3):
        moment = np.zeros((4, 16))
        for j in set(range(3)) - {i}:
            d = frame.positions[j] - frame.positions[i]
            r = np.linalg.norm(d)
            u = np.clip((r - block.rcut_smth) / (block.rcut - block.rcut_smth), 0, 1)
            s = u**3 * (-6 * u**2 + 15 * u - 10) + 1
            row = s * np.array([1 / r, *(d / r**2)]) / std[types[i]]
            moment += np.outer(row, net(np.array([row[0], *tebd[types[j]], *tebd[types[i]]]))) / block.nsel
        want = (moment.T @ moment[:, : block.axis_neuron]).ravel()
        np.testing.assert_allclose(taken["out"][batch.rank[i]].detach().numpy(), want, rtol=0, atol=1e-15)


def test_the_denoise_head_of_a_pair_by_hand():
    """dx_i = f(g2_ij) d_ij sw / (sw + 1e-6): with one neighbour, a multiple of the vector to it, in Å."""
    model = build_model(model_config(heads={"relaxed": "denoise"}))
    frame = replace(
        structure(2, periodic=(False,) * 3), numbers=np.array([8, 8], np.uint8), positions=np.array([[0.0, 0, 0], [0.6, 0.8, 0.0]])
    )
    with torch.no_grad():
        out = model(collate(Frames.from_list([frame]), model.config))
    toward = out.displacement[0] / torch.tensor([0.6, 0.8, 1.0], dtype=torch.float64)
    torch.testing.assert_close(toward[0], toward[1], rtol=1e-12, atol=0)
    torch.testing.assert_close(out.displacement[0], -out.displacement[1], rtol=1e-12, atol=0)
    assert out.displacement[0, 2] == 0 and toward[0] != 0
