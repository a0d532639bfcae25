"""Cases -> energies, forces, virials and parameter gradients of DeePMD-kit. Runs in DeePMD-kit's interpreter alone.

$LAM_DEEPMD_PYTHON tests/parity/oracle.py JOB.json FOLDER     # one FOLDER/<case name>.npz for each case
"""

from __future__ import annotations

import copy
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("DP_INTERFACE_PREC", "high")
import deepmd.pt  # noqa: F401  (registers the models)
import numpy as np
import torch
from deepmd.pt.model.model import get_model
from deepmd.utils.argcheck import normalize


def normalise(params: dict) -> dict:
    """Return the `model` section with every default written out, as `dp --pt train` puts it into a checkpoint."""
    whole = {
        "model": copy.deepcopy(params),
        "learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-8, "decay_steps": 10},
        "training": {"numb_steps": 1, "training_data": {"systems": ["x"]}},
        "loss": {},
    }
    return normalize(whole)["model"]


def build_model(params: dict, *, seed: int) -> torch.nn.Module:
    """Return the reference's model with every parameter, statistic and bias moved off its initial value."""
    model = get_model(copy.deepcopy(params))
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * draw(*parameter.shape)
    section = params["descriptor"]
    wide, narrow = section.get("repinit", section), section.get("repformer", section)
    for name, options in {"repinit": wide, "repinit_three_body": wide, "repformers": narrow, "se_atten": section}.items():
        block = getattr(model.atomic_model.descriptor, name, None)
        if block is not None:
            fill_statistics(block, draw, davg_zero=options["set_davg_zero"])
    ntypes = len(params["type_map"])
    model.atomic_model.out_bias[:] = draw(1, ntypes, 1)
    if params["fitting_net"].get("dim_case_embd"):
        model.set_case_embd(seed % params["fitting_net"]["dim_case_embd"])
    return model.eval()


def fill_statistics(block: torch.nn.Module, draw, *, davg_zero: bool) -> None:
    """One radial and one angular deviation for each type, the same in all slots, as the reference's own statistics are."""
    ntypes = block.stddev.shape[0]
    deviation = 0.3 + draw(ntypes, 2).abs()
    block.stddev[:, :, 0] = deviation[:, None, 0]
    block.stddev[:, :, 1:] = deviation[:, None, 1:]
    if not davg_zero:
        block.mean[:, :, 0] = 0.3 * draw(ntypes, 1)


def evaluate(model: torch.nn.Module, system: dict) -> dict[str, torch.Tensor]:
    """Return energy, atomic energies, forces and virial of one structure, with the graph kept for a second derivative."""
    coord = torch.tensor(np.array(system["positions"], np.float64)[None], requires_grad=True)
    types = torch.tensor(np.array(system["types"], np.int64)[None])
    box = None if system["cell"] is None else torch.tensor(np.array(system["cell"], np.float64).reshape(1, 9))
    model.train()  # keeps the graph of the forces
    out = model(coord, types, box=box)
    return {
        "energy": out["energy"][0, 0],
        "atomic_energy": out["atom_energy"][0, :, 0],
        "forces": out["force"][0],
        "virial": out["virial"][0].reshape(3, 3),
    }


def scale_forces(model: torch.nn.Module, systems: list[dict], *, largest: float = 3.0) -> None:
    """Scale the last layer, in which the energy is linear, until forces are as large (eV/Å) as real ones."""
    force = max(float(evaluate(model, system)["forces"].detach().abs().max()) for system in systems)
    last = model.atomic_model.fitting_net.filter_layers.networks[0].layers[-1]
    with torch.no_grad():
        for parameter in (last.matrix, last.bias):
            parameter *= largest / max(force, 1e-3)


def quadratic_loss(outputs: list[dict[str, torch.Tensor]]) -> torch.Tensor:
    """A loss that sees energies, forces and virials, and needs no labels: the sum of their squares."""
    return sum((out["energy"] ** 2).sum() + (out["forces"] ** 2).sum() + 0.01 * (out["virial"] ** 2).sum() for out in outputs)


def run_case(case: dict) -> dict[str, np.ndarray]:
    """Return everything that our side needs to repeat the case, flat, without pickles."""
    params = normalise(case["params"])
    model = build_model(params, seed=case["seed"])
    scale_forces(model, case["systems"])
    outputs = [evaluate(model, system) for system in case["systems"]]
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(quadratic_loss(outputs), parameters, allow_unused=True)
    arrays = {"params": np.array(json.dumps(params))}
    for i, (system, out) in enumerate(zip(case["systems"], outputs, strict=True)):
        for key in ("positions", "types", "cell", "pbc"):
            if system[key] is not None:
                arrays[f"system{i}/{key}"] = np.array(system[key])
        for key, value in out.items():
            arrays[f"system{i}/{key}"] = value.detach().numpy()
    arrays |= {f"weight/{key}": value.numpy() for key, value in model.state_dict().items() if "._networks." not in key}
    for name, gradient in zip(names, gradients, strict=True):
        if gradient is not None and "._networks." not in name:
            arrays[f"gradient/{name}"] = gradient.numpy()
    return arrays


def main() -> None:
    torch.set_num_threads(1)
    cases, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    for case in cases:
        np.savez_compressed(folder / f"{case['name']}.npz", **run_case(case))


if __name__ == "__main__":
    main()
