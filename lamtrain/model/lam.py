"""A whole model: one descriptor for all atoms of a batch, then each head on its own atoms.

F frames, A atoms. Inputs and outputs are in the caller's order of atoms; rows, the order of the chunks, stay inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .descriptors import build_descriptor
from .dpa1_table import TabulatedDpa1
from .fitting import EnergyHead
from .heads import Features, head_kind
from .inputs import Batch, Chunk
from .kernels.choose import PLAIN, Kernels, kernels


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a model says of a batch; None where no frame asked for it, or the caller did not. Frames of other heads hold zeros."""

    energy: Tensor | None = None  # (F,) float64 eV
    atomic_energy: Tensor | None = None  # (A,) float64 eV
    forces: Tensor | None = None  # (A, 3) eV/Å
    virial: Tensor | None = None  # (F, 3, 3) eV, positive trace when compressed
    displacement: Tensor | None = None  # (A, 3) Å, to the clean position
    type_logits: Tensor | None = None  # (A, elements)
    features: Tensor | None = None  # (A, D) the descriptor
    outside: Tensor | None = None  # () int64, edges shorter than a compressed model's tables reach; None where it has no tables
    more: dict[str, Tensor] = field(default_factory=dict)  # what heads of kinds that were added say


@runtime_checkable
class _UsesKernels(Protocol):
    """A module with parts that kernels compute."""

    kernels: Kernels


class LamModel(nn.Module):
    """Parameters: `descriptor` and `heads.<name>`; named in `names.py`."""

    kernels: Kernels = PLAIN

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        dtype = getattr(torch, config.precision)
        with _seeded(config.descriptor.seed):
            self.descriptor = build_descriptor(config).to(dtype)
        self.heads = nn.ModuleDict()
        for name, kind in config.heads.items():
            with _seeded(config.denoise.seed if kind == "denoise" else config.fitting.seed):
                self.heads[name] = head_kind(kind).build(config, name).to(dtype)

    def forward(
        self, batch: Batch, *, forces: bool = True, virial: bool = True, create_graph: bool | None = None, features: bool = False
    ) -> Output:
        """Evaluate every head of `batch` on its own atoms.

        `create_graph` keeps forces and virial differentiable, for a loss on them; None means in training mode. Under
        `torch.no_grad()` forces are still computed, and nothing keeps its graph. `features` gives what the heads read of each atom, too.
        """
        derivatives, tracked = forces or virial, torch.is_grad_enabled()
        with torch.set_grad_enabled(tracked or derivatives):
            vectors = [c.vectors.detach().requires_grad_(derivatives and c.with_forces) for c in batch.chunks]
            types = batch.types[batch.order]
            descriptor = self.descriptor(types, batch.lead_types[batch.order], batch.chunks, vectors)
            read = Features(config=self.config, batch=batch, types=types, descriptor=descriptor, vectors=vectors)
            values = self._evaluate_heads(read)
            if descriptor.outside is not None:
                values["outside"] = descriptor.outside
            if derivatives and "energy" in values:
                graph = tracked and (self.training if create_graph is None else create_graph)
                sums = None if graph else self.kernels.edge_sums
                values |= differentiate(batch, values["energy"], vectors, forces=forces, virial=virial, create_graph=graph, sums=sums)
        if features:
            values["features"] = descriptor.atoms[batch.rank]
        return _output(values if tracked else {name: value.detach() for name, value in values.items()})

    def use_kernels(self, name: str | Kernels) -> Self:
        """Compute the slow parts with the kernels called `name` (see kernels/choose.py), or those given; the weights stay as they are."""
        chosen = kernels(name, next(self.parameters()).device.type, self.config) if isinstance(name, str) else name
        for module in self.modules():
            if isinstance(module, _UsesKernels):
                module.kernels = chosen
        return self

    def energy_head(self, name: str) -> EnergyHead:
        """The energy head called `name`; raises KeyError where the name is another kind's."""
        head = self.heads[name]
        if not isinstance(head, EnergyHead):
            raise KeyError(f"{name} is no energy head")
        return head

    @property
    def chunk_atoms(self) -> int:
        """Atoms of a batch's chunks that suit the kernels, and a GPU."""
        if isinstance(self.descriptor, TabulatedDpa1) and self.kernels.tabulated is not None:
            return 4096
        if self.kernels.descriptor is not None or next(self.parameters()).device.type == "cpu":
            return self.kernels.chunk_atoms
        return 4096

    def _evaluate_heads(self, features: Features) -> dict[str, Tensor]:
        """Outputs of the heads that have atoms here, kind by kind."""
        values: dict[str, Tensor] = {}
        present = {head.name: head for head in features.batch.heads}
        for kind in dict.fromkeys(self.config.heads.values()):
            heads = [(present[name], self.heads[name]) for name, its in self.config.heads.items() if its == kind and name in present]
            if heads:
                own = head_kind(kind).evaluate(heads, features)
                if both := values.keys() & own.keys():
                    raise ValueError(f"two kinds of heads both call an output {sorted(both)[0]!r}")
                values |= own
        return values


