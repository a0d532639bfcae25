"""A kind of task that somebody adds in one file: found by its entry point, checked, trained, tested, and named in every table."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lamdata.errors import ConfigError, DataError
from lamdata.frame import Frame
from lamdata.frames import Frames
from lamtrain.checkpoint import load
from lamtrain.config import TrainConfig, read_config
from lamtrain.data.batch import HeadRows, collate
from lamtrain.evaluation.report import table_of
from lamtrain.evaluation.report import test_model as measure
from lamtrain.model.config import ModelConfig
from lamtrain.model.heads import head_kind
from lamtrain.model.lam import LamModel
from lamtrain.runlog import read_metrics
from lamtrain.tasks import kinds_of, task_kind
from lamtrain.training.trainer import train
from tests.conftest import command, write_catalog

DIPOLE = '''"""Dipoles of molecules: the moment of point charges by element about the centre; learned as charges that depend on the surroundings."""

import math
from functools import cached_property

import numpy as np

CHARGE = {1: 0.35, 8: -0.7, 29: 0.2}  # e


class Dipole:
    name = "dipole"
    needs = ()
    prefactors = {"moment": (1.0, 1.0)}
    sums = ("moment",)
    logged = drawn = ("dipole_rmse_e_angstrom",)
    relative = (("dipole_rmse_e_angstrom", "dipole_size_e_angstrom"),)

    @cached_property
    def columns(self):
        from lamtrain.tasks import Column

        return (Column("dipole_rmse_e_angstrom", "dipole RMSE e·Å"), Column("dipole_size_e_angstrom", "size"))

    @property
    def head(self):
        return build_head()

    def labels(self, frames, chosen, *, dtype):
        import torch

        moments, whole = moments_of(frames)
        return {"moment": torch.from_numpy(moments).to(dtype), "has_moment": torch.from_numpy(whole & chosen)}

    def losses(self, output, batch, *, huber):
        if "moment" not in output.more:
            return {}
        error = (output.more["moment"] - batch.labels["moment"]).square().sum(-1)
        return {"moment": error.double() * batch.labels["has_moment"]}

    def errors(self, output, batch):
        from lamtrain.tasks import Errors

        if "moment" in output.more:
            error = (output.more["moment"] - batch.labels["moment"]).double().square().sum(-1)
            yield Errors("moment", error, batch.labels["has_moment"], batch.head, components=3)

    def summarize(self, sums):
        count = sums.get("moment_count", 0)
        return {"dipole_rmse_e_angstrom": math.sqrt(sums["moment"] / count)} if count else {}

    def spread(self, references, statistics):
        return Size()

    def parity(self, frames, output, references):
        moments, whole = moments_of(frames)
        predicted = output.more["moment"].detach().cpu().numpy()
        return {"dipole (e·Å)": np.stack([moments[whole].ravel(), predicted[whole].ravel()], 1).astype(np.float64)}


class Size:
    """Root mean square of the labels' components: the error of predicting none."""

    def __init__(self):
        self.total = self.count = 0

    def add(self, frames):
        moments, whole = moments_of(frames)
        self.total += float(np.square(moments[whole]).sum())
        self.count += 3 * int(whole.sum())

    def table(self):
        return {"dipole_size_e_angstrom": math.sqrt(self.total / self.count)} if self.count else {}


def moments_of(frames):
    """(F, 3) e·Å, and (F,) whether there is one: not where a frame is periodic."""
    charges = np.vectorize(CHARGE.get, otypes=[float])(frames.numbers, 0.0)[:, None]
    sums = lambda x: np.add.reduceat(x, frames.starts[:-1])
    centre = np.repeat(sums(frames.positions) / frames.natoms[:, None], frames.natoms, 0)
    return sums(charges * (frames.positions - centre)), ~frames.pbc.any(1)


def build_head():
    """mu = sum_i q_i (x_i - centre), with x_i - centre = -sum_j d_ij / N over the other atoms, all of which lie within the cutoff."""
    import torch
    from torch import nn

    from lamtrain.model.heads import HeadKind
    from lamtrain.model.layers import Dense, mlp

    class Charges(nn.Module):
        def __init__(self, config, name):
            super().__init__()
            self.layers = mlp(config.descriptor.dim_out, [12, 12], activation_function="tanh", resnet_dt=False)
            self.last = Dense(12, 1)

        def forward(self, descriptor):
            return self.last(self.layers(descriptor))

    def evaluate(heads, features):
        batch = features.batch
        cutoff = next(iter(features.config.descriptor.lists.values())).rcut
        near = [edges * (edges.norm(dim=-1, keepdim=True) < cutoff) for edges in features.vectors]
        arms = -torch.cat([edges.sum(1) for edges in near])  # (A, 3) by row
        charges = torch.zeros_like(arms[:, :1])
        for head, net in heads:
            charges = charges.index_copy(0, head.rows, net(features.descriptor.atoms[head.rows]))
        moments = arms.new_zeros(batch.nframes, 3).index_add(0, batch.frame, (charges * arms)[batch.rank])
        return {"moment": moments / batch.natoms.unsqueeze(-1)}

    return HeadKind(build=Charges, evaluate=evaluate)


