"""`lamtrain compress`: a DPA-1 -> the same with its embedding net as a table, as coarse as a tolerance allows on given frames."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamdata.errors import ConfigError, DataError
from lamdata.frames import Frames
from lamdata.progress import Progress

from ..checkpoint import Checkpoint, load, save
from ..data.neighbors import find_neighbors
from ..model.config import Dpa1Config, ModelConfig
from ..model.dpa1 import Dpa1
from ..model.dpa1_config import TableConfig
from ..model.dpa1_table import tabulated
from ..model.lam import LamModel
from ..prediction.model import Model, Prediction
from .cost import Cost, compare_costs
from .sample import Sample

STEPS = [2.0**-k for k in range(9)]  # of the argument, the coarsest first
MOST_BYTES = 1 << 28  # of a table; a processor keeps a few of these in cache
CLOSEST = 0.5  # of the shortest distance in the frames: how close the table reaches, unless it is said
NO_CURVATURE = ("relu", "relu6")
QUANTITIES = ("energy", "forces", "virial")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A table, and how far a model with it is from the one with nets, at most, over all frames, heads and components."""

    step: float
    intervals: int
    table_bytes: int
    energy: float  # eV/atom
    forces: float  # eV/Å
    virial: float  # eV/atom

    @property
    def worst(self) -> float:
        """The largest of the three numbers; a number that is none is as bad as can be."""
        found = (self.energy, self.forces, self.virial)
        return max(found) if all(map(math.isfinite, found)) else math.inf


def compress(
    path: Path, output: Path, sample: Sample, *, tolerance: float = 1e-5, closest: float | None = None, quiet: bool = False
) -> dict[str, Any]:
    """Write `output`; return what was tried, what was chosen, and what it costs.

    `tolerance` limits the largest deviation of energies (eV/atom), force components (eV/Å) and virial components (eV/atom) on the
    frames, in float64. `closest` in Å is where the table ends; by default half the shortest distance of the frames. Raises ConfigError for what cannot be
    a table, by the key to change, and DataError where no table keeps the tolerance.
    """
    checkpoint = load(path)
    config = _compressible(checkpoint, where=str(path))
    if output.resolve() == path.resolve():
        raise ConfigError("is the model itself", where=str(output), hint="choose another name: a compressed model is not trained further")
    whole = _model(checkpoint, config, path)
    asked = sample.for_model(whole)
    near = closest or CLOSEST * _shortest(asked, config, where=sample.said)
    want = _answers(whole, asked)
    tried: list[Tried] = []
    with Progress("compressing", total=len(STEPS), unit="tables", quiet=quiet) as progress:
        for step in STEPS:
            made = _compressed(checkpoint, whole.net, _table(whole, near, step))
            tried.append(_compared(made, want, _answers(_model(made, None, path), asked)))
            progress.note = f"(step {step:g}: {tried[-1].worst:.2g})"
            progress.advance()
            if tried[-1].worst <= tolerance:
                break
        else:
            best = min(tried, key=lambda one: one.worst)
            raise DataError(
                f"no table keeps {tolerance:g}: with a step of {best.step:g} the model is off by up to {best.worst:.2g}",
                where=str(path),
                hint=f"--tolerance {best.worst * 1.1:.1e}, or a smooth `descriptor.activation_function`",
            )
    costs = compare_costs(checkpoint, made, asked)
    facts = _facts(path, sample, asked, tried, costs, tolerance=tolerance, closest=near)
    save(replace(made, compressed=facts), output)
    return {"written": str(output), **facts}


def _compressible(checkpoint: Checkpoint, *, where: str) -> ModelConfig:
    """The config of a model that can be compressed; raises ConfigError for another, by the key to change."""
    config = ModelConfig.model_validate(checkpoint.model_config)
    block = config.descriptor
    if not isinstance(block, Dpa1Config):
        hint = "distil it into a student, `model: {size: student}`"
        raise ConfigError(
            f"`descriptor.type` is {block.type}: only dpa1 has an embedding net whose edges know nothing of each other",
            where=where,
            hint=hint,
        )
    if block.table is not None:
        raise ConfigError("is compressed already", where=where, hint="compress the model it was made from")
    if block.activation_function in NO_CURVATURE:
        hint = "train with tanh, gelu or silu"
        raise ConfigError(
            f"`descriptor.activation_function` is {block.activation_function}, which has no curvature", where=where, hint=hint
        )
    return config


def _model(checkpoint: Checkpoint, config: ModelConfig | None, path: Path) -> Model:
    """To be asked, in float64."""
    model = Model(checkpoint, path=str(path), device=torch.device("cpu"), dtype="float64", kernels="auto")
    if config is not None and not model.heads:
        raise ConfigError("no head gives energies", where=str(path))
    return model


