"""Shared small data: stores made by the real ingest from files written here, labelled by a real potential (ASE's EMT)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: small steps, and bits that depend on no trial of threads

CARD = """dataset: {name}
title: {name}
license: CC0-1.0
theory: {{code: ASE EMT, functional: {functional}, dispersion: none, hubbard_u: none, spin: none}}
sources:
  - {{path: "{name}-*.xyz", format: extxyz, group: file, units: {{energy: eV, length: Angstrom, force: eV/Angstrom, stress: eV/Angstrom^3}}}}
split: {{validation: 0.3, test: 0.25, seed: {seed}}}
"""
MIXTURE = """mixture: small
heads:
  - {head: bulk, dataset: bulk, task: energy_force, weight: 2.0}
  - {head: cluster, dataset: cluster, task: energy_force, weight: 1.0}
  - head: crystals
    dataset: crystals
    task: denoise
    weight: 1.0
    augment:
      noise: {kind: gaussian, scale: 0.15, probability: 0.5, min_distance: 0.8}
      mask: {probability: 0.2}
"""
TRAIN = """train: small
mixture: mixture.yaml
store: small.zarr
model:
  size: tiny
steps: 12
batch: {frames: 4}
learning_rate: {start: 1.0e-3, stop: 1.0e-4, decay_steps: 5}
validation: {every: 6, frames: 5}
checkpoint_every: 4
log_every: 3
"""


def command(name: str, *args: str) -> list[str]:
    """A command of ours as a process of this interpreter."""
    return [sys.executable, "-c", f"from {name}.cli import main; main()", *args]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def training(small: Path, out: Path) -> list[str]:
    """Arguments of a quiet training of the small catalog into `out`."""
    return ["train", str(small / "train.yaml"), "--runs", str(out), "--quiet", "--device", "cpu"]


def write_catalog(folder: Path, *, groups: int = 4, frames: int = 6) -> Path:
    """Write raw files, three cards, a mixture and a training config into `folder`."""
    for name, seed in (("bulk", 21), ("cluster", 9), ("crystals", 10)):  # each set has a group, and training has the elements of all
        (folder / f"{name}.yaml").write_text(CARD.format(name=name, functional="EMT", seed=seed))
        for group in range(groups):
            _write_raw(folder / f"{name}-{group}.xyz", name, group, frames)
    (folder / "mixture.yaml").write_text(MIXTURE)
    (folder / "train.yaml").write_text(TRAIN)
    return folder


def _write_raw(path: Path, name: str, group: int, frames: int) -> None:
    from ase.build import bulk, molecule
    from ase.calculators.emt import EMT
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.cluster import Octahedron
    from ase.io import write

    rng = np.random.default_rng(1000 * group + len(name))
    images = []
    for _ in range(frames):
        if name == "bulk":
            atoms = bulk(("Cu", "Al")[group % 2], cubic=True) * (1, 1, 1 + group % 2)
            atoms.set_cell(atoms.cell * (1 + rng.normal(scale=0.02)), scale_atoms=True)
        elif name == "cluster":
            atoms = Octahedron("Cu", 2) if group % 2 else molecule("H2O")
        else:
            atoms = bulk(("Cu", "Al", "Ni", "Pd")[group % 4], cubic=True)
        if name != "crystals":
            atoms.rattle(0.05, rng=rng)
            atoms.calc = EMT()
            labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
            if name == "bulk":
                labels["stress"] = atoms.get_stress()
            atoms.calc = SinglePointCalculator(atoms, **labels)
        images.append(atoms)
    write(path, images, format="extxyz")


def ingest_all(folder: Path, store: Path, **options) -> None:
    """Ingest the three cards of `write_catalog`."""
    from lamdata import ingest, open_card

    for name in ("bulk", "cluster", "crystals"):
        ingest(open_card(folder / f"{name}.yaml"), str(store), base=folder, quiet=True, **options)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with raw files, cards, mixture, train.yaml and the ingested store `small.zarr`."""
    folder = write_catalog(tmp_path_factory.mktemp("small"))
    ingest_all(folder, folder / "small.zarr")
    return folder
