"""A checkpoint in hand: structures of any kind and size -> energies, forces and virials."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import numpy as np
import torch
from numpy.typing import NDArray

from lamdata.errors import ConfigError, DataError
from lamdata.frame import Frame
from lamdata.frames import Frames
from lamdata.located import did_you_mean
from lamdata.notebook import facts_table, html_table, listed, sentence
from lamdata.store import cut_batches
from lamdata.theory import Theory

from ..checkpoint import Checkpoint, load
from ..data.batch import Batch, collate
from ..data.edge_table import edges_of
from ..data.neighbors import Edges
from ..device import device_of
from ..evaluation.evaluate import BATCH_ATOMS
from ..kernels import use_kernels
from .structures import as_frame, is_structure, refuse

if TYPE_CHECKING:
    from ase import Atoms

    Structure: TypeAlias = Atoms | Frame

Precision = Literal["float64", "float32"]
Kernels = Literal["plain", "closed", "cpp", "triton", "auto"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a head says of F structures with A atoms in all."""

    frames: Frames  # the structures, with what was predicted as their labels
    atomic_energies: NDArray[np.float64]  # (A,) eV, those of a frame sum to its energy
    truncated: int  # atoms with more neighbours than the model keeps: where that changes, forces jump
    head: str
    features: NDArray[np.float32] | None = None  # (A, D) the descriptor, where it was asked for
    outside: int = 0  # edges shorter than the tables of a compressed model reach, where they go on in a line
    atoms: tuple[Atoms, ...] = ()  # what was given, where it was given as `ase.Atoms`

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def energies(self) -> NDArray[np.float64]:
        """(F,) eV."""
        return self.frames.energy

    @property
    def forces(self) -> NDArray[np.floating]:
        """(A, 3) eV/Å; those of frame f are `starts[f]:starts[f + 1]`."""
        return self.frames.forces

    @property
    def virials(self) -> NDArray[np.floating]:
        """(F, 3, 3) eV, -V x (ASE stress): positive trace when compressed; of a molecule too, where it is no label."""
        return self.frames.virial

    @property
    def starts(self) -> NDArray[np.int64]:
        """(F + 1,) where each frame's atoms start, and the end."""
        return self.frames.starts

    def to_ase(self) -> list[Atoms]:
        """`ase.Atoms` with the predictions as the results of their calculators; copies of the given ones, where `Atoms` were given."""
        out, starts = [], self.starts
        for f, frame in enumerate(self.frames):
            found: Any = frame.to_ase()
            given: Any = self.atoms[f] if self.atoms else found
            atoms = given.copy()
            found.calc.results |= {"energies": self.atomic_energies[starts[f] : starts[f + 1]], "free_energy": frame.energy}
            found.calc.atoms = atoms.copy()
            atoms.calc = found.calc
            out.append(atoms)
        return out


def load_model(path: str | Path, *, device: str = "auto", dtype: Precision | None = None, kernels: Kernels = "auto") -> Model:
    """The model of a checkpoint, in its own precision unless another is named.

    >>> model = load_model("runs/copper/best.pt")  # doctest: +SKIP
    >>> model.predict(atoms).energies  # doctest: +SKIP
    """
    if dtype not in (None, "float64", "float32"):
        raise ConfigError(f"no precision called {dtype!r}", where="dtype", hint="float64 or float32")
    return Model(load(path), path=str(path), device=device_of(device), dtype=dtype, kernels=kernels)


def opened(model: str | Path | Model, *, device: str, dtype: Precision | None, kernels: Kernels) -> Model:
    """A model as it is, or that of a checkpoint."""
    return model if isinstance(model, Model) else load_model(model, device=device, dtype=dtype, kernels=kernels)


