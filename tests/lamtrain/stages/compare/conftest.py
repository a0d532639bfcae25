"""Three models, a store of two datasets that the first has labelled, a benchmark on it, and what `lamtrain compare` makes of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from lamdata import ingest, open_card
from lamtrain import load_model
from lamtrain.checkpoint import load, save
from lamtrain.files import replace_yaml
from lamtrain.stages.compare.benchmark import Benchmark, read_benchmark
from lamtrain.stages.compare.run import compare
from lamtrain.stages.submitted import DESCRIPTION
from tests.lamtrain.model_cases import structure
from tests.lamtrain.prediction_cases import write_model

CARD = """dataset: {name}
title: {name}
sources:
  - {{path: {name}-train.xyz, format: extxyz, group: frame, units: {units}}}
  - {{path: {name}-test.xyz, format: extxyz, split: test, units: {units}}}
split: {{validation: 0}}
checks: {{min_distance: null, net_force: null, virial_asymmetry: null, max_force: null}}
"""
UNITS = "{energy: eV, length: Angstrom, force: eV/Angstrom, stress: eV/Angstrom^3}"
BENCHMARK = """benchmark: pair
title: Two sets
store: store.zarr
tasks:
  - {task: one, dataset: one, fitted: 8}
  - {task: two, dataset: two, fitted: 8, domain: other}
"""
TEST, TRAIN = 7, 9


def labelled(model: Any, seeds: range) -> list[Atoms]:
    """Structures with a model's own labels, and noise on them, as labels have."""
    rng, out = np.random.default_rng(seeds.start), []
    for seed in seeds:
        [atoms] = model.predict([structure(4 + seed % 3, seed=seed).to_ase()]).to_ase()
        results = {name: np.asarray(atoms.calc.results[name]) for name in ("energy", "forces", "stress")}
        noisy = {name: value + rng.normal(scale=0.01, size=value.shape) for name, value in results.items() if name != "stress"}
        atoms.calc = SinglePointCalculator(atoms, energy=float(noisy["energy"]), forces=noisy["forces"], stress=results["stress"])
        out.append(atoms)
    return out


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good.pt, fair.pt and poor.pt, store.zarr and pair.yaml. The first test frame of `one` stands among its training frames, turned."""
    folder = tmp_path_factory.mktemp("board")
    write_model(folder / "good.pt")
    for name, off in (("fair", 0.02), ("poor", 0.2)):
        checkpoint = load(folder / "good.pt")
        for key, value in checkpoint.model.items():
            if key.endswith(("matrix", "weight", "w")) and value.is_floating_point():
                noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(len(key)), dtype=value.dtype)
                checkpoint.model[key] = value + off * noise * value.abs().mean()
        save(checkpoint, folder / f"{name}.pt")
    model = load_model(folder / "good.pt", device="cpu")
    for number, name in enumerate(("one", "two")):
        first = 100 * number
        train, test = labelled(model, range(first, first + TRAIN)), labelled(model, range(first + 50, first + 50 + TEST))
        if name == "one":
            turned = test[0].copy()
            turned.rotate(40, (1, 2, 3), rotate_cell=True)
            turned.calc = SinglePointCalculator(turned, energy=test[0].get_potential_energy())
            train.append(turned)
        write(folder / f"{name}-train.xyz", train, format="extxyz")
        write(folder / f"{name}-test.xyz", test, format="extxyz")
        (folder / f"{name}.yaml").write_text(CARD.format(name=name, units=UNITS))
        ingest(open_card(folder / f"{name}.yaml"), str(folder / "store.zarr"), base=folder, quiet=True)
    (folder / "pair.yaml").write_text(BENCHMARK)
    return folder


@pytest.fixture(scope="session")
def benchmark_(board: Path) -> Benchmark:
    return read_benchmark(board / "pair.yaml")


@pytest.fixture(scope="session")
def honest(board: Path, benchmark_: Benchmark) -> dict[str, Any]:
    """The comparison of the three models, in `board`/out."""
    models = [str(board / f"{name}.pt") for name in ("poor", "good", "fair")]
    return compare(models, benchmark_, board / "out", where="pair.yaml", device="cpu", quiet=True)


@pytest.fixture
def doctor(board: Path, honest: dict[str, Any], tmp_path: Path) -> Callable[..., Path]:
    """Make a submission of what fair.pt predicted: keys of its description changed, and its file of task `one` by a function of its frames."""

    def make(name: str, change: Callable[[list[str]], list[str]] | None = None, **keys: Any) -> Path:
        folder = tmp_path / name
        shutil.copytree(board / "out/submissions/fair", folder)
        if change is not None:
            (folder / "one.extxyz").write_text("".join(change(frames_in(folder / "one.extxyz"))))
        values = {"submission": name, "model": "somebody's", "predictions": {"one": "one.extxyz", "two": "two.extxyz"}} | keys
        replace_yaml(folder / DESCRIPTION, {key: value for key, value in values.items() if value is not None})
        return folder

    return make


def frames_in(path: Path) -> list[str]:
    """The text of each frame."""
    lines, found = path.read_text().splitlines(keepends=True), []
    while lines:
        size = int(lines[0]) + 2
        found.append("".join(lines[:size]))
        lines = lines[size:]
    return found
