"""200 steps of training from the same weights on the same batches: the loss is DeePMD-kit's at every step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dp import run_python, write_input, write_system
from make_inputs import ELEMENTS, single_task

from lamdata.frame import Frame
from lamdata.frames import Frames
from lamtrain.config import LearningRateSpec, LossSpec, TrainConfig
from lamtrain.data.batch import collate
from lamtrain.deepmd import from_deepmd, input_json_to_config, to_deepmd
from lamtrain.evaluation.metrics import Metrics
from lamtrain.model.config import ModelConfig
from lamtrain.model.elements import NUMBERS
from lamtrain.model.lam import LamModel
from lamtrain.training.optimizer import build_optimizer
from lamtrain.training.ranks import Ranks
from lamtrain.training.schedule import Schedule
from lamtrain.training.state import TrainState
from lamtrain.training.step import train_step

pytestmark = pytest.mark.deepmd
STEPS = 200


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A folder with start.pt, input.json, record.npz and model.pt: two systems of 12 and 20 atoms, two frames a batch, clipping."""
    folder = tmp_path_factory.mktemp("training")
    systems = [str(write_system(folder / str(n), elements=ELEMENTS, natoms=n, frames=8, seed=n)) for n in (12, 20)]
    write_input(folder / "input.json", single_task(), systems=folder / "12", steps=STEPS, gradient_max_norm=5.0)
    text = (folder / "input.json").read_text().replace(f'"{systems[0]}"', f'"{systems[0]}", "{systems[1]}"')
    (folder / "input.json").write_text(text)
    to_deepmd(start(folder), folder / "start.pt")
    script = str(Path(__file__).with_name("record_training.py"))
    run_python(script, "record.npz", "train", "input.json", "--skip-neighbor-stat", "--init-model", "start.pt", cwd=folder)
    return folder


def start(folder: Path) -> LamModel:
    """The first weights, drawn here, with statistics and reference energies that are not trivial."""
    values, left_out = input_json_to_config(folder / "input.json")
    assert not left_out
    torch.manual_seed(3)
    model = LamModel(ModelConfig(heads={"energy": "energy_force"}, **values["model"]))
    for block in ("repinit", "three_body", "repformer"):
        getattr(model.descriptor, block).environment.std.fill_(0.3)
    model.heads["energy"].bias[:-1] = -3.0
    return model


def state_of(run: Path) -> TrainState:
    """A run of ours as input.json says."""
    values, _ = input_json_to_config(run / "input.json")
    keys = ("steps", "clip_norm", "precision")
    config = TrainConfig(
        train="parity", mixture="none", store="none", **{key: values[key] for key in keys},
        loss=LossSpec(**values["loss"]), learning_rate=LearningRateSpec(**values["learning_rate"]),
    )  # fmt: skip
    model, _ = from_deepmd(run / "start.pt")
    schedule = Schedule(config.learning_rate, config.steps)
    return TrainState(
        config=config,
        data=None,
        model=model,
        optimizer=build_optimizer(model, config),
        schedule=schedule,
        metrics=Metrics({"energy": "energy_force"}),
    )


def frames_of(record, step: int) -> Frames:
    """The frames of one recorded batch."""
    numbers = np.array([NUMBERS[symbol] for symbol in ELEMENTS], np.uint8)
    types = record[f"atype/{step}"]
    shapes = {"coord": (-1, 3), "box": (3, 3), "energy": (), "force": (-1, 3), "virial": (3, 3)}
    values = {key: record[f"{key}/{step}"].reshape(len(types), *shape) for key, shape in shapes.items()}
    return Frames.from_list(
        Frame(
            numbers=numbers[types[i]], positions=values["coord"][i], cell=values["box"][i], pbc=(True, True, True),
            energy=float(values["energy"][i]), forces=values["force"][i], virial=values["virial"][i],
        )
        for i in range(len(types))
    )  # fmt: skip


def test_the_loss_is_deepmds_at_every_step(run):
    record, state, apart = np.load(run / "record.npz"), state_of(run), []
    with Ranks() as ranks:
        for step in range(STEPS):
            assert state.schedule.rate(step) == pytest.approx(float(record[f"rate/{step}"]), rel=1e-12)
            frames = frames_of(record, step)
            loss = train_step(state, [collate(frames, state.model.config)], frames=len(frames), ranks=ranks).loss
            state.step += 1
            apart.append(abs(loss / float(record[f"loss/{step}"]) - 1.0))
    sizes = {record[f"atype/{step}"].shape[-1] for step in range(STEPS)}
    ends = [float(record[f"loss/{step}"]) for step in (0, STEPS - 1)]
    print(f"\n{STEPS} steps, loss {ends[0]:.3f} -> {ends[1]:.3f}; largest relative deviation {max(apart):.1e}, first {apart[0]:.1e}")
    assert sizes == {12, 20} and max(apart) < 1e-9  # equal to the last digit at first; rounding then grows with the steps


def test_the_trained_weights_are_deepmds(run):
    """After the same 200 steps, from its checkpoint."""
    record, state = np.load(run / "record.npz"), state_of(run)
    with Ranks() as ranks:
        for step in range(STEPS):
            frames = frames_of(record, step)
            train_step(state, [collate(frames, state.model.config)], frames=len(frames), ranks=ranks)
            state.step += 1
    theirs, _ = from_deepmd(run / "model.pt")
    trained = dict(theirs.named_parameters())
    apart = {
        name: float((p - trained[name]).detach().abs().max()) for name, p in state.model.named_parameters() if not name.endswith("masked")
    }
    print(f"\nlargest difference of a trained weight: {max(apart.values()):.1e}")
    assert max(apart.values()) < 1e-7
