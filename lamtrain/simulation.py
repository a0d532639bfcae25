"""TorchSimModel: a checkpoint -> a model of torch-sim, which relaxes and moves many structures of any sizes at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamdata.errors import need
from lamdata.frame import Frame
from lamdata.frames import Frames

from .prediction.model import Kernels, Model, Precision, finite, opened

ModelInterface: Any = need("torch_sim.models.interface", extra="torch-sim").ModelInterface


class TorchSimModel(ModelInterface):  # type: ignore[misc]
    """Energies, forces and stresses of a model, for torch-sim.

    >>> model = TorchSimModel("runs/copper/best.pt", head="pbe", dtype="float64")  # doctest: +SKIP
    >>> torch_sim.optimize(system=list_of_atoms, model=model, optimizer=torch_sim.Optimizer.fire)  # doctest: +SKIP

    The arguments are those of `Calculator`; a state must be of the model's floats, `model.dtype`. What the model does not know is a DataError.
    A state of torch-sim holds neither charges nor spins: it leaves out those that its structures had.
    """

    def __init__(
        self,
        model: str | Path | Model,
        *,
        head: str | None = None,
        device: str = "auto",
        dtype: Precision | None = None,
        kernels: Kernels = "auto",
    ):
        super().__init__()
        asked = opened(model, device=device, dtype=dtype, kernels=kernels)
        self.asked, self.head = asked, asked.pick(head)
        self._device, self._dtype = asked.device, next(asked.net.parameters()).dtype
        self._compute_stress = self._compute_forces = True
        self.truncated = 0  # atoms of the last state with more neighbours than the model keeps
        self.outside = 0  # edges of all states so far that were shorter than a compressed model's tables reach

    def forward(self, state: Any, **_: Any) -> dict[str, Tensor]:
        """`energy` (S,) eV, `forces` (A, 3) eV/Å, `stress` (S, 3, 3) eV/Å^3 and `energies` (A,) eV of S systems with A atoms in all."""
        frames = _frames(state if isinstance(state, dict) else vars(state))
        found = finite(self.asked.evaluate(frames, head=self.head))
        self.truncated = found.truncated
        self.outside += found.outside
        volumes = np.abs(np.linalg.det(frames.cell))
        periodic = frames.pbc.any(1) & (volumes > 0)
        stress = np.where(periodic[:, None, None], -found.virials / np.where(periodic, volumes, 1.0)[:, None, None], 0.0)
        arrays = {"energy": found.energies, "forces": found.forces, "stress": stress, "energies": found.atomic_energies}
        return {name: torch.as_tensor(values, dtype=self._dtype, device=self._device) for name, values in arrays.items()}


def _frames(state: dict[str, Any]) -> Frames:
    """The systems of a state, whose cells have the lattice vectors as columns."""
    positions, cells, numbers = (state[name].detach().cpu().numpy() for name in ("positions", "cell", "atomic_numbers"))
    counts = torch.bincount(state["system_idx"], minlength=len(cells)).cpu().numpy()
    x, y, z = np.broadcast_to(np.asarray(torch.as_tensor(state["pbc"]).cpu()), 3).tolist()
    ends = np.cumsum(counts)
    return Frames.from_list(
        Frame(
            numbers=numbers[end - count : end].astype(np.uint8),
            positions=positions[end - count : end].astype(np.float64),
            cell=cell.T.astype(np.float64) if x or y or z else None,
            pbc=(x, y, z),
        )
        for count, end, cell in zip(counts, ends, cells, strict=True)
    )
