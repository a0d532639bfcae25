"""Updates of low rank: nothing at first, the chain rule of W0 + A B, always merged in what is saved."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from lamdata.errors import ConfigError
from lamdata.frames import Frames
from lamtrain import load_model
from lamtrain.checkpoint import load
from lamtrain.config import TrainConfig
from lamtrain.data.batch import collate
from lamtrain.data.mixture import open_training_data
from lamtrain.training.adapt import adapted_model, freeze, trained_part
from lamtrain.training.lora import Lora, narrowed
from lamtrain.training.optimizer import build_optimizer
from lamtrain.training.trainer import train
from tests.lamtrain.model_cases import build_model, evaluate, model_config, structure

from .test_adapt import config_of

RANK = 2
LORA = {"lora": {"rank": RANK}}


@pytest.fixture(scope="module")
def tuned(small: Path, parent: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps."""
    folder = tmp_path_factory.mktemp("tuned")
    config = config_of(small, folder, parent, heads={"mine": "cluster"}, train=LORA).model_copy(update={"steps": 4})
    return train(config, out=folder / "run", device="cpu", quiet=True) / "last.pt"


def test_before_its_first_step_the_model_is_the_parent_to_the_bit(small: Path, parent: Path, tmp_path: Path) -> None:
    config = config_of(small, tmp_path, parent, heads={"mine": "cluster"}, train=LORA)
    model = adapted_model(config, config.start, open_training_data(config.mixture, config.store), quiet=True).model
    lora = trained_part(model, config)
    assert lora is not None and lora.weights and all(not up.any() for up in lora.up.values())
    before = load(parent).model
    for step in ("unmerged", "merged"):
        descriptor = {name: value for name, value in model.state_dict().items() if name.startswith("descriptor.")}
        assert all(torch.equal(value, before[name]) for name, value in descriptor.items()), step
        lora.merge()


