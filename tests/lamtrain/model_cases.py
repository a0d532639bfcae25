"""Small structures and models that the tests of the model share."""

from __future__ import annotations

import numpy as np
import torch

from lamdata.frame import Frame
from lamdata.frames import Frames
from lamtrain.data.batch import collate
from lamtrain.model.config import DenoiseConfig, Dpa2Config, FittingConfig, ModelConfig, RepformerConfig, RepinitConfig
from lamtrain.model.lam import LamModel, Output

ELEMENTS = ["H", "C", "O"]


def model_config(
    *, heads: dict[str, str] | None = None, repinit: dict | None = None, repformer: dict | None = None, **descriptor
) -> ModelConfig:
    """Every term of the model on, at a size that takes milliseconds; seeds fixed."""
    wide = {
        "rcut": 5.0, "rcut_smth": 1.0, "nsel": 60, "neuron": [4, 8, 16], "axis_neuron": 4, "tebd_dim": 4,
        "use_three_body": True, "three_body_neuron": [2, 4], "three_body_rcut": 3.5, "three_body_rcut_smth": 2.0, "three_body_sel": 24,
    }  # fmt: skip
    narrow = {
        "rcut": 3.5, "rcut_smth": 2.0, "nsel": 24, "nlayers": 2, "g1_dim": 8, "g2_dim": 6, "axis_neuron": 3, "attn1_hidden": 4, "attn1_nhead": 2,
        "attn2_hidden": 4, "attn2_nhead": 2, "attn2_has_gate": True, "update_style": "res_residual", "update_residual": 0.5,
    }  # fmt: skip
    blocks = Dpa2Config(
        repinit=RepinitConfig(**wide | (repinit or {})), repformer=RepformerConfig(**narrow | (repformer or {})), seed=1, **descriptor
    )
    return ModelConfig(
        elements=ELEMENTS,
        descriptor=blocks,
        fitting=FittingConfig(neuron=[12, 12], seed=2),
        denoise=DenoiseConfig(seed=3),
        heads=heads or {"energy": "energy_force"},
    )


def build_model(config: ModelConfig) -> LamModel:
    """Evaluation mode, with statistics and reference energies that differ by type."""
    model = LamModel(config).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("std"):
            buffer.copy_(torch.linspace(0.3, 0.6, len(buffer)).unsqueeze(1).expand_as(buffer))
        if name.endswith("mean") and not config.descriptor.repinit.set_davg_zero:
            buffer[:, 0] = torch.linspace(0.05, 0.2, len(buffer))
        if name.endswith(".bias"):
            buffer.copy_(torch.linspace(-3.0, 2.0, len(buffer)))
    return model


def structure(natoms: int, *, length: float = 0.0, seed: int = 0, periodic: tuple[bool, bool, bool] = (True, True, True)) -> Frame:
    """Random atoms, none closer than 0.9 Å, in a slanted cell; about 12 Å^3 an atom unless `length` is given."""
    rng = np.random.default_rng(seed)
    length = length or (12.0 * natoms) ** (1 / 3) + 1.0
    cell = np.eye(3) * length + np.tril(rng.normal(scale=0.3, size=(3, 3)), -1)
    points: list[np.ndarray] = []
    while len(points) < natoms:
        point = rng.random(3)
        gaps = [np.linalg.norm(((point - other + 0.5) % 1.0 - 0.5) @ cell) for other in points]
        if all(gap > 0.9 for gap in gaps):
            points.append(point)
    numbers = rng.choice([1, 6, 8], natoms).astype(np.uint8)
    return Frame(numbers=numbers, positions=np.array(points) @ cell, cell=cell if any(periodic) else None, pbc=periodic)


def evaluate(model: LamModel, frames: Frame | list[Frame] | Frames, **collation) -> Output:
    """Outputs of the model for a frame, a list, or a batch."""
    if isinstance(frames, Frame):
        frames = [frames]
    if not isinstance(frames, Frames):
        frames = Frames.from_list(frames)
    with torch.no_grad():
        return model(collate(frames, model.config, **collation))
