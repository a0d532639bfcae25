"""A whole model: one descriptor for all atoms of a batch, then each head on its own atoms.

F frames, A atoms. Inputs and outputs are in the caller's order of atoms; rows, the order of the chunks, stay inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .denoise import DenoiseHead
from .dpa2 import Descriptor, Dpa2
from .fitting import EnergyHead
from .inputs import Batch, HeadRows
from .kernels.choose import PLAIN, Kernels, kernels


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a model says of a batch; None where no frame asked for it, or the caller did not.

    Frames of the other kind of head hold zeros: `energy_frames` says which have an energy, `denoise_frames` which a way back.
    """

    energy_frames: Tensor  # (F,) bool
    denoise_frames: Tensor  # (F,) bool
    energy: Tensor | None = None  # (F,) float64 eV
    atomic_energy: Tensor | None = None  # (A,) float64 eV
    forces: Tensor | None = None  # (A, 3) eV/Å
    virial: Tensor | None = None  # (F, 3, 3) eV, positive trace when compressed
    displacement: Tensor | None = None  # (A, 3) Å, to the clean position
    type_logits: Tensor | None = None  # (A, elements)


class LamModel(nn.Module):
    """Parameters: `descriptor` (a Dpa2) and `heads.<name>` (an EnergyHead or a DenoiseHead); named in `names.py`."""

    kernels: Kernels = PLAIN

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        dtype = getattr(torch, config.precision)
        with _seeded(config.descriptor.seed):
            self.descriptor = Dpa2(config).to(dtype)
        self.heads = nn.ModuleDict()
        for name, kind in config.heads.items():
            energy = kind == "energy_force"
            with _seeded(config.fitting.seed if energy else config.denoise.seed):
                self.heads[name] = (EnergyHead(config, name) if energy else DenoiseHead(config)).to(dtype)

    def forward(self, batch: Batch, *, forces: bool = True, virial: bool = True, create_graph: bool | None = None) -> Output:
        """Evaluate every head of `batch` on its own atoms.

        `create_graph` keeps forces and virial differentiable, for a loss on them; None means in training mode. Under
        `torch.no_grad()` forces are still computed, and nothing keeps its graph.
        """
        derivatives, tracked = forces or virial, torch.is_grad_enabled()
        with torch.set_grad_enabled(tracked or derivatives):
            vectors = [c.vectors.detach().requires_grad_(derivatives and c.with_forces) for c in batch.chunks]
            types = batch.types[batch.order]
            descriptor = self.descriptor(types, batch.lead_types[batch.order], batch.chunks, vectors)
            values = self._flags(batch)
            values |= self._energies(batch, descriptor, types)
            values |= self._denoised(batch, descriptor, vectors)
            if derivatives and values.get("energy") is not None:
                graph = tracked and (self.training if create_graph is None else create_graph)
                values |= differentiate(batch, values["energy"], vectors, forces=forces, virial=virial, create_graph=graph)
        return Output(**values if tracked else {name: value.detach() for name, value in values.items()})

    def use_kernels(self, name: str) -> Self:
        """Compute the slow parts with the kernels called `name` (see kernels/choose.py); the weights stay as they are."""
        chosen = kernels(name)
        for module in self.modules():
            if hasattr(module, "kernels"):
                module.kernels = chosen
        return self

    @property
    def chunk_atoms(self) -> int:
        """Atoms of a batch's chunks that suit the kernels, and a GPU."""
        return self.kernels.chunk_atoms if next(self.parameters()).device.type == "cpu" else 4096

    def _flags(self, batch: Batch) -> dict[str, Tensor]:
        energy = torch.tensor([kind == "energy_force" for kind in self.config.heads.values()], device=batch.head.device)[batch.head]
        return {"energy_frames": energy, "denoise_frames": ~energy}

    def _rows(self, batch: Batch, kind: str) -> list[HeadRows]:
        return [head for head in batch.heads if self.config.heads[head.name] == kind]

    def _energies(self, batch: Batch, descriptor: Descriptor, types: Tensor) -> dict[str, Tensor]:
        heads = self._rows(batch, "energy_force")
        if not heads:
            return {}
        atomic = torch.zeros(batch.natoms_total, dtype=torch.float64, device=types.device)
        for head in heads:
            energy = self.heads[head.name](descriptor.atoms[head.rows], types[head.rows])
            atomic = atomic.index_copy(0, head.rows, energy)
        atomic = atomic[batch.rank]
        return {"atomic_energy": atomic, "energy": atomic.new_zeros(batch.nframes).index_add(0, batch.frame, atomic)}

    def _denoised(self, batch: Batch, descriptor: Descriptor, vectors: list[Tensor]) -> dict[str, Tensor]:
        heads = self._rows(batch, "denoise")
        if not heads:
            return {}
        moved = descriptor.atoms.new_zeros(batch.natoms_total, 3)
        logits = descriptor.atoms.new_zeros(batch.natoms_total, len(self.config.elements))
        for head in heads:
            net = self.heads[head.name]
            chunks = zip(descriptor.chunks, vectors, head.by_chunk)
            parts = [net.displacement(pairs, edges, rows) for pairs, edges, rows in chunks if len(rows)]
            moved = moved.index_copy(0, head.rows, torch.cat(parts))
            logits = logits.index_copy(0, head.rows, net.type_logits(descriptor.atoms[head.rows]))
        return {"displacement": moved[batch.rank], "type_logits": logits[batch.rank]}


def differentiate(
    batch: Batch, energy: Tensor, vectors: list[Tensor], *, forces: bool, virial: bool, create_graph: bool
) -> dict[str, Tensor]:
    """Forces (A, 3) and virials (F, 3, 3) from the energies' slopes along the edges.

    With e_ij = dE/dd_ij: F_i = sum_j e_ij - sum_k e_ki, and V = -sum_ij d_ij e_ij^T, which is -dE/d(strain).
    """
    chunks = [(chunk, edges) for chunk, edges in zip(batch.chunks, vectors) if chunk.with_forces]
    slopes = torch.autograd.grad(energy.sum(), [edges for _, edges in chunks], create_graph=create_graph)
    values = {}
    if forces:
        values["forces"] = _forces(batch, chunks, slopes)
    if virial:
        values["virial"] = _virials(batch, chunks, slopes)
    return values


def _forces(batch: Batch, chunks: list, slopes: tuple[Tensor, ...]) -> Tensor:
    before = slopes[0].new_zeros(chunks[0][0].start, 3)  # rows of denoise frames come first
    forces = torch.cat([before, *(slope.sum(1) for slope in slopes)])
    for (chunk, _), slope in zip(chunks, slopes):
        forces = forces.index_add(0, chunk.neighbors.flatten(), slope.flatten(0, 1), alpha=-1)
    return forces[batch.rank]


def _virials(batch: Batch, chunks: list, slopes: tuple[Tensor, ...]) -> Tensor:
    per_atom = [torch.bmm(edges.detach().transpose(1, 2), slope) for (_, edges), slope in zip(chunks, slopes)]
    frame = batch.frame[batch.order][chunks[0][0].start :]
    return slopes[0].new_zeros(batch.nframes, 3, 3).index_add(0, frame, torch.cat(per_atom), alpha=-1)


class _seeded:
    """First weights from a seed, without touching torch's global generator; from that generator if the seed is None."""

    def __init__(self, seed: int | None):
        self.seed, self.state = seed, None

    def __enter__(self) -> None:
        if self.seed is not None:
            self.state = torch.get_rng_state()
            torch.manual_seed(self.seed)

    def __exit__(self, *_) -> None:
        if self.state is not None:
            torch.set_rng_state(self.state)