def test_the_gradients_of_the_factors_are_those_of_autograd() -> None:
    model = build_model(model_config())
    lora = Lora(model, freeze(model, TrainConfig.model_validate(CONFIG).start.train), rank=RANK, seed=3)
    with torch.no_grad():
        for up in lora.up.values():
            up.normal_()
    lora.merge()
    frames = [structure(7, seed=1), structure(5, seed=2)]
    energy_of(model, frames).backward()
    lora.take_gradients()
    assert all(weight.grad is None for weight in lora.weights.values())
    free = {name: down.detach().clone().requires_grad_() for name, down, _ in factors(lora)}
    ups = {name: up.detach().clone().requires_grad_() for name, _, up in factors(lora)}
    sums = {name: lora.base[name] + free[name] @ ups[name] for name in free}
    torch.func.functional_call(Energy(model, frames), {f"model.{name}": value for name, value in sums.items()}, ()).backward()
    for name, down, up in factors(lora):
        torch.testing.assert_close(down.grad, free[name].grad, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(up.grad, ups[name].grad, rtol=1e-9, atol=1e-12)


def factors(lora: Lora) -> list[tuple[str, torch.nn.Parameter, torch.nn.Parameter]]:
    return [(name, *lora.of(name).values()) for name in lora.weights]


class Energy(torch.nn.Module):
    """The sum of the energies of some frames."""

    def __init__(self, model: torch.nn.Module, frames: list):
        super().__init__()
        self.model, self.frames = model, frames

    def forward(self) -> torch.Tensor:
        return energy_of(self.model, self.frames)


def energy_of(model: torch.nn.Module, frames: list) -> torch.Tensor:
    return model(collate(Frames.from_list(frames), model.config), forces=False, virial=False).energy.sum()


CONFIG = {
    "train": "x", "mixture": "m", "store": "s", "steps": 1,
    "start": {"model": "p", "train": LORA, "lr_scale": {"descriptor.repformer.layers.0.*": 0.25}},
}  # fmt: skip


def test_only_matrices_that_become_smaller_are_updated_and_nothing_else_of_the_descriptor() -> None:
    model = build_model(model_config())
    lowered = freeze(model, TrainConfig.model_validate(CONFIG).start.train)
    assert lowered == narrowed(model, RANK)
    for name, weight in model.named_parameters():
        small = weight.dim() == 2 and RANK * sum(weight.shape) < weight.numel()
        assert (name in lowered) == (name.startswith("descriptor.") and small), name
        assert weight.requires_grad == (name in lowered or name.startswith("heads.")), name
    assert narrowed(model, 10_000) == []


def test_the_factors_of_a_matrix_have_its_rate() -> None:
    model, config = build_model(model_config()), TrainConfig.model_validate(CONFIG)
    lora = trained_part(model, config)
    assert lora is not None
    groups = {id(p): group["scale"] for group in build_optimizer(model, config, lora).param_groups for p in group["params"]}
    for name, down, up in factors(lora):
        assert groups[id(down)] == groups[id(up)] == (0.25 if ".layers.0." in name and "repformer" in name else 1.0), name
        assert id(lora.weights[name]) not in groups


def test_what_is_saved_is_merged_and_moved_by_low_rank_alone(tuned: Path, parent: Path) -> None:
    checkpoint, before = load(tuned), load(parent).model
    assert checkpoint.lora is not None
    for name, base in checkpoint.lora["base"].items():
        down, up = checkpoint.lora["down"][name], checkpoint.lora["up"][name]
        assert torch.equal(base, before[name]) and torch.equal(checkpoint.model[name], base + down @ up)
        assert up.any() and torch.linalg.matrix_rank(checkpoint.model[name] - base, rtol=1e-9) <= RANK
    moved = {name for name, value in checkpoint.model.items() if name in before and not torch.equal(value, before[name])}
    assert {name for name in moved if name.startswith("descriptor.")} == set(checkpoint.lora["base"])
    assert checkpoint.heads["bulk"]["stale"] and not checkpoint.heads["mine"]["stale"]


def test_a_merged_model_says_what_the_sum_of_both_paths_says(tuned: Path) -> None:
    """x (W0 + A B) and x W0 + (x A) B, in the whole model."""
    checkpoint = load(tuned)
    assert checkpoint.lora is not None
    apart, merged = checkpoint.build(), load_model(tuned)
    for name in checkpoint.lora["base"]:
        module, leaf = name.rsplit(".", 1)
        layer = apart.get_submodule(module)
        if leaf != "weight" or type(layer).__name__ != "Dense" or layer.bias is None:
            continue  # a layer whose matrix is read by others than itself

        layer.forward = partial(two_paths, *(checkpoint.lora[part][name] for part in ("base", "down", "up")), layer.bias)
    frame = replace(structure(6, seed=4), numbers=np.full(6, 29, np.uint8))
    own = evaluate(apart, frame)
    said = merged.predict(frame, head="mine")
    torch.testing.assert_close(own.energy, torch.from_numpy(said.energies), rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(own.forces, torch.from_numpy(said.forces).to(own.forces), rtol=1e-9, atol=1e-10)


def two_paths(base: torch.Tensor, down: torch.Tensor, up: torch.Tensor, bias: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return x @ base + (x @ down) @ up + bias


@pytest.mark.parametrize(("train_", "message"), [({"lora": {"rank": 0}}, "greater than or equal to 1"), ({"lora": {}}, "rank")])
def test_a_rank_is_a_number_from_one_on(train_: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig.model_validate(CONFIG | {"start": {"model": "p", "train": train_}})


def test_rows_of_a_new_element_are_not_left_random(parent: Path) -> None:
    model = load(parent).build()
    for train_ in ("heads", ["heads.*"]):
        with pytest.raises(ConfigError, match="Xe are new, and their rows of descriptor.type_embedding.weight would stay random"):
            freeze(model, train_, extended=["Xe"])