def _shortest(asked: dict[str, Frames], config: ModelConfig, *, where: str) -> float:
    """Å between the closest atoms of the frames, of those within the cutoff."""
    reach, found = next(iter(config.descriptor.lists.values())).rcut, math.inf
    for frames in asked.values():
        for f, (start, stop) in enumerate(zip(frames.starts[:-1], frames.starts[1:])):
            edges = find_neighbors(frames.positions[start:stop], cell=frames.cell[f], pbc=frames.pbc[f], cutoff=reach, most=1)
            found = min(found, float(edges.distances.min(initial=math.inf)))
    if not 0 < found < math.inf:
        raise ConfigError("no two atoms see each other in the frames", where=where, hint="say how close atoms come with --closest")
    return found


def _table(model: Model, closest: float, step: float) -> TableConfig:
    """Over all arguments that atoms of the elements of its heads can have from `closest` Å on."""
    block = model.config.descriptor
    assert isinstance(block, Dpa1Config)
    known = [model.config.elements.index(symbol) for symbol in {s for some in model.elements.values() for s in some}]
    environment = model.net.descriptor.se_atten.environment  # type: ignore[union-attr]
    mean, std = (buffer[known, 0].double() for buffer in (environment.mean, environment.std))  # type: ignore[index]
    low, high = float((-mean / std).min()), float(((1.0 / (closest + block.env_protection) - mean) / std).max())
    start = math.ceil(low) - 1.0
    return TableConfig(start=start, step=step, intervals=math.ceil((high - start) / step))


def _compressed(checkpoint: Checkpoint, net: LamModel, table: TableConfig) -> Checkpoint:
    """The same model with a table; `net` is its module in float64."""
    assert isinstance(net.descriptor, Dpa1) and isinstance(net.config.descriptor, Dpa1Config)
    block, tables = net.config.descriptor, net.descriptor.se_atten.embedding
    count = 1 if block.tebd_input_mode == "strip" else net.config.ntypes ** (1 if block.type_one_side else 2)
    if (size := 24 * count * (table.intervals + 1) * block.neuron[-1]) > MOST_BYTES:
        keys = "train with `descriptor.tebd_input_mode: strip`, which needs one" if count > 1 else "say how close atoms come with --closest"
        raise ConfigError(f"{count} tables with a step of {table.step:g} have {size / 2**20:,.0f} MiB", where="--tolerance", hint=keys)
    gone = {f"descriptor.se_atten.embedding.{name}" for name in tables.state_dict()}
    weights: dict[str, Tensor] = {name: value for name, value in checkpoint.model.items() if name not in gone}
    weights |= {f"descriptor.se_atten.{name}": value for name, value in tabulated(net.descriptor, table).items()}
    config = dict(checkpoint.model_config)
    config["descriptor"] = config["descriptor"] | {"table": table.model_dump(mode="json")}
    return Checkpoint(
        model_config=config,
        model=weights,
        heads=checkpoint.heads,
        lock=checkpoint.lock,
        train_config=checkpoint.train_config,
        step=checkpoint.step,
        position=checkpoint.position,
    )


def _answers(model: Model, asked: dict[str, Frames]) -> list[Prediction]:
    """Of each head on its frames."""
    return [model.predict(frames, head=head) for head, frames in asked.items()]


def _compared(made: Checkpoint, want: Sequence[Prediction], found: Sequence[Prediction]) -> Tried:
    """The largest deviations."""
    worst = np.zeros(3)
    for a, b in zip(want, found, strict=True):
        natoms = a.frames.natoms
        apart = (
            np.abs(a.energies - b.energies) / natoms,
            np.abs(a.forces.astype(np.float64) - b.forces),
            np.abs(a.virials.astype(np.float64) - b.virials) / natoms[:, None, None],
        )
        worst = np.maximum(worst, [part.max(initial=0.0) for part in apart])
    table, nodes = made.model_config["descriptor"]["table"], made.model["descriptor.se_atten.nodes"]
    return Tried(step=table["step"], intervals=table["intervals"], table_bytes=nodes.numel() * 8, **dict(zip(QUANTITIES, worst.tolist())))


def _facts(
    path: Path, sample: Sample, asked: dict[str, Frames], tried: list[Tried], costs: list[Cost], *, tolerance: float, closest: float
) -> dict[str, Any]:
    """What is known of a compressed model, as plain data."""
    frames = next(iter(asked.values()))
    return {
        "model": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "tolerance": tolerance,
        "closest_angstrom": closest,
        "frames": {"of": sample.said, "heads": {head: len(its) for head, its in asked.items()}, "refused": sample.refused},
        "atoms": int(frames.natoms.sum()),
        "units": {"energy": "eV/atom", "forces": "eV/Angstrom", "virial": "eV/atom"},
        "tried": [asdict(one) for one in tried],
        "chosen": asdict(tried[-1]),
        "costs": [asdict(one) for one in costs],
    }