class Model:
    """A trained model, to be asked. `heads` are those that give energies; `elements` those that each of them was trained on."""

    def __init__(self, checkpoint: Checkpoint, *, path: str, device: torch.device, dtype: Precision | None, kernels: Kernels):
        self.path, self.checkpoint = path, checkpoint
        self.net = checkpoint.build(precision=dtype, device=device)
        use_kernels(self.net, kernels)
        self.config = self.net.config
        self.heads = [name for name, kind in self.config.heads.items() if kind == "energy_force"]
        self.elements = {head: self._elements(head) for head in self.heads}

    def __repr__(self) -> str:
        heads = listed([f"{head} ({' '.join(self.elements[head])})" for head in self.heads])
        return sentence("Model", {"file": self.path, "heads": heads, "floats": self.config.precision, "device": str(self.device)})

    def _repr_html_(self) -> str:
        facts = {
            "steps": f"{self.checkpoint.step:,}",
            "descriptor": self.config.descriptor.type,
            "parameters": f"{sum(p.numel() for p in self.net.parameters()):,}",
            "floats": self.config.precision,
            "device": str(self.device),
        }
        return facts_table(f"Model {self.path}", facts) + html_table(
            "Heads", ("head", "task", "elements", "theory", "datasets", "state"), self._rows()
        )

    def _rows(self) -> list[tuple[str, ...]]:
        """A row for each head, as the checkpoint has it."""
        rows: list[tuple[str, ...]] = []
        for head, kind in self.config.heads.items():
            about = self.checkpoint.heads.get(head, {})
            theories = dict.fromkeys(Theory.model_validate(theory).summary() for theory in about.get("theory") or ())
            datasets, elements = (
                listed(about.get("datasets") or ["unknown"]),
                listed(self.elements.get(head, self.config.elements), separator=" "),
            )
            rows.append((head, kind, elements, "; ".join(theories) or "unknown", datasets, "stale" if about.get("stale") else "answers"))
        return rows

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.net.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating point type that it computes in."""
        return next(self.net.parameters()).dtype

    def _elements(self, head: str) -> list[str]:
        """Elements that the head has seen; of a model that does not say, all that it has types for."""
        references = self.checkpoint.heads.get(head, {}).get("references")
        return [symbol for symbol in self.config.elements if references is None or symbol in references["energies"]]

    def pick(self, head: str | None) -> str:
        """The head called `head`, or the only one that is not stale. Raises ConfigError where it is not clear which, DataError where it is stale."""
        fresh = [name for name in self.heads if name not in self.checkpoint.stale] or self.heads
        if head is None and len(fresh) != 1:
            found = f"{len(fresh)} heads give energies" if fresh else "no head gives energies"
            raise ConfigError(found, where=self.path, hint=f"choose one of: {', '.join(fresh)}" if fresh else None)
        chosen = fresh[0] if head is None else head
        if chosen not in self.heads:
            found = f"head {chosen!r} gives no energies" if chosen in self.config.heads else f"no head {chosen!r}"
            raise ConfigError(found, where=self.path, hint=did_you_mean(chosen, self.heads))
        if chosen in self.checkpoint.stale:
            hint = "train it along, or ask the model that it came from"
            raise DataError(f"head {chosen!r} is stale: the descriptor moved after it was last trained", where=self.path, hint=hint)
        return chosen

    @overload
    def predict(
        self, structures: Structure | Frames | Sequence[Structure], *, head: str | None = None, batch_atoms: int = BATCH_ATOMS
    ) -> Prediction: ...

    @overload
    def predict(
        self, structures: Iterator[Structure], *, head: str | None = None, batch_atoms: int = BATCH_ATOMS
    ) -> Iterator[Prediction]: ...

    def predict(
        self,
        structures: Structure | Frames | Sequence[Structure] | Iterator[Structure],
        *,
        head: str | None = None,
        batch_atoms: int = BATCH_ATOMS,
    ) -> Prediction | Iterator[Prediction]:
        """What `head` says of structures of any sizes, `batch_atoms` atoms at a time; the head may be left out where there is one.

        Of an iterator, an iterator: predictions of some structures each, in order, as they are asked for. Raises DataError for a
        charge, a spin or an element that the model does not know.
        """
        chosen = self.pick(head)
        if isinstance(structures, Iterator):
            return (_joined([self._predict_some(some, chosen)], chosen) for some in _in_batches(structures, batch_atoms))
        if isinstance(structures, Frames):
            return _joined([finite(self.evaluate(part, head=chosen)) for part in cut_batches(structures, batch_atoms=batch_atoms)], chosen)
        given: Any = structures
        one_by_one: Iterable[Structure] = [given] if is_structure(given) else given
        return _joined([self._predict_some(some, chosen) for some in _in_batches(one_by_one, batch_atoms)], chosen)

    def _predict_some(self, structures: Sequence[Structure], head: str) -> Prediction:
        """Of one batch, which remembers what was given."""
        found = finite(self.evaluate(Frames.from_list(map(as_frame, structures)), head=head))
        given = tuple(one for one in structures if not isinstance(one, Frame))
        atoms = given if len(given) == len(structures) else ()
        return Prediction(
            frames=found.frames,
            atomic_energies=found.atomic_energies,
            truncated=found.truncated,
            head=head,
            outside=found.outside,
            atoms=atoms,
        )

    def neighbors(self, frames: Frames) -> list[Edges]:
        """The neighbours of each frame's atoms that the model can see."""
        return edges_of(frames, self.config.descriptor.lists)

    def evaluate(
        self, frames: Frames, *, head: str, edges: Sequence[Edges] | None = None, features: bool = False, forces: bool = True
    ) -> Prediction:
        """All frames in one batch; `edges` as `collate` takes them. What is not finite is for the caller to refuse.

        `features` gives the descriptor, too; without `forces`, which take most of the time, there are neither forces nor virials.
        """
        refuse(frames, elements=self.elements[head])
        index = list(self.config.heads).index(head)
        asked = frames.with_(head=np.full(len(frames), index, np.int32))
        batch = collate(asked, self.config, dtype=self.dtype, chunk_atoms=self.net.chunk_atoms, edges=edges)
        return self.answer(frames, batch, head=head, features=features, forces=forces)

    def answer(self, frames: Frames, batch: Batch, *, head: str, features: bool = False, forces: bool = True) -> Prediction:
        """What the net says of a batch that was made of the frames, which are such as it may be asked about."""
        with torch.no_grad():
            output = self.net(
                batch if self.device.type == "cpu" else batch.to(self.device), forces=forces, virial=forces, features=features
            )
        all_there, periodic = np.ones(len(frames), bool), frames.pbc.any(1)
        predicted = frames.with_(
            energy=_as_numpy(output.energy),
            forces=_as_numpy(output.forces) if forces else np.zeros((len(frames.numbers), 3)),
            virial=_as_numpy(output.virial) if forces else np.zeros((len(frames), 3, 3)),
            has_energy=all_there,
            has_forces=all_there & forces,
            has_virial=periodic & forces,
        )
        return Prediction(
            frames=predicted,
            atomic_energies=_as_numpy(output.atomic_energy),
            truncated=sum(batch.truncated.values()),
            head=head,
            features=_as_numpy(output.features).astype(np.float32) if features else None,
            outside=0 if output.outside is None else int(output.outside),
        )


