"""DPA-1 without attention trains by the same commands, and says what it has no part for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lamdata.errors import ConfigError
from lamtrain.checkpoint import load
from lamtrain.config import read_config
from lamtrain.deepmd import from_deepmd
from lamtrain.deepmd.export_model import export_model
from lamtrain.evaluation.report import test_model as measure
from lamtrain.runlog import read_metrics
from lamtrain.training.trainer import train

MIXTURE = """mixture: small
heads:
  - {head: bulk, dataset: bulk, task: energy_force, weight: 2.0}
  - {head: cluster, dataset: cluster, task: energy_force, weight: 1.0}
"""
STUDENT = ("model={size: student}", "steps=2", "log_every=1", "validation.every=2", "checkpoint_every=2", "validation.frames=2")


def test_a_student_trains_is_tested_and_is_exported(small: Path, tmp_path: Path) -> None:
    (tmp_path / "energies.yaml").write_text(MIXTURE)
    for card in ("bulk", "cluster"):
        (tmp_path / f"{card}.yaml").write_text((small / f"{card}.yaml").read_text())
    config = read_config(small / "train.yaml", overrides=[*STUDENT, f"mixture={tmp_path / 'energies.yaml'}"])
    out = train(config, out=tmp_path / "run", device="cpu", quiet=True)
    rows = read_metrics(out / "metrics.csv")
    assert [row["step"] for row in rows] == ["1", "2"] and all(0 < float(row["loss"]) < 1e4 for row in rows)  # of two batches
    checkpoint = load(out / "last.pt")
    assert checkpoint.model_config["descriptor"]["type"] == "dpa1"
    environment = checkpoint.build().get_submodule("descriptor.se_atten.environment")
    assert not torch.equal(environment.get_buffer("std"), torch.ones(5, 4)), "statistics of the data are in it"
    result = measure(out / "last.pt", config.store, output=tmp_path / "tested", quiet=True)
    assert {"force_rmse_mev_per_angstrom"} <= set(json.loads((tmp_path / "tested/test.json").read_text())["heads"]["bulk"]) and result
    deviations = export_model(out / "last.pt", config.store, tmp_path / "bulk.dp", head="bulk", frames=2)
    assert max(one.largest for one in deviations) < 1e-8
    again, _ = from_deepmd(tmp_path / "bulk.dp")
    assert again.config.descriptor == checkpoint.build(precision="float64").config.descriptor


def test_a_denoise_head_on_a_student_is_one_line_before_anything_is_read(small: Path, tmp_path: Path) -> None:
    config = read_config(small / "train.yaml", overrides=list(STUDENT))
    with pytest.raises(ConfigError, match="^model.*: a denoise head needs a pair channel, and descriptor `dpa1` has none") as caught:
        train(config, out=tmp_path / "run", device="cpu", quiet=True)
    assert len(str(caught.value).splitlines()) == 1 and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("section", "found"),
    [
        ("{descriptor: {type: dpa1, sel: 40, attn_layer: 2}}", "`model.descriptor.attn_layer` is 2: 2 attention layers are not supported"),
        ("{descriptor: {type: dpa1, sel: 40, rcut: 4.0, rcut_smth: 5.0}}", "`model.descriptor`: `rcut_smth` .5.0 Å. must be below `rcut`"),
        ("{size: student, descriptor: {type: dpa1, sell: 40}}", "unknown key 'sell'; did you mean 'sel'"),
        ("{descriptor: {type: dpa3}}", "dpa3"),
    ],
)
def test_an_option_of_its_descriptor_that_cannot_be_is_one_line(tmp_path: Path, section: str, found: str) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(f"train: t\nmixture: m.yaml\nstore: s\nsteps: 3\nmodel: {section}\n")
    with pytest.raises(ConfigError, match=found) as caught:
        read_config(path)
    assert len(str(caught.value).splitlines()) == 1