DIPOLE = Dipole()
'''
MIXTURE = """mixture: small
heads:
  - {head: bulk, dataset: bulk, task: energy_force, weight: 1.0}
  - {head: polar, dataset: cluster, task: dipole, weight: 1.0}
"""
TRAIN = """train: polar
mixture: mixture.yaml
store: %s
model:
  descriptor: {type: dpa1, rcut: 5.0, rcut_smth: 1.0, sel: 100, neuron: [6, 12], axis_neuron: 3}
  fitting: {neuron: [12]}
steps: 60
batch: {frames: 4}
learning_rate: {start: 1.0e-2, stop: 1.0e-3, decay_steps: 10}
validation: {every: 20, frames: 12}
checkpoint_every: 60
log_every: 20
"""


def install(folder: Path, name: str, text: str, *, point: str = "DIPOLE") -> None:
    """What `pip install` leaves of a distribution of one module."""
    (folder / f"{name}_task.py").write_text(text)
    info = folder / f"{name}_task-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-task\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[lamtrain.tasks]\n{name} = {name}_task:{point}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed distributions; kinds are looked up once in a process: forget them before and after."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    for lookup in (task_kind, head_kind):
        lookup.cache_clear()
    yield folder
    for lookup in (task_kind, head_kind):
        lookup.cache_clear()


@pytest.fixture
def config(site: Path, small: Path, tmp_path: Path) -> TrainConfig:
    """A run of an energy head and a dipole head."""
    install(site, "dipole", DIPOLE)
    write_catalog(tmp_path)
    (tmp_path / "mixture.yaml").write_text(MIXTURE)
    (tmp_path / "train.yaml").write_text(TRAIN % (small / "small.zarr"))
    return read_config(tmp_path / "train.yaml")


def test_an_added_task_is_checked_trained_and_tested(config: TrainConfig, site: Path, tmp_path: Path) -> None:
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    checked = subprocess.run(
        command("lamdata", "check", str(tmp_path)), env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert checked.returncode == 0 and "mixtures: 1" in checked.stdout, checked.stderr

    out = train(config, out=tmp_path / "run", device="cpu", quiet=True)
    rows = read_metrics(out / "metrics.csv")
    errors = [float(row["polar.validation.dipole_rmse_e_angstrom"]) for row in rows]
    assert len(errors) == 3 and errors[-1] < 0.5 * errors[0], "it learns"
    assert all(row["polar.train.dipole_rmse_e_angstrom"] and row["bulk.train.force_rmse_mev_per_angstrom"] for row in rows)
    assert load(out / "last.pt").heads["polar"]["task"] == "dipole"

    result = measure(out / "last.pt", config.store, output=tmp_path / "tested", quiet=True)
    polar = json.loads((tmp_path / "tested/test.json").read_text())["heads"]["polar"]
    assert polar["dipole_rmse_e_angstrom"] < 0.5 * polar["dipole_size_e_angstrom"], "and is better than saying none"
    assert "energy_rmse_mev_per_atom" not in polar and "dipole RMSE e·Å" in table_of(result)[0]


def test_its_prefactors_are_its_own_unless_the_config_says_others(config: TrainConfig) -> None:
    kinds = [task_kind("dipole"), task_kind("energy_force")]
    assert config.loss.pair("moment", kinds) == (1.0, 1.0) and config.loss.pair("force", kinds) == (1000.0, 1.0)
    said = TrainConfig.model_validate(config.model_dump() | {"loss": {"more": {"moment": [7.0, 2.0]}}})
    assert said.loss.pair("moment", kinds) == (7.0, 2.0)
    with pytest.raises(ValueError, match="no kind of task has a term 'momnt'; did you mean 'moment'"):
        TrainConfig.model_validate(config.model_dump() | {"loss": {"more": {"momnt": [1.0, 1.0]}}})


def test_two_tasks_that_use_one_word_do_not_go_together(site: Path, small: Path) -> None:
    """A term, a label or an output of one would stand for the other's."""
    install(site, "dipole", DIPOLE)
    install(site, "moment", DIPOLE.replace('name = "dipole"', 'name = "moment"'))
    install(
        site,
        "label",
        DIPOLE.replace('name = "dipole"', 'name = "label"').replace('{"moment": (1', '{"term": (1').replace('("moment",)', '("sum",)'),
    )
    with pytest.raises(ConfigError, match="the tasks 'dipole' and 'moment' both call something 'moment'"):
        kinds_of({"a": "dipole", "b": "moment"})
    assert len(kinds_of({"a": "dipole", "b": "label", "c": "dipole"})) == 2
    model = LamModel(ModelConfig.student(["H", "O"], {"a": "dipole", "b": "label"}))
    water = Frame(numbers=np.array([8, 1, 1], np.uint8), positions=np.array([[0.0, 0, 0], [0.9, 0, 0], [0, 1.0, 0]]))
    frames = Frames.from_list([water, water]).with_(head=np.array([0, 1], np.int32))
    with pytest.raises(DataError, match="the task 'label' has a label called '(has_)?moment', and so has another"):
        collate(frames, model.config)
    alone = collate(frames.with_(head=np.zeros(2, np.int32)), ModelConfig.student(["H", "O"], {"a": "dipole"}))
    index = torch.tensor([0, 1, 2])
    both = (HeadRows(name="a", rows=index, by_chunk=()), HeadRows(name="b", rows=index + 3, by_chunk=()))
    with pytest.raises(ValueError, match="both call an output 'moment'"):
        model(replace(alone, heads=both))


def test_a_task_that_is_not_whole_is_one_line(site: Path) -> None:
    install(site, "half", DIPOLE.replace("def summarize", "def sumarize").replace('name = "dipole"', 'name = "half"'))
    install(site, "other", DIPOLE)
    install(site, "broken", "import no_such_module\n")
    install(site, "dipole", DIPOLE)
    assert task_kind("dipole").columns
    for name, found in (("half", "has no summarize"), ("other", "calls itself 'dipole'"), ("broken", "does not load: ModuleNotFoundError")):
        with pytest.raises(ConfigError, match=f"the task '{name}' of {name}_task:DIPOLE {found}"):
            task_kind(name)
    with pytest.raises(ConfigError, match="no task called 'hlf'"):
        task_kind("hlf")