def _output(values: dict[str, Tensor]) -> Output:
    known = {f.name for f in fields(Output)} - {"more"}
    named: dict[str, Any] = {name: value for name, value in values.items() if name in known}
    return Output(**named, more={name: value for name, value in values.items() if name not in known})


def differentiate(
    batch: Batch,
    energy: Tensor,
    vectors: list[Tensor],
    *,
    forces: bool,
    virial: bool,
    create_graph: bool,
    sums: Callable[..., Tensor] | None = None,
) -> dict[str, Tensor]:
    """Forces (A, 3) and virials (F, 3, 3) from the energies' slopes along the edges.

    With e_ij = dE/dd_ij: F_i = sum_j e_ij - sum_k e_ki, and V = -sum_ij d_ij e_ij^T, which is -dE/d(strain). `sums` are a kernel that
    adds them up, without a graph.
    """
    chunks = [(chunk, edges) for chunk, edges in zip(batch.chunks, vectors) if chunk.with_forces]
    slopes = torch.autograd.grad(energy.sum(), [edges for _, edges in chunks], create_graph=create_graph)
    if sums is not None:
        wanted = {"forces": forces, "virial": virial}
        return {name: value for name, value in _summed(batch, chunks, slopes, sums).items() if wanted[name]}
    values = {}
    if forces:
        values["forces"] = _forces(batch, chunks, slopes)
    if virial:
        values["virial"] = _virials(batch, chunks, slopes)
    return values


def _summed(
    batch: Batch, chunks: Sequence[tuple[Chunk, Tensor]], slopes: tuple[Tensor, ...], sums: Callable[..., Tensor]
) -> dict[str, Tensor]:
    """Both, each edge read once."""
    forces = slopes[0].new_zeros(batch.natoms_total, 3)
    parts = [sums(slope, edges.detach(), chunk.neighbors, forces, chunk.start) for (chunk, edges), slope in zip(chunks, slopes)]
    frame = batch.frame[batch.order][chunks[0][0].start :]
    virials = forces.new_zeros(batch.nframes, 3, 3).index_add(0, frame, torch.cat(parts))
    return {"forces": forces[batch.rank], "virial": virials}


def _forces(batch: Batch, chunks: Sequence[tuple[Chunk, Tensor]], slopes: tuple[Tensor, ...]) -> Tensor:
    before = slopes[0].new_zeros(chunks[0][0].start, 3)  # rows of frames without forces come first
    forces = torch.cat([before, *(slope.sum(1) for slope in slopes)])
    for (chunk, _), slope in zip(chunks, slopes):
        forces = forces.index_add(0, chunk.neighbors.flatten(), slope.flatten(0, 1), alpha=-1)
    return forces[batch.rank]


def _virials(batch: Batch, chunks: Sequence[tuple[Chunk, Tensor]], slopes: tuple[Tensor, ...]) -> Tensor:
    per_atom = [torch.bmm(edges.detach().transpose(1, 2), slope) for (_, edges), slope in zip(chunks, slopes)]
    frame = batch.frame[batch.order][chunks[0][0].start :]
    return slopes[0].new_zeros(batch.nframes, 3, 3).index_add(0, frame, torch.cat(per_atom), alpha=-1)


class _seeded:
    """First weights from a seed, without touching torch's global generator; from that generator if the seed is None."""

    def __init__(self, seed: int | None):
        self.seed = seed
        self.state: Tensor | None = None

    def __enter__(self) -> None:
        if self.seed is not None:
            self.state = torch.get_rng_state()
            torch.manual_seed(self.seed)

    def __exit__(self, *_: object) -> None:
        if self.state is not None:
            torch.set_rng_state(self.state)
