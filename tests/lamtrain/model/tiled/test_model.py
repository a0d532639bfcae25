"""The whole model by the triton kernels, under the interpreter: energies, forces, virials, and the gradients that training takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lamdata.frames import Frames
from lamtrain import kernels as trial
from lamtrain.data.batch import collate
from tests.lamtrain.model_cases import build_model, model_config, structure

pytest.importorskip("triton", reason="triton is not installed")

COVERED = {
    "nlayers": 3, "update_g1_has_attn": False, "update_g2_has_g1g1": False, "update_g2_has_attn": True, "g1_dim": 6, "g2_dim": 4, "axis_neuron": 2,
    "rcut": 2.2, "rcut_smth": 1.2, "nsel": 6, "attn2_nhead": 1,
}  # fmt: skip
WIDE = {"neuron": [2, 4, 8], "axis_neuron": 3, "rcut": 2.6, "nsel": 9, "three_body_neuron": [2, 4, 8], "three_body_rcut": 2.0, "three_body_rcut_smth": 1.0,
        "three_body_sel": 5}  # fmt: skip


def config_of(repformer=None, **options):
    return model_config(repinit=WIDE, repformer=COVERED | (repformer or {}), **options)


def gradients(model, batch) -> list[torch.Tensor]:
    out = model(batch)
    loss = (out.forces**2).sum() + out.energy.sum() + (out.virial**2).sum()
    if out.displacement is not None:
        loss = loss + (out.displacement**2).sum() + (out.type_logits**2).sum()
    parameters = list(model.parameters())
    torch.autograd.backward(loss, inputs=parameters)
    return [out.energy, out.forces, out.virial, *(p.grad for p in parameters if p.grad is not None)]


def compare(config, batch) -> None:
    plain, tiled = (gradients(build_model(config).train().use_kernels(name), batch) for name in ("plain", "triton"))
    for a, b in zip(plain, tiled, strict=True):
        a, b = a.detach(), b.detach()
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-12 * float(a.abs().max()) + 1e-13)


def test_a_step_has_the_plain_gradients():
    config = config_of({"nlayers": 2})
    compare(config, collate(Frames.from_list([structure(2, seed=2, periodic=(False,) * 3)]), config, chunk_atoms=1 << 30))


def test_they_pass_the_trial_by_which_auto_takes_them(monkeypatch):
    config = config_of({"nlayers": 2})
    monkeypatch.setattr(trial, "trial_frames", lambda model: Frames.from_list([structure(2, seed=2, periodic=(False,) * 3)]))
    model = build_model(config)
    assert trial.tried(model, torch.device("cpu")).name == model.descriptor.kernels.name == "triton"


@pytest.mark.slow(reason="the interpreter takes half a minute for it")
def test_a_step_of_energies_forces_and_denoising_has_the_plain_gradients():
    config = config_of(heads={"dft": "energy_force", "relaxed": "denoise"})
    frames = Frames.from_list([structure(3, seed=2, periodic=(False,) * 3), structure(1, periodic=(False,) * 3), structure(2, seed=3)])
    compare(config, collate(frames.with_(head=np.array([0, 0, 1], np.int32)), config, chunk_atoms=1 << 30))


@pytest.mark.slow(reason="the interpreter takes ten seconds for it")
def test_a_step_without_attention_in_chunks_has_the_plain_gradients():
    config = config_of({"update_g2_has_attn": False, "nlayers": 2})
    pair = replace(structure(2, seed=1, periodic=(False,) * 3), positions=np.array([[0.0, 0.0, 0.0], [50.0, 0.0, 0.0]]))
    compare(config, collate(Frames.from_list([structure(3, seed=4, periodic=(False,) * 3), pair]), config, chunk_atoms=2))