def _as_numpy(value: torch.Tensor | None) -> NDArray[np.float64]:
    assert value is not None
    array: NDArray[np.float64] = value.detach().cpu().double().numpy()
    return array


def nonfinite(found: Prediction) -> NDArray[np.bool_]:
    """(F,) structures without an energy, as those with atoms on top of each other."""
    fine = np.isfinite(found.energies) & np.isfinite(found.virials).all((1, 2))
    bad: NDArray[np.bool_] = ~(fine & np.logical_and.reduceat(np.isfinite(found.forces).all(1), found.starts[:-1]))
    return bad


def finite(found: Prediction) -> Prediction:
    """The same. Raises DataError where something is not finite."""
    for row in np.flatnonzero(nonfinite(found)).tolist():
        where = f"structure {row}" if len(found) > 1 else None
        raise _not_finite(where)
    return found


def refuse_nonfinite(*values: NDArray[np.floating]) -> None:
    """The same of the parts of one answer."""
    if not all(np.isfinite(value).all() for value in values):
        raise _not_finite(None)


def _not_finite(where: str | None) -> DataError:
    return DataError("energy or forces are not finite", where=where, hint="look for atoms on top of each other")


def _in_batches(structures: Iterable[Structure], batch_atoms: int) -> Iterator[list[Structure]]:
    """Structures until the next would pass the number of atoms; a larger one alone."""
    some: list[Structure] = []
    atoms = 0
    for one in structures:
        size = len(getattr(one, "numbers", ()))
        if some and atoms + size > batch_atoms:
            yield some
            some, atoms = [], 0
        some.append(one)
        atoms += size
    if some:
        yield some


def _joined(parts: Sequence[Prediction], head: str) -> Prediction:
    """One after the other."""
    if not parts:
        return Prediction(frames=Frames.empty(), atomic_energies=np.empty(0), truncated=0, head=head)
    if len(parts) == 1:
        return parts[0]
    return Prediction(
        frames=Frames.concatenate([part.frames for part in parts]),
        atomic_energies=np.concatenate([part.atomic_energies for part in parts]),
        truncated=sum(part.truncated for part in parts),
        head=head,
        outside=sum(part.outside for part in parts),
        atoms=tuple(atoms for part in parts for atoms in part.atoms) if all(part.atoms for part in parts) else (),
    )
