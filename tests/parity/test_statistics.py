"""What DeePMD-kit puts into a model before the first step, from the same frames: statistics of the environment, reference energies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dp import read_frames, run_dp, write_input, write_system
from make_inputs import ELEMENTS, multi_task, single_task

from lamdata.energies import Energies, fit_references
from lamdata.frames import Frames
from lamtrain.data.batch import collate
from lamtrain.deepmd import from_deepmd
from lamtrain.deepmd.names import environment_of
from lamtrain.model.statistics import environment_statistics

pytestmark = pytest.mark.deepmd
SYSTEMS = {"a": 12, "b": 20, "c": 9}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("statistics")
    for seed, (name, natoms) in enumerate(SYSTEMS.items()):
        write_system(folder / name, elements=ELEMENTS, natoms=natoms, frames=6, seed=seed, per_atom=-3.0 - seed)
    return folder


def assert_same_environment(model, frames: list[Frames]) -> None:
    """Mean and spread of each block, over all the frames."""
    stats = environment_statistics((collate(part, model.config) for part in frames), model.config)
    for block in model.config.descriptor.lists:
        environment = environment_of(model, block)
        assert torch.allclose(environment.std[:-1], stats.std(block)[:-1], rtol=1e-12, atol=0)
        if environment.centered:
            assert torch.allclose(environment.mean[:-1], stats.mean(block)[:-1], rtol=1e-12, atol=1e-15)


def test_statistics_of_a_single_task_model(folder):
    options = single_task()
    for block in ("repinit", "repformer"):
        options["descriptor"][block]["set_davg_zero"] = False
    write_input(folder / "input.json", options, systems=folder / "a", steps=1)
    text = (folder / "input.json").read_text()
    (folder / "input.json").write_text(text.replace(f'"{folder / "a"}"', ", ".join(f'"{folder / name}"' for name in SYSTEMS)))
    run_dp("train", "input.json", "--skip-neighbor-stat", cwd=folder)
    model, _ = from_deepmd(folder / "model.pt")
    frames = [read_frames(folder / name) for name in SYSTEMS]
    assert_same_environment(model, frames)
    gathered = Energies()
    for part in frames:
        gathered.add(part)
    energies = fit_references(gathered).energies
    ours = np.array([energies.get(symbol, 0.0) for symbol in ELEMENTS])
    assert np.abs(ours - model.heads["energy"].bias[:-1].numpy()).max() < 1e-9


def test_heads_that_share_a_descriptor_add_up_their_sums(folder):
    """Unweighted, whatever `model_prob` says."""
    write_input(
        folder / "input.json",
        multi_task(),
        systems={"water": folder / "a", "metal": folder / "b"},
        steps=1,
        model_prob={"water": 0.9, "metal": 0.1},
    )
    run_dp("train", "input.json", "--skip-neighbor-stat", cwd=folder)
    model, _ = from_deepmd(folder / "model.pt")
    assert_same_environment(model, [read_frames(folder / "a"), read_frames(folder / "b")])
