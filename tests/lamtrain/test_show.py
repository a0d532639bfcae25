"""`lamtrain show`: the names that `start.train` and `start.lr_scale` take, and what to cite."""

from __future__ import annotations

import json
from fnmatch import filter as matching
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lamtrain.checkpoint import Checkpoint, save
from lamtrain.cli import app
from lamtrain.model.config import ModelConfig
from lamtrain.model.lam import LamModel


@pytest.fixture(params=["tiny", "student"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, LamModel]:
    """A checkpoint without training data, and its model."""
    model = LamModel(getattr(ModelConfig, request.param)(["O", "H"]))
    row = {"task": "energy_force", "weight": 1.0, "datasets": [], "theory": [], "references": None}
    lock = {"mixture": None, "datasets": {}}
    config = model.config.model_dump(mode="json")
    save(Checkpoint(model_config=config, model=model.state_dict(), heads={"energy": row}, lock=lock), tmp_path / "m.pt")
    return tmp_path / "m.pt", model


def show(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["show", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_names_are_those_of_the_parameters_and_not_of_buffers(model: tuple[Path, LamModel]) -> None:
    path, built = model
    shown = dict(line.split(" ") for line in show(str(path), "--names").splitlines())
    assert list(shown) == [name for name, _ in built.named_parameters()]
    assert matching(shown, "heads.*") and matching(shown, "descriptor.*") and "heads.energy.bias" not in shown
    assert shown["heads.energy.last.weight"] == f"{built.config.fitting.neuron[-1]}x1"
    document = json.loads(show(str(path), "--names", "--json"))
    assert document["parameters"] == {name: list(p.shape) for name, p in built.named_parameters()}
    assert "parameters" not in json.loads(show(str(path), "--json"))


def test_a_model_cites_the_paper_of_its_descriptor(model: tuple[Path, LamModel]) -> None:
    path, built = model
    arxiv = {"dpa1": "arXiv:2208.08236", "dpa2": "arXiv:2312.15492"}
    (cited,) = show(str(path), "--cite").splitlines()
    assert arxiv.pop(built.config.descriptor.type) in cited and not any(other in cited for other in arxiv.values())
