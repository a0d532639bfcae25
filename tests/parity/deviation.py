"""An .npz that `oracle.py` wrote -> the same model and structures here, and how far the two are apart."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lamdata.frame import Frame
from lamdata.frames import Frames
from lamtrain.data.batch import collate
from lamtrain.deepmd.names import branch_tensors, load_branch
from lamtrain.deepmd.options import config_of
from lamtrain.model.elements import NUMBERS
from lamtrain.model.lam import LamModel, Output

HEAD = "energy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """Largest deviations over the structures of a case."""

    energy: float  # eV per atom
    forces: float  # eV/Å
    virial: float  # eV per atom
    gradient: float  # of any parameter, relative to the largest gradient of all


def compare_case(path: Path, *, kernels: str = "plain") -> Apart:
    """Evaluate all structures of a case in one batch and compare with what the reference said of them one by one."""
    case = np.load(path, allow_pickle=False)
    model, frames = load_model(case).use_kernels(kernels), load_frames(case)
    batch = collate(frames, model.config, dtype=torch.float64)
    output = model.train()(batch)
    energy, forces, virial = (load_outputs(case, key) for key in ("energy", "forces", "virial"))
    natoms = torch.from_numpy(frames.natoms.astype(float))
    return Apart(
        energy=largest((output.energy - torch.stack(energy)) / natoms),
        forces=largest(output.forces - torch.cat(forces)),
        virial=largest((output.virial - torch.stack(virial)) / natoms[:, None, None]),
        gradient=compare_gradients(model, output, case),
    )


def largest(difference: torch.Tensor) -> float:
    return float(difference.detach().abs().max())


def load_model(case: np.lib.npyio.NpzFile) -> LamModel:
    """The model of a case with the reference's weights, by the same code that reads its checkpoints."""
    model = LamModel(config_of({HEAD: json.loads(str(case["params"]))}, where="case")).double()
    weights = {key.removeprefix("weight/"): torch.from_numpy(case[key]) for key in case.files if key.startswith("weight/")}
    load_branch(model, HEAD, {key: value for key, value in weights.items() if value.numel()}, where="case")
    return model


def load_frames(case: np.lib.npyio.NpzFile) -> Frames:
    """The structures of a case."""
    numbers = np.array([NUMBERS[symbol] for symbol in json.loads(str(case["params"]))["type_map"]], np.uint8)
    frames = []
    while (place := f"system{len(frames)}") + "/positions" in case.files:
        cell = case[f"{place}/cell"] if f"{place}/cell" in case.files else None
        own = {"numbers": numbers[case[f"{place}/types"]], "positions": case[f"{place}/positions"], "cell": cell}
        frames.append(Frame(**own, pbc=tuple(case[f"{place}/pbc"].tolist())))
    return Frames.from_list(frames)


def load_outputs(case: np.lib.npyio.NpzFile, key: str) -> list[torch.Tensor]:
    found = []
    while (name := f"system{len(found)}/{key}") in case.files:
        found.append(torch.from_numpy(case[name]))
    return found


def compare_gradients(model: LamModel, output: Output, case: np.lib.npyio.NpzFile) -> float:
    """The loss of `oracle.quadratic_loss`, differentiated here; a parameter that only one side uses counts as apart."""
    loss = output.energy.square().sum() + output.forces.square().sum() + 0.01 * output.virial.square().sum()
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    ours = branch_tensors(model, HEAD, {name: g for name, g in zip(names, gradients, strict=True) if g is not None})
    theirs = {key.removeprefix("gradient/"): torch.from_numpy(case[key]) for key in case.files if key.startswith("gradient/")}
    zero = torch.zeros(())
    return max(largest(ours.get(name, zero) - theirs.get(name, zero)) for name in ours | theirs) / max(map(largest, theirs.values()))
