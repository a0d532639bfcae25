"""Groups of parameters: each in one group, by the first pattern that fits, at the schedule's rate times its scale."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lamdata.errors import ConfigError
from lamtrain.config import StartSpec, TrainConfig
from lamtrain.model.lam import LamModel
from lamtrain.training.optimizer import BETAS, EPS, build_optimizer, set_rate
from tests.lamtrain.model_cases import build_model, model_config

HEADS = {"pbe": "energy_force", "clean": "denoise"}


@pytest.fixture(scope="module")
def model() -> LamModel:
    return build_model(model_config(heads=HEADS))


def config(scales: dict[str, float] | None = None, **more: Any) -> TrainConfig:
    start = None if scales is None else StartSpec(model="x.pt", lr_scale=scales)
    return TrainConfig(train="t", mixture="m", store="s", steps=10, start=start, **more)


def scale_of(optimizer: torch.optim.Optimizer, model: LamModel) -> dict[str, float]:
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: group["scale"] for group in optimizer.param_groups for p in group["params"]}


def test_without_scales_there_is_one_group_of_all_parameters(model: LamModel) -> None:
    (group,) = build_optimizer(model, config()).param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]
    assert (group["betas"], group["eps"], group["scale"], group["weight_decay"]) == (BETAS, EPS, 1.0, 0)


@pytest.mark.parametrize(
    "scales",
    [{}, {"heads.*": 2.0}, {"descriptor.*": 0.1}, {"heads.pbe.*": 3.0, "heads.*": 0.5}, {"*": 0.25}, {"*.weight": 0.1, "*.bias": 0.2}],
)
def test_every_parameter_is_in_one_group_by_the_first_pattern_that_fits(model: LamModel, scales: dict[str, float]) -> None:
    from fnmatch import fnmatch

    found = scale_of(build_optimizer(model, config(scales)), model)
    assert found.keys() == dict(model.named_parameters()).keys()
    for name, scale in found.items():
        assert scale == next((value for pattern, value in scales.items() if fnmatch(name, pattern)), 1.0)


def test_patterns_of_one_scale_share_a_group(model: LamModel) -> None:
    optimizer = build_optimizer(model, config({"heads.pbe.*": 0.5, "heads.clean.*": 0.5}))
    assert [group["scale"] for group in optimizer.param_groups] == [1.0, 0.5]
    assert [group["scale"] for group in build_optimizer(model, config({"heads.*": 1.0})).param_groups] == [1.0]


@pytest.mark.parametrize("pattern", ["head.*", "heads.hse.*", "descriptor", "Heads.*"])
def test_a_pattern_that_names_nothing_is_an_error_with_an_example(model: LamModel, pattern: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_optimizer(model, config({"descriptor.*": 0.5, pattern: 0.1}))
    first = next(iter(dict(model.named_parameters())))
    assert str(caught.value) == f"start.lr_scale: no parameter is called {pattern!r}; names are as {first}; * stands for any part"


def test_a_pattern_behind_one_that_takes_all_it_names_is_said_to_name_none(model: LamModel) -> None:
    with pytest.raises(ConfigError, match="no parameter is called 'heads.pbe"):
        build_optimizer(model, config({"heads.*": 0.5, "heads.pbe.*": 0.1}))


@pytest.mark.parametrize("rate", [1e-3, 2.5e-7, 0.0])
def test_a_rate_is_scaled_by_group(model: LamModel, rate: float) -> None:
    optimizer = build_optimizer(model, config({"heads.*": 4.0}))
    set_rate(optimizer, rate)
    assert [group["lr"] for group in optimizer.param_groups] == [rate, 4 * rate]


def test_scales_survive_the_state_of_a_checkpoint(model: LamModel) -> None:
    one, two = (build_optimizer(model, config({"heads.*": 4.0})) for _ in range(2))
    set_rate(one, 0.125)
    two.load_state_dict(one.state_dict())
    set_rate(two, 0.5)
    assert [group["lr"] for group in two.param_groups] == [0.5, 2.0]
