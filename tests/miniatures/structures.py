"""Structures of the kinds that the datasets hold -> labelled frames.

Labels are CP2K's and Quantum ESPRESSO's where the quickstart's raw files have such structures, else those of ASE's EMT, else of a
Lennard-Jones potential whose minimum is at the shortest bond: each an energy with its own forces and virial.
"""

from __future__ import annotations

import gzip
import json
import zlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lamdata import open_card
from lamdata.distances import shortest_distance
from lamdata.frame import Frame
from lamdata.sources import expand, read_all

QUICKSTART = Path(__file__).resolve().parents[2] / "catalogs" / "quickstart"
EMT_ELEMENTS = {"H", "C", "N", "O", "Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au"}


@cache
def calculated(card: str) -> dict[str, tuple[Frame, ...]]:
    """Frames of a quickstart card by folder, as "h2o-s1.00"; runs that were refused are left out."""
    out: dict[str, list[Frame]] = {}
    spec = open_card(QUICKSTART / f"{card}.yaml").sources[0]
    for file in expand(spec, base=QUICKSTART):
        for item in read_all(file, spec):
            if isinstance(item, Frame):
                out.setdefault(file.folder.rsplit("/", 1)[-1], []).append(item)
    return {name: tuple(frames) for name, frames in out.items()}


def from_runs(card: str, *folders: str, frames: int = 3) -> list[list[Frame]]:
    """The first frames of some folders of a quickstart card, one system each."""
    return [list(calculated(card)[folder][:frames]) for folder in folders]


@cache
def _prototypes() -> dict[str, dict[str, Any]]:
    """AFLOW's prototypes as pymatgen ships them, by label."""
    folder = find_spec("pymatgen.analysis.prototypes").submodule_search_locations[0]
    with gzip.open(Path(folder) / "aflow_prototypes.json.gz") as file:
        entries = json.load(file)
    return {f"{entry['tags']['mineral'] or ''} {entry['tags']['aflow']}".strip(): entry["snl"] for entry in entries}


def prototype(label: str, *, replace: dict[str, str] | None = None, scale: float = 1.0) -> Any:
    """`ase.Atoms` of a prototype, with other elements in its places and its cell scaled."""
    from ase import Atoms

    structure = _prototypes()[label]
    symbols = [site["species"][0]["element"] for site in structure["sites"]]
    cell = np.array(structure["lattice"]["matrix"]) * scale
    fractions = [site["abc"] for site in structure["sites"]]
    return Atoms([(replace or {}).get(s, s) for s in symbols], cell=cell, scaled_positions=fractions, pbc=True)


def labelled(atoms: Any, *, frames: int = 3, strain: float = 0.02, rattle: float = 0.04) -> list[Frame]:
    """Strained and rattled copies of a structure, with energy, forces and, where it is periodic, virial."""
    rng = np.random.default_rng(zlib.crc32(str(atoms.symbols).encode()) + len(atoms))
    potential = _potential(atoms)
    return [_labelled_copy(atoms, potential, rng, strain=strain, rattle=rattle) for _ in range(frames)]


def _labelled_copy(atoms: Any, potential: Any, rng: np.random.Generator, *, strain: float, rattle: float) -> Frame:
    copy = atoms.copy()
    if copy.pbc.any():
        copy.set_cell(copy.cell.array @ (np.eye(3) + rng.normal(0, strain, (3, 3))), scale_atoms=True)
    copy.positions += rng.normal(0, rattle, copy.positions.shape)
    copy.calc = potential
    frame = bare(copy)
    virial = -copy.get_volume() * copy.get_stress(voigt=False) if copy.pbc.all() else None
    return Frame(
        numbers=frame.numbers,
        positions=frame.positions,
        cell=frame.cell,
        pbc=frame.pbc,
        energy=float(copy.get_potential_energy()),
        forces=copy.get_forces(),
        virial=virial,
    )


def bare(atoms: Any) -> Frame:
    """A frame without labels."""
    periodic = bool(atoms.pbc.any())
    return Frame(
        numbers=atoms.numbers.astype(np.uint8),
        positions=atoms.positions.copy(),
        cell=atoms.cell.array.copy() if periodic else None,
        pbc=tuple(map(bool, atoms.pbc)),
    )


def _potential(atoms: Any) -> Any:
    from ase.calculators.emt import EMT
    from ase.calculators.lj import LennardJones

    if set(atoms.symbols) <= EMT_ELEMENTS:
        return EMT()
    sigma = shortest_distance(bare(atoms)) / 2 ** (1 / 6)
    return LennardJones(sigma=sigma, epsilon=0.3, rc=2.2 * sigma, smooth=True)
