"""Calculator: a checkpoint -> an ASE calculator, whose neighbour lists have a skin, so that a step of a simulation seldom searches."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms  # noqa: TID253  nobody asks for a calculator of ASE who does not have it loaded
from ase.calculators import calculator as ase_calculator  # noqa: TID253

from lamdata.frame import Frame
from lamdata.frames import Frames

from .data.moving import Moving
from .data.neighbors import SkinList
from .prediction.model import Kernels, Model, Precision, finite, opened, refuse_nonfinite
from .prediction.structures import ASKED_OF_ATOMS, as_frame, refuse

AseCalculator: Any = ase_calculator.Calculator  # its methods have no types
OF_ATOMS = tuple(name for name in ase_calculator.all_changes if name not in ("cell", "pbc"))
VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


class Calculator(ase_calculator.Calculator):
    """Energies, forces and stress of a model, for ASE.

    >>> atoms.calc = Calculator("runs/copper/best.pt")  # doctest: +SKIP

    `head` must be named where several give energies. `dtype` float64 is for relaxations, phonons and conserved energies; None is the
    model's own. `skin` in Å: larger, fewer searches and longer lists; 0 searches at each step. `threads` is that of torch, and so of all of
    the process. One calculator follows one system: give each its own, with one `Model` among them.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress", "energies"]
    name = "lamtrain"

    def __init__(
        self,
        model: str | Path | Model,
        *,
        head: str | None = None,
        device: str = "auto",
        dtype: Precision | None = None,
        kernels: Kernels = "auto",
        skin: float = 1.0,
        threads: int | None = None,
        **options: Any,
    ):
        AseCalculator.__init__(self, **options)
        self.use_cache = False  # `calculate` copies the atoms; ASE would do so before it as well
        self.model = opened(model, device=device, dtype=dtype, kernels=kernels)
        self.head = self.model.pick(head)
        longest = next(iter(self.model.config.descriptor.lists.values()))
        self.neighbors = SkinList(cutoff=longest.rcut, most=longest.nsel, skin=skin)
        self.moving = Moving.of(self.model.net, head=self.head, neighbors=self.neighbors)
        self._copy: Any = None  # of the last structure that was asked about
        self._taken: Frame | None = None  # the last structure, if it was not refused
        self.truncated = 0  # atoms of the last structure with more neighbours than the model keeps
        self.outside = 0  # edges of all structures so far that were shorter than a compressed model's tables reach
        if threads is not None:
            torch.set_num_threads(threads)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(ase_calculator.all_changes),
    ) -> None:
        """Fill `results`; the stress where there is a cell with a volume and a periodic direction."""
        given: Any = self.atoms if atoms is None else atoms
        moved_only = atoms is not None and list(system_changes) == ["positions"]
        if atoms is not None:
            self._keep(given, moved_only=moved_only)
        self.results = {}  # of an earlier structure, should this one be refused
        frame = self._take(given, moved_only=moved_only)
        if self.moving is not None:
            one = self.moving.answer(frame)
            energies, forces, virial = one.energies.numpy(), one.forces.double().numpy(), one.virial.numpy()
            energy = float(energies.sum())
            refuse_nonfinite(energies, forces)
            self.truncated, outside = one.truncated, one.outside
        else:
            cell = np.zeros((3, 3)) if frame.cell is None else frame.cell
            edges = [self.neighbors.edges(frame.positions, cell=cell, pbc=np.array(frame.pbc))]
            found = finite(self.model.evaluate(Frames.from_list([frame]), head=self.head, edges=edges))
            energies, energy, forces, virial = found.atomic_energies, float(found.energies[0]), found.forces, found.virials[0]
            self.truncated, outside = found.truncated, found.outside
        self._count(outside)
        self.results = {"energy": energy, "free_energy": energy, "energies": energies, "forces": forces}
        if frame.volume and any(frame.pbc):
            self.results["stress"] = (-virial / frame.volume)[VOIGT]

    def _keep(self, atoms: Any, *, moved_only: bool) -> None:
        """Know the structure again: a copy, as ASE's own has it, or where atoms have only moved their places in the last one."""
        if moved_only and self._copy is not None:
            self._copy.positions[:] = atoms.positions
        else:
            self._copy = atoms.copy()
        self.atoms = self._copy

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """What has changed since the last structure, by a bit rather than by `tol`, and charges and spins in `info` too.

        ASE's own takes longer than all else that a step does in Python.
        """
        last: Any = self.atoms
        if last is None:
            return list(ase_calculator.all_changes)
        pairs = {name: (last.arrays.get(name), atoms.arrays.get(name)) for name in OF_ATOMS}
        pairs |= {key: (last.info.get(key), atoms.info.get(key)) for key in ASKED_OF_ATOMS}
        pairs |= {"cell": (last.cell.array, atoms.cell.array), "pbc": (last.pbc, atoms.pbc)}
        return [name for name, (a, b) in pairs.items() if a is not b and not _same(a, b)]

    def _take(self, atoms: Any, *, moved_only: bool) -> Frame:
        """The structure, or DataError before a search, which takes any cell; where atoms of one that was taken have only moved, their places alone are asked."""
        before, self._taken = self._taken, None
        if moved_only and before is not None:
            frame = replace(before, positions=np.array(atoms.positions, np.float64))
        else:
            before, frame = None, as_frame(atoms)
        if before is None or not np.isfinite(frame.positions).all():
            refuse(Frames.from_list([frame]), elements=self.model.elements[self.head])
        self._taken = frame
        return frame

    def _count(self, outside: int) -> None:
        """Edges that a compressed model has no table for; said once."""
        if outside and not self.outside:
            print(f"note: {outside} edges are shorter than the tables of {self.model.path} reach; `outside` counts them", file=sys.stderr)
        self.outside += outside


def _same(a: Any, b: Any) -> bool:
    """Whether two values are the same to the bit; for arrays a third of the time of `np.array_equal`."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.dtype == b.dtype:
        return a.shape == b.shape and a.tobytes() == b.tobytes()
    return a is not None and b is not None and bool(np.array_equal(a, b))
