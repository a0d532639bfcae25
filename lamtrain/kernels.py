"""The kernels of a model by name, and the trial by which `auto` takes Triton's on a GPU.

They were written for GPUs that their tests do not have. So nobody gets them unasked who has not seen them give, on his own GPU and with his own model,
what plain gives: outputs, and the gradient of a loss on all of them, of a few frames with many neighbours, few and none. Else `auto` is plain there, and says why.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor

from lamdata.errors import SetupError
from lamdata.frame import Frame
from lamdata.frames import Frames

from .data.batch import collate
from .model.elements import NUMBERS
from .model.inputs import Batch
from .model.kernels.choose import PLAIN, Kernels, kernels
from .model.lam import LamModel

SPACING = 1.5  # Å; so near that all lists are full, as they are in no data
APART = {
    "highest": 1e-3,
    "high": 5e-2,
}  # of the largest number of a tensor: what exact products and TF32 may differ by, and no mistake would
SMALL = 1e-3  # of the largest gradient: tensors below it are rounding


def use_kernels(model: LamModel, name: str) -> LamModel:
    """Choose the kernels of a model where it is; SetupError where there are none of that name."""
    device = next(model.parameters()).device
    try:
        return model.use_kernels(tried(model, device) if name == "auto" and device.type != "cpu" else name)
    except (RuntimeError, ValueError) as err:
        raise SetupError(str(err).splitlines()[0], where=f"kernels: {name}", hint="take kernels: plain") from err


def tried(model: LamModel, device: torch.device) -> Kernels:
    """Triton's kernels where they cover the model and pass the trial, else plain, and why."""
    try:
        tiled = kernels("triton", device.type, model.config)
        reason = difference(model, tiled, device)
    except RuntimeError as err:  # none installed, an option that they do not have, or what a compiler or a GPU says
        reason = (str(err).splitlines() or [type(err).__name__])[0]
    if reason is None:
        return tiled
    print(f"kernels: plain, since {reason}", file=sys.stderr)
    return PLAIN


def difference(model: LamModel, tiled: Kernels, device: torch.device) -> str | None:
    """Where the kernels give other numbers than plain on the trial's frames; None where they give the same."""
    batch = collate(trial_frames(model), model.config, dtype=next(model.parameters()).dtype, chunk_atoms=tiled.chunk_atoms).to(device)
    expected, found = numbers(model.use_kernels(PLAIN), batch), numbers(model.use_kernels(tiled), batch)
    largest, limit = max(float(values.abs().max()) for values in expected.values()), APART.get(torch.get_float32_matmul_precision(), 5e-2)
    for name, values in expected.items():
        scale = max(float(values.abs().max()), SMALL * largest)
        apart = float((found[name] - values).abs().max())
        if not apart <= limit * scale:  # not a number is not the same
            return f"triton's give another {name} than plain on {device}: {apart:.3g} apart, of {scale:.3g}"
    return None


def numbers(model: LamModel, batch: Batch) -> dict[str, Tensor]:
    """All outputs, and the gradient of the sum of their squares by each parameter."""
    parameters = {name: one for name, one in model.named_parameters() if one.requires_grad}
    names = ("energy", "forces", "virial", "displacement", "type_logits")
    with torch.enable_grad():
        out = model(batch, create_graph=True)
        values = {name: value for name in names if (value := getattr(out, name)) is not None}
        loss = torch.stack([torch.square(value).sum() for value in values.values()]).sum()
        gradient = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True) if parameters else ()
    given = {f"gradient of {name}": one for name, one in zip(parameters, gradient) if one is not None}
    return {name: value.detach() for name, value in (values | given).items()}


def trial_frames(model: LamModel) -> Frames:
    """A crowded crystal, a molecule and an atom of the model's elements for each head in turn."""
    symbols = model.config.elements
    grid = np.stack(np.meshgrid(*[np.arange(3.0)] * 3, indexing="ij"), -1).reshape(-1, 3)
    shaken = SPACING * grid + np.random.default_rng(0).uniform(-0.1, 0.1, grid.shape)
    frames = []
    for count, cell in ((27, 3 * SPACING * np.eye(3)), (5, None), (1, None)):
        atoms = np.array([NUMBERS[symbols[i % len(symbols)]] for i in range(count)], np.uint8)
        frames.append(Frame(numbers=atoms, positions=shaken[:count], cell=cell, pbc=(cell is not None,) * 3))
    heads = len(model.config.heads)
    return Frames.from_list(frames * heads).with_(head=np.repeat(np.arange(heads, dtype=np.int32), len(frames)))
