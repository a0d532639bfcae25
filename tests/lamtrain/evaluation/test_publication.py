"""A published model: fetched elsewhere it predicts the same bits, and says what it is, of what it was made, and under which licences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule
from safetensors import safe_open
from typer.testing import CliRunner

from lamdata.errors import ConfigError, DataError, StoreError
from lamdata.located import parse_yaml
from lamdata.registry import fetch, publish, search
from lamtrain.checkpoint import Checkpoint, load, save
from lamtrain.cli import app
from lamtrain.config import read_config
from lamtrain.evaluation.publication import draft_model
from lamtrain.model.config import ModelConfig
from lamtrain.model.lam import LamModel
from lamtrain.prediction.model import load_model
from tests.conftest import tree

THEORY = {"code": "ASE EMT", "functional": "EMT"}


def write_model(
    path: Path, *, licence: str | None = "CC-BY-4.0", parent: str | None = None, dataset: str | None = "water", seed: int = 0
) -> Path:
    """A checkpoint of a tiny model of water, as a run would leave it."""
    torch.manual_seed(seed)
    model = LamModel(ModelConfig.tiny(["O", "H"]))
    row = {"task": "energy_force", "weight": 1.0, "datasets": [dataset], "theory": [THEORY], "references": None}
    said = {"content_hash": "ab" * 32, "train_frames": 9, "validation_frames": 2, "test_frames": 1, "license": licence, "doi": None}
    datasets = {} if dataset is None else {dataset: said | {"citations": ["W. Ater (2026)"], "theory": THEORY}}
    row |= {} if parent is None else {"start": {"model": parent, "from": "energy"}}
    lock = {"mixture": None, "datasets": datasets}
    path.parent.mkdir(parents=True, exist_ok=True)
    save(Checkpoint(model_config=model.config.model_dump(mode="json"), model=model.state_dict(), heads={"energy": row}, lock=lock), path)
    return path


def put(model: Path, registry: Path, name: str = "water", **options):
    draft = draft_model(model, name=name, version="1.0.0", license="MIT", **options)
    return publish(draft, str(registry), quiet=True)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAM_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("LAM_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "registry"


def predictions(model: str | Path) -> tuple[float, bytes]:
    found = load_model(model, device="cpu").predict([molecule("H2O")])
    return float(found.energies[0]), np.asarray(found.forces[0]).tobytes()


def test_a_fetched_model_predicts_the_same_bits(tmp_path: Path, registry: Path) -> None:
    path = write_model(tmp_path / "run/best.pt")
    put(path, registry)
    fetched = fetch("water@1.0.0", str(registry), str(tmp_path / "got"), quiet=True)
    assert Path(fetched.path).read_bytes() == path.read_bytes() and tree(tmp_path / "got") == tree(registry)
    assert predictions(fetched.path) == predictions(path) == predictions("registry://water@1.0.0")


def test_the_weights_beside_it_are_the_same_and_need_no_pickle(tmp_path: Path, registry: Path) -> None:
    path = write_model(tmp_path / "run/best.pt")
    put(path, registry)
    expected = load(path).model
    with safe_open(registry / "water@1.0.0/model.safetensors", framework="pt") as file:
        found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        config = ModelConfig.model_validate_json(file.metadata()["model_config"])
    assert found.keys() == expected.keys() and all(torch.equal(found[key], value) for key, value in expected.items())
    model = LamModel(config)
    model.load_state_dict(found)
    again = put(path, registry)
    assert not again.new  # the same bytes each time


def test_heads_theories_data_parents_and_licences_travel(tmp_path: Path, registry: Path) -> None:
    put(write_model(tmp_path / "run/best.pt"), registry)
    child = write_model(tmp_path / "tuned/best.pt", parent="registry://water@1.0.0", dataset="ice", seed=1)
    put(child, registry, name="ice", title="Ice")
    entry = search(str(registry), ["ice"], kind="model")[0]
    assert entry.parents == ["registry://water@1.0.0"] and entry.heads == {"energy": "energy_force"}
    assert entry.licenses == {"ice": "CC-BY-4.0", "water (of water@1.0.0)": "CC-BY-4.0"} and entry.license == "MIT"
    assert entry.theory == ["EMT, ASE EMT"] and entry.data == {"ice": "ab" * 32} and "W. Ater (2026)" in entry.citations
    text = (registry / "ice@1.0.0/README.md").read_text()
    front, _ = parse_yaml(text.split("---\n", 2)[1], where="README.md")
    assert front["base_model"] == ["registry://water@1.0.0"] and front["license"] == "mit" and front["library_name"] == "lamtrain"
    assert json.loads((registry / "ice@1.0.0/model.json").read_text())["lock"]["datasets"]["ice"]["license"] == "CC-BY-4.0"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"licence": None}, "water is not known"),
        ({"licence": "CC-BY-NC-4.0"}, "water is 'CC-BY-NC-4.0', non-commercial"),
        ({"dataset": None}, "what it was trained on is not known"),
        ({"parent": "runs/other/best.pt"}, "parent other/best.pt is not known"),
    ],
)
def test_data_of_an_unknown_or_unfree_licence_is_refused_unless_accepted(tmp_path: Path, registry: Path, options: dict, said: str) -> None:
    path = write_model(tmp_path / "run/best.pt", **options)
    with pytest.raises(DataError, match=f"the licence of {said}"):
        put(path, registry)
    assert not registry.exists() and put(path, registry, accept=["unknown", "NC"]).new


def test_a_training_starts_from_an_address_and_a_damaged_copy_is_fetched_again(tmp_path: Path, registry: Path) -> None:
    path = write_model(tmp_path / "run/best.pt")
    put(path, registry)
    (tmp_path / "train.yaml").write_text(
        "train: t\nmixture: m.yaml\nstore: registry://ice@1.0.0\nsteps: 1\nstart: {model: registry://water@1.0.0}\n"
    )
    config = read_config(tmp_path / "train.yaml")
    assert config.start is not None and config.start.model == "registry://water@1.0.0" and config.store == "registry://ice@1.0.0"
    expected = load(path).model
    for _ in range(2):
        found = load(config.start.model)
        assert all(torch.equal(found.model[key], value) for key, value in expected.items())
        (copy,) = (tmp_path / "cache").glob("registry/*/water@1.0.0/model.pt")
        copy.write_bytes(b"damaged")
    with pytest.raises(ConfigError, match="has no water@3.0.0; it has water@1.0.0"):
        load("registry://water@3.0.0")


def test_a_model_is_no_store_and_has_no_splits(tmp_path: Path, registry: Path) -> None:
    from lamdata import open_store

    put(write_model(tmp_path / "run/best.pt"), registry)
    with pytest.raises(ConfigError, match="water@1.0.0 is a model, and has no splits"):
        fetch("water@1.0.0", str(registry), str(tmp_path / "got"), split="test", quiet=True)
    with pytest.raises(StoreError, match="there is no store here"):
        open_store("registry://water@1.0.0")


def test_the_command(tmp_path: Path, registry: Path) -> None:
    path = write_model(tmp_path / "run/best.pt")
    args = ["publish", str(path), "--name", "water", "--version", "1.0.0", "--license", "MIT", "--json", "--quiet"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["entry"]["content"] == search(str(registry))[0].content
