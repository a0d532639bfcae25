"""Datasets of which nothing is trained on, elements that no training frame has, and reference energies of free atoms."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lamdata import ingest, open_card
from lamdata.errors import ConfigError
from lamtrain.data.mixture import open_training_data
from tests.test_errors import call

Called = tuple[int, str, list[str]]
UNITS = "units: {energy: eV, length: Angstrom, force: eV/Angstrom}"
CARD = """dataset: {name}
title: {name}
theory: {{code: ASE EMT, functional: EMT}}
sources:
{sources}
split: {split}
"""
TRAIN = """train: metals
mixture: mixture.yaml
store: metals.zarr
model: {size: tiny}
steps: 2
batch: {frames: 4}
validation: {every: 2}
"""


def write_metal(folder: Path, name: str, symbol: str, *, groups: int) -> str:
    """Write rattled crystals and return the row of `sources:` that reads them."""
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    for group in range(groups):
        frames = []
        for seed in range(3):
            atoms = bulk(symbol, cubic=True)
            atoms.rattle(0.06, seed=7 * group + seed)
            atoms.calc = EMT()
            atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
            frames.append(atoms)
        write(folder / f"{name}-{group}.xyz", frames)
    return f'  - {{path: "{name}-*.xyz", format: extxyz, group: file, {UNITS}}}'


def bring(folder: Path, name: str, *sources: str, split: str, more: str = "") -> None:
    """Write a card and ingest it."""
    card = folder / f"{name}.yaml"
    card.write_text(CARD.format(name=name, sources="\n".join(sources), split=split) + more)
    ingest(open_card(card), str(folder / "metals.zarr"), base=folder, quiet=True)


def mixture(folder: Path, *datasets: str, more: str = "") -> Path:
    """Write a mixture of one head."""
    rows = "".join(f"  - {{head: metals, dataset: {name}, task: energy_force, weight: 1.0{more}}}\n" for name in datasets)
    (folder / "mixture.yaml").write_text(f"mixture: metals\nheads:\n{rows}")
    return folder / "mixture.yaml"


@pytest.fixture(scope="module")
def metals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copper to train on, with silver among its test frames alone; copper and gold that are held out entirely."""
    folder = tmp_path_factory.mktemp("metals")
    silver = write_metal(folder, "silver", "Ag", groups=1).replace("group: file", "group: file, split: test")
    bring(folder, "copper", write_metal(folder, "cu", "Cu", groups=6), silver, split="{validation: 0.3, test: 0.2, seed: 4}")
    for name, symbol in (("unseen", "Cu"), ("gold", "Au")):
        source = write_metal(folder, name, symbol, groups=2).replace("group: file", "group: file, split: test")
        bring(folder, name, source, split="{validation: 0, test: 0}")
    stated = "isolated_atoms: {Cu: 3.51, Ag: 0.125}\n"
    bring(folder, "atoms", write_metal(folder, "again", "Cu", groups=6), split="{validation: 0.3, test: 0.2, seed: 4}", more=stated)
    mixture(folder, "copper")
    (folder / "train.yaml").write_text(TRAIN)
    return folder


def command_in(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Called]:
    """`lamtrain` in a folder, quiet and on a CPU."""
    monkeypatch.chdir(folder)
    return lambda *args: call("lamtrain", *args, "--device", "cpu", "--quiet", capsys=capsys, monkeypatch=monkeypatch)


@pytest.fixture
def lamtrain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, metals: Path) -> Callable[..., Called]:
    return command_in(metals, capsys, monkeypatch)


@pytest.fixture
def model(metals: Path, lamtrain: Callable[..., Called]) -> str:
    """The best checkpoint of a short run, the same for all tests."""
    mixture(metals, "copper")
    assert lamtrain("train", "train.yaml")[0] == 0
    return "runs/metals/best.pt"


def test_an_element_that_no_training_frame_has_is_named_and_not_scored(metals: Path, model: str, lamtrain: Callable[..., Called]) -> None:
    code, _, notes = lamtrain("test", model, "metals.zarr")
    assert code == 0 and notes == ["note: head metals has no reference energy of Ag: energies of 3 frames are not scored"]
    row = json.loads((metals / "runs/metals/test.json").read_text())["heads"]["metals"]
    assert row["energies_not_scored"] == 3 and row["energy_rmse_mev_per_atom"] < 500
    data = open_training_data(mixture(metals, "copper"), str(metals / "metals.zarr"))
    assert data.unreferenced("metals") == ["Ag"]


def test_a_dataset_that_is_held_out_entirely_is_measured(metals: Path, model: str, lamtrain: Callable[..., Called]) -> None:
    code, out, notes = lamtrain("test", model, "metals.zarr", "--dataset", "unseen", "--json")
    row = json.loads(out)["heads"]["metals"]
    assert (code, notes) == (0, []) and row["energy_std_mev_per_atom"] > 0 and row["force_rmse_mev_per_angstrom"] > 0
    assert "energies_not_scored" not in row


def test_a_split_without_frames_is_one_line(model: str, lamtrain: Callable[..., Called]) -> None:
    code, _, (line,) = lamtrain("test", model, "metals.zarr", "--dataset", "unseen", "--split", "validation")
    assert code == 1 and line.endswith("no validation frames of unseen; --split test")


def test_an_element_that_the_model_does_not_know_is_named_with_its_dataset(model: str, lamtrain: Callable[..., Called]) -> None:
    code, _, (line,) = lamtrain("test", model, "metals.zarr", "--dataset", "gold")
    assert code == 1 and line.startswith("error: dataset gold: test frames have Au, and the model knows Cu, Ag")


def test_a_dataset_without_training_frames_is_no_row_of_a_mixture(metals: Path, lamtrain: Callable[..., Called]) -> None:
    mixture(metals, "copper", "unseen")
    code, _, (line,) = lamtrain("train", "train.yaml", "--name", "other")
    assert code == 2 and "head metals: dataset 'unseen' has no training frames" in line and "`lamtrain test --dataset unseen`" in line
    assert not (metals / "runs/other").exists()


def test_references_of_free_atoms_are_those_that_the_card_states(metals: Path, lamtrain: Callable[..., Called]) -> None:
    store = str(metals / "metals.zarr")
    fitted = open_training_data(mixture(metals, "atoms"), store).references("metals")
    isolated = open_training_data(mixture(metals, "atoms", more=", references: isolated"), store).references("metals")
    assert fitted is not None and isolated is not None
    assert isolated.energies["Cu"] == 3.51 and abs(fitted.energies["Cu"]) < 0.1
    assert lamtrain("train", "train.yaml", "--name", "isolated")[0] == 0
    from lamtrain.checkpoint import load

    checkpoint = load(metals / "runs/isolated/last.pt")
    assert checkpoint.heads["metals"]["references"]["energies"]["Cu"] == 3.51
    assert checkpoint.build().energy_head("metals").bias[checkpoint.model_config["elements"].index("Cu")].item() == pytest.approx(3.51)


def test_a_head_whose_atoms_nobody_states_is_refused_by_their_names(metals: Path) -> None:
    data = open_training_data(mixture(metals, "copper", more=", references: isolated"), str(metals / "metals.zarr"))
    with pytest.raises(ConfigError, match="head 'metals' has no isolated atom of Cu; state `isolated_atoms` in the card"):
        data.references("metals")
