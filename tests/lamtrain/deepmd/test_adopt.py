"""DeePMD-kit's files through the commands: out by export, in by import, with the same numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lamdata import open_dataset
from lamdata.catalog import open_catalog
from lamdata.errors import ConfigError, LamError
from lamtrain.checkpoint import load
from lamtrain.config import read_config
from lamtrain.data.batch import collate
from lamtrain.deepmd import adopt_input, adopt_model
from lamtrain.deepmd.export_model import export_model
from lamtrain.evaluation.report import test_model as measure
from lamtrain.training.trainer import train

INPUT = {
    "model": {
        "type_map": ["Cu", "Al"],
        "descriptor": {
            "type": "dpa2",
            "repinit": {"tebd_dim": 8, "rcut": 6.0, "rcut_smth": 0.5, "nsel": 120},
            "repformer": {"rcut": 4.0, "rcut_smth": 3.5, "nsel": 40},
        },
        "fitting_net": {"neuron": [24, 24], "resnet_dt": True},
    },
    "learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-5, "decay_steps": 100},
    "loss": {"type": "ener", "start_pref_e": 0.02, "limit_pref_e": 1, "start_pref_f": 1000, "limit_pref_f": 1},
    "training": {"numb_steps": 1000, "training_data": {"systems": ["data/0"], "batch_size": 4}, "tensorboard": True},
}


@pytest.fixture(scope="module")
def trained(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = read_config(small / "train.yaml", overrides=["steps=2"])
    return train(config, out=tmp_path_factory.mktemp("adopt") / "run", device="cpu", quiet=True)


def test_a_model_that_went_out_and_came_back_gives_the_same_numbers(small: Path, trained: Path, tmp_path: Path) -> None:
    deviations = export_model(trained / "last.pt", str(small / "small.zarr"), tmp_path / "dp.pt", head=None, frames=4)
    assert {d.head for d in deviations} == {"bulk", "cluster"} and max(d.largest for d in deviations) < 1e-8
    adopt_model(tmp_path / "dp.pt", tmp_path / "back.pt")
    frames = open_dataset(small / "small.zarr", "bulk").frames(0, 4)
    energies = []
    for path in (trained / "last.pt", tmp_path / "back.pt"):
        model = load(path).build(precision="float64")
        index = list(model.config.heads).index("bulk")
        energies.append(model(collate(frames.with_(head=np.full(4, index, np.int32)), model.config), create_graph=False).energy)
    assert torch.allclose(*energies, atol=1e-9, rtol=0)


def test_an_adopted_model_is_tested_on_a_dataset_named_for_it(small: Path, trained: Path, tmp_path: Path) -> None:
    export_model(trained / "last.pt", str(small / "small.zarr"), tmp_path / "dp.pt", head=None, frames=2)
    adopt_model(tmp_path / "dp.pt", tmp_path / "back.pt")
    store = str(small / "small.zarr")
    with pytest.raises(ConfigError, match="--dataset"):
        measure(tmp_path / "back.pt", store, output=tmp_path, quiet=True)
    ours = measure(trained / "last.pt", store, output=tmp_path, head="bulk", quiet=True)["heads"]["bulk"]
    theirs = measure(tmp_path / "back.pt", store, output=tmp_path, head="bulk", dataset="bulk", quiet=True)["heads"]["bulk"]
    assert theirs["force_rmse_mev_per_angstrom"] == pytest.approx(ours["force_rmse_mev_per_angstrom"], rel=1e-4)


def test_an_input_json_becomes_a_folder_that_checks(tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text(json.dumps(INPUT))
    files, left_out = adopt_input(tmp_path / "input.json", tmp_path / "ours", store=str(tmp_path / "s.zarr"))
    assert {file.name for file in files} == {"mixture.yaml", "train.yaml", "energy.yaml"}
    assert open_catalog(tmp_path / "ours").cards["energy"].sources[0].format == "deepmd/npy"
    config = read_config(tmp_path / "ours/train.yaml")
    assert (config.steps, config.batch.frames, config.learning_rate.start) == (1000, 4, 1e-3)
    assert config.model.resolve(elements=[], heads={"energy": "energy_force"}, precision="float64").fitting.neuron == [24, 24]
    assert all("tensorboard" not in line or "True" in line for line in left_out)


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\n",
        "- 1\n",
        "model: 3\n",
        "model: {descriptor: {type: dpa2}, '@variables': 3}\n",
        "model: {descriptor: {type: dpa1}}\n",
        "a: [\n",
        "{a: b: c}\n",
    ],
)
def test_a_strange_yaml_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "strange.yaml").write_text(text)
    with pytest.raises(LamError, match="not a serialised") as caught:
        adopt_model(tmp_path / "strange.yaml", tmp_path / "out.pt")
    assert "\n" not in str(caught.value) and not (tmp_path / "out.pt").exists()
