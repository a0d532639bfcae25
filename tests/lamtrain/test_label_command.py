"""`lamtrain label`: what a model says becomes a dataset, to train on and to export, that is never taken for one that was computed."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.io import write

from lamdata import Theory, open_catalog, open_dataset, open_store
from lamdata.errors import ConfigError, ConfigErrors
from lamdata.exporting import export
from lamdata.store import select
from lamtrain import load_model
from lamtrain.model.config import ModelConfig
from lamtrain.prediction.label import label, theory_of_predictions
from lamtrain.prediction.source import open_source
from tests.conftest import command, training, tree
from tests.lamtrain.model_cases import structure
from tests.lamtrain.prediction_cases import TWO, save_model, write_model

PBE = {"code": "VASP 6.4", "functional": "PBE", "cutoff": 520.0, "dispersion": "none", "hubbard_u": "none", "spin": "none"}


@pytest.fixture(scope="module")
def metals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    about = {"energy": {"theory": [PBE]}}
    return save_model(tmp_path_factory.mktemp("model") / "metals.pt", ModelConfig.tiny(["H", "O", "Al", "Ni", "Cu", "Pd"]), about=about)


def store_of(path: Path) -> str:
    return str(path / "labels.zarr")


def label_files(model: Path, path: Path, store: str, **options: Any) -> dict[str, Any]:
    source = open_source([str(path)], dataset=None, split=None, format="auto", quiet=True)
    return label(load_model(model, device="cpu"), source, store, dataset="mine", **options)


def label_dataset(model: Path, small: Path, store: str, *, name: str = "bulk", into: str = "mine", **options: Any) -> dict[str, Any]:
    source = open_source([str(small / "small.zarr")], dataset=name, split=None, format="auto", quiet=True)
    return label(load_model(model, device="cpu"), source, store, dataset=into, **options)


def test_frames_of_a_dataset_keep_all_but_their_labels(metals: Path, small: Path, tmp_path: Path) -> None:
    summary = label_dataset(metals, small, store_of(tmp_path))
    given, found = open_dataset(small / "small.zarr", "bulk"), open_dataset(store_of(tmp_path), "mine")
    assert summary["frames"] == len(given) == len(found) and summary["new"] and not summary["rejected"]
    for split in ("train", "validation", "test"):
        mine = {f.origin: f for f in open_dataset(store_of(tmp_path), "mine", split=split)}
        theirs = {f.origin: f for f in open_dataset(small / "small.zarr", "bulk", split=split)}
        assert mine.keys() == theirs.keys() and mine
        said = load_model(metals, device="cpu").predict(list(theirs.values()))
        for row, (origin, frame) in enumerate(theirs.items()):
            other = mine[origin]
            assert (other.positions == frame.positions).all() and (other.cell == frame.cell).all() and other.group == frame.group
            assert other.energy == pytest.approx(said.energies[row], abs=1e-4) and other.energy != frame.energy
            np.testing.assert_allclose(other.forces, said.forces[said.starts[row] : said.starts[row + 1]], atol=1e-5)


def test_its_card_says_which_model_and_what_that_was_trained_on(metals: Path, small: Path, tmp_path: Path) -> None:
    label_dataset(metals, small, store_of(tmp_path))
    card = open_dataset(store_of(tmp_path), "mine").card
    sha256 = hashlib.sha256(metals.read_bytes()).hexdigest()
    assert card.theory == Theory(**PBE, model=f"{sha256[:16]} head energy")
    assert sha256 in card.notes[0] and "labels are what a model predicts" in card.notes[0] and "dataset bulk of" in card.notes[-1]
    assert card.title == "Predictions of metals.pt, head energy" and card.license == "CC0-1.0"
    assert "model" in card.theory.summary() and sha256[:16] in card.theory.summary()
    done = subprocess.run(command("lamdata", "ls", store_of(tmp_path), "--json"), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)[0]["theory"].startswith(f"model {sha256[:16]} head energy (PBE, VASP 6.4)")


@pytest.mark.parametrize(
    "one, other, said",
    [
        ({}, {"model": "a1b2 head x"}, ["model: computed, not predicted against a1b2 head x"]),
        ({"model": "a1b2 head x"}, {"model": "a1b3 head x"}, ["model: a1b2 head x against a1b3 head x"]),
        ({"model": "9f00 head x"}, {"model": "9f00 head y"}, ["model: 9f00 head x against 9f00 head y"]),
        ({"model": "a1b2 head x"}, {"model": "a1b2 head x"}, []),
    ],
)
def test_predicted_labels_agree_with_those_of_the_same_model_alone(one: dict[str, str], other: dict[str, str], said: list[str]) -> None:
    assert Theory(**PBE, **one).differences(Theory(**PBE, **other)) == said


def test_what_the_parents_disagree_on_is_not_known() -> None:
    found = theory_of_predictions([PBE, PBE | {"cutoff": 400.0}], model="x")
    assert (found.functional, found.cutoff, found.code, found.model) == ("PBE", None, "VASP 6.4", "x")
    assert theory_of_predictions([], model="x") == Theory(model="x")
    assert theory_of_predictions([PBE | {"model": "parent"}], model="x").model == "x"


def test_it_does_not_share_a_head_with_what_was_computed(metals: Path, small: Path, tmp_path: Path) -> None:
    from ruamel.yaml import YAML

    label_dataset(metals, small, store_of(tmp_path))
    card = open_dataset(store_of(tmp_path), "mine").card.model_dump(mode="json", exclude_none=True)
    with open(tmp_path / "mine.yaml", "w") as file:
        YAML().dump(card, file)
    (tmp_path / "dft.yaml").write_text(
        "dataset: dft\ntitle: dft\ntheory: {code: VASP 6.4, functional: PBE, cutoff: 520.0, dispersion: none, hubbard_u: none, spin: none}\n"
    )
    heads = "{{head: {}, dataset: dft, task: energy_force}}, {{head: {}, dataset: mine, task: energy_force}}"
    (tmp_path / "mix.yaml").write_text(f"mixture: mix\nheads: [{heads.format('one', 'one')}]\n")
    with pytest.raises(ConfigErrors, match=r"mine and dft cannot share head 'one': model: .* head energy against computed, not predicted"):
        open_catalog(tmp_path)
    (tmp_path / "mix.yaml").write_text(f"mixture: mix\nheads: [{heads.format('one', 'two')}]\n")
    assert set(open_catalog(tmp_path).cards) == {"mine", "dft"}


def test_files_are_labelled_for_training_and_what_is_refused_is_in_the_ledger(tmp_path: Path) -> None:
    model = write_model(tmp_path / "two.pt", heads=TWO)
    good = [structure(4, seed=seed).to_ase() for seed in range(3)]
    iron = good[0].copy()
    iron.symbols[0] = "Fe"
    write(tmp_path / "in.xyz", [*good, iron], format="extxyz")
    with pytest.raises(ConfigError, match="2 heads give energies; choose one of: pbe, hse"):
        label_files(model, tmp_path / "in.xyz", store_of(tmp_path))
    summary = label_files(model, tmp_path / "in.xyz", store_of(tmp_path), head="hse")
    assert (summary["frames"], summary["validation_frames"], summary["test_frames"]) == (3, 0, 0)
    [row] = map(json.loads, Path(summary["ledger"]).read_text().splitlines())
    assert row["origin"] == "in.xyz#3" and "does not know Fe" in row["reason"]


def test_doing_it_again_does_nothing_and_other_frames_are_asked_about(metals: Path, small: Path, tmp_path: Path) -> None:
    store = store_of(tmp_path)
    label_dataset(metals, small, store)
    before = tree(Path(store))
    again = label_dataset(metals, small, store)
    assert not again["new"] and tree(Path(store)) == before and [path.name for path in tmp_path.iterdir()] == ["labels.zarr"]
    with pytest.raises(ConfigError, match="mine is there already, .* say --replace if it may be"):
        label_dataset(metals, small, store, name="cluster")
    done = label_dataset(metals, small, store, name="cluster", replace=True)
    assert done["replaced"] and sum(done["replaced"].values()) > 1000
    assert len(open_dataset(store, "mine")) == len(open_dataset(small / "small.zarr", "cluster"))


def test_it_is_exported_and_trained_on(metals: Path, small: Path, tmp_path: Path) -> None:
    """A student of a model: its training frames are the teacher's."""
    store = store_of(tmp_path)
    label_dataset(metals, small, store)
    assert export(store, "mine", tmp_path / "out.extxyz", quiet=True).frames == len(open_dataset(store, "mine"))
    (tmp_path / "mine.yaml").write_text("dataset: mine\ntitle: mine\n")
    (tmp_path / "mixture.yaml").write_text("mixture: m\nheads: [{head: student, dataset: mine, task: energy_force}]\n")
    text = (small / "train.yaml").read_text().replace("small.zarr", store).replace("steps: 12", "steps: 2")
    (tmp_path / "train.yaml").write_text(text)
    subprocess.run(command("lamtrain", *training(tmp_path, tmp_path / "runs")), check=True, capture_output=True)
    student = load_model(tmp_path / "runs/small/last.pt", device="cpu").checkpoint
    sha256 = hashlib.sha256(metals.read_bytes()).hexdigest()
    assert student.heads["student"]["theory"][0]["model"] == f"{sha256[:16]} head energy"


def test_a_view_is_labelled_by_the_command(metals: Path, small: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", str(small / "small.zarr"), str(tmp_path / "s.zarr")], check=True)
    store = str(tmp_path / "s.zarr")
    frames = select(store, "bulk", name="some", natoms=(1, 4)).to_index()["frames"]
    args = [str(metals), store, "--from-dataset", "some", "--into", store, "--dataset", "mine", "--json", "--quiet", "--device", "cpu"]
    done = subprocess.run(command("lamtrain", "label", *args), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == frames and len(open_store(store)["mine"]) == frames
    done = subprocess.run(
        command("lamtrain", "label", str(metals), store, "--into", store, "--dataset", "x"), capture_output=True, text=True
    )
    assert done.returncode == 2 and "is a store; name a dataset with --from-dataset, one of" in done.stderr
