"""Starting from another model: what is taken is taken to the last bit, what is new is named, and nothing is adapted twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lamdata.errors import ConfigError
from lamtrain.checkpoint import load
from lamtrain.config import StartSpec, TrainConfig
from lamtrain.data.batch import collate
from lamtrain.data.mixture import TrainingData, open_training_data
from lamtrain.training.start import adapted_model
from lamtrain.training.trainer import train

MIXTURE = """mixture: mine
heads:
  - {head: mine, dataset: %s, task: energy_force}
"""


def mixture(small: Path, folder: Path, dataset: str = "cluster") -> Path:
    for card in ("bulk", "cluster", "crystals"):
        shutil.copy(small / f"{card}.yaml", folder)
    (folder / "mixture.yaml").write_text(MIXTURE % dataset)
    return folder / "mixture.yaml"


def config_of(small: Path, folder: Path, parent: Path, dataset: str = "cluster", **start: object) -> TrainConfig:
    values = {
        "train": "mine", "mixture": str(mixture(small, folder, dataset)), "store": str(small / "small.zarr"), "steps": 3, "precision": "float64",
        "start": {"model": str(parent), **start}, "checkpoint_every": 1,
    }  # fmt: skip
    return TrainConfig.model_validate(values)


def adapted(config: TrainConfig) -> tuple[torch.nn.Module, dict, TrainingData]:
    data = open_training_data(config.mixture, config.store)
    assert config.start is not None
    found = adapted_model(config, config.start, data, quiet=True)
    return found.model.use_kernels("plain"), found.others, data


def test_forces_are_the_parents_to_the_bit_and_energies_differ_by_the_references_alone(small: Path, parent: Path, tmp_path: Path) -> None:
    model, others, data = adapted(config_of(small, tmp_path, parent, "bulk", heads={"mine": "bulk"}))
    old = load(parent).build()
    frames = data.tasks[0].train.frames(0, 4)
    outputs = [
        m(collate(frames.with_(head=np.full(4, list(m.config.heads).index(h), np.int32)), m.config))
        for m, h in ((model, "mine"), (old, "bulk"))
    ]
    assert torch.equal(outputs[0].forces, outputs[1].forces)
    shift = model.energy_head("mine").bias - old.energy_head("bulk").bias
    expected = torch.stack([shift[outputs_types].sum() for outputs_types in split_types(frames, model)])
    torch.testing.assert_close(outputs[0].energy - outputs[1].energy, expected, rtol=0, atol=1e-10)
    assert others["cluster"]["stale"] and others["crystals"]["stale"] and list(model.config.heads) == ["mine", "cluster", "crystals"]


def split_types(frames, model) -> list[torch.Tensor]:
    batch = collate(frames.with_(head=np.zeros(len(frames), np.int32)), model.config)
    return list(torch.split(batch.types, batch.natoms.tolist()))


def test_references_are_kept_where_the_config_says_so(small: Path, parent: Path, tmp_path: Path) -> None:
    model, _, _ = adapted(config_of(small, tmp_path, parent, "bulk", heads={"mine": "bulk"}, references="keep"))
    assert torch.equal(model.energy_head("mine").bias, load(parent).build().energy_head("bulk").bias)


def test_a_new_element_extends_the_tables(small: Path, parent: Path, tmp_path: Path) -> None:
    checkpoint = load(parent)
    elements = checkpoint.model_config["elements"]
    fewer = [symbol for symbol in elements if symbol != "O"]
    one = config_of(small, tmp_path, parent, "cluster", heads={"mine": "new"})
    rows = [i for i, symbol in enumerate(elements) if symbol != "O"]
    from dataclasses import replace

    from lamtrain.checkpoint import save

    def cut(name: str, value: torch.Tensor) -> torch.Tensor:
        """The tensor of a model that does not know oxygen."""
        table = name.endswith(("type_embedding.weight", "environment.mean", "environment.std")) or (
            name.startswith("heads.") and (name.count(".") == 2 and name.endswith(".bias"))
        )
        output = ".type_out." in name
        if table:
            return torch.cat([value[rows], value[len(elements) :]])
        return value[..., rows] if output else value

    small_parent = replace(
        checkpoint,
        model_config=checkpoint.model_config | {"elements": fewer},
        model={name: cut(name, value) for name, value in checkpoint.model.items() if not name.startswith("heads.crystals")},
    )
    small_parent.model_config["heads"] = {"bulk": "energy_force", "cluster": "energy_force"}
    small_parent.heads.pop("crystals", None)
    save(small_parent, tmp_path / "fewer.pt")
    model, _, _ = adapted(config_of(small, tmp_path, tmp_path / "fewer.pt", "cluster", heads={"mine": "new"}))
    assert model.config.elements == [*fewer, "O"] and one.start is not None
    weight = model.descriptor.type_embedding.weight
    assert torch.equal(weight[:-1], small_parent.model["descriptor.type_embedding.weight"])
    assert (model.descriptor.repinit.environment.std[-2] != 1.0).any(), "the spread of the new element comes from the data"
    assert model.energy_head("mine").bias[-2] != 0.0


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({}, "has no head 'mine' for head 'mine'"),
        ({"heads": {"mine": "crystals"}}, "is for denoise, head 'mine' for energy_force"),
        ({"heads": {"other": "bulk"}}, "the mixture has no head 'other'"),
        ({"heads": {"mine": "bulk"}, "train": ["descriptr.*"]}, "no parameter is called 'descriptr"),
    ],
)
def test_what_cannot_be_taken_is_one_line(small: Path, parent: Path, tmp_path: Path, start: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        adapted(config_of(small, tmp_path, parent, **start))


def test_a_network_beside_a_start_is_refused(small: Path, parent: Path, tmp_path: Path) -> None:
    values = config_of(small, tmp_path, parent, heads={"mine": "cluster"}).model_dump(mode="json") | {"model": {"size": "medium"}}
    with pytest.raises(ValueError, match="brings its own network"):
        TrainConfig.model_validate(values)


def test_heads_alone_leave_the_descriptor_and_the_other_heads_fresh(small: Path, parent: Path, tmp_path: Path) -> None:
    config = config_of(small, tmp_path, parent, heads={"mine": "cluster"}, train="heads", lr_scale={"heads.*.last.*": 0.5})
    checkpoint = load(train(config, out=tmp_path / "run", device="cpu", quiet=True) / "last.pt")
    before = load(parent).model
    moved = [name for name, value in checkpoint.model.items() if name in before and not torch.equal(value, before[name])]
    assert not [name for name in moved if name.startswith("descriptor.")]
    assert not torch.equal(checkpoint.model["heads.mine.last.weight"], before["heads.cluster.last.weight"])
    assert not checkpoint.heads["bulk"]["stale"] and checkpoint.heads["mine"]["task"] == "energy_force"


def test_a_run_that_was_stopped_is_not_adapted_again(small: Path, parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(small, tmp_path, parent, heads={"mine": "cluster"})
    whole = load(train(config, out=tmp_path / "whole", device="cpu", quiet=True) / "last.pt")
    short = config.model_copy(update={"steps": 2, "learning_rate": config.learning_rate})
    train(short, out=tmp_path / "run", device="cpu", quiet=True)
    monkeypatch.setattr("lamtrain.training.start.adapted_model", lambda *_: pytest.fail("adapted twice"))
    again = load(train(config, out=tmp_path / "run", device="cpu", quiet=True) / "last.pt")
    assert again.step == whole.step == 3 and again.heads["bulk"]["stale"]
    assert isinstance(config.start, StartSpec)
