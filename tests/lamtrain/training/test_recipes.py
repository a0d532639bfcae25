"""Recipes: a run by any of them goes on with the same bits; averages are what is validated, kept and tested."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import lamtrain.training.step as step_module
from lamdata.errors import ConfigError, SetupError
from lamtrain.checkpoint import Checkpoint, load
from lamtrain.config import TrainConfig, read_config
from lamtrain.data.mixture import open_training_data
from lamtrain.evaluation.evaluate import evaluate, score
from lamtrain.training.optimizer import Both, build_optimizer
from lamtrain.training.trainer import train
from tests.lamtrain.model_cases import build_model, model_config

EXACT = ("precision=float64", "threads=1", "steps=5", "log_every=1", "validation={every: 5, frames: 1}", "checkpoint_every=2")
CONSTANT = ("learning_rate={start: 1.0e-3, stop: 1.0e-3, warmup_steps: 2}", "loss={energy: [1, 1], force: [10, 10]}")
RECIPES = {
    "average": ("average={decay: 0.9}",),
    "adamw": ("optimizer={kind: adamw, weight_decay: 0.1}",),
    "muon": ("optimizer={kind: muon}", "average={}"),
    "schedule_free": ("optimizer={kind: schedule_free}", *CONSTANT),
    "cosine": ("learning_rate={kind: cosine, start: 1.0e-3, stop: 1.0e-5, warmup_steps: 2}",),
    "wsd": ("learning_rate={kind: wsd, start: 1.0e-3, stop: 1.0e-5, fall: 0.5}",),
    "one, per head": ("step={heads: one, draws: 2, clip: per_head}", "shares_every=2"),
    "robust": ("loss={energy: [0, 0], force: [0, 0], energy_absolute: [1, 1], force_norm: [1, 1], force_huber: [1, 1]}",),
}


def config_of(small: Path, *changes: str) -> TrainConfig:
    return read_config(small / "train.yaml", overrides=[*EXACT, *changes])


def run(small: Path, out: Path, *changes: str) -> Path:
    return train(config_of(small, *changes), out=out, device="cpu", quiet=True)


def tensors(value: object, name: str = "") -> dict[str, torch.Tensor]:
    """Everything in a checkpoint that is a tensor, by place."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    return {key: found for k, part in items for key, found in tensors(part, f"{name}.{k}").items()}


def bits(checkpoint: Checkpoint) -> dict[str, bytes]:
    parts = {"model": checkpoint.model, "latest": checkpoint.latest or {}, "optimizer": checkpoint.optimizer}
    return {name: value.detach().contiguous().numpy().tobytes() for name, value in tensors(parts).items()}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_killed_goes_on_with_the_same_bits(small: Path, tmp_path: Path, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if recipe == "schedule_free":
        pytest.importorskip("schedulefree", reason="the extra `schedulefree` is not installed")
    whole = run(small, tmp_path / "whole", *RECIPES[recipe])
    real, done = step_module.train_step, []

    def dying(state, batch, **options):
        if len(done) == 3:
            raise RuntimeError("killed")
        done.append(1)
        return real(state, batch, **options)

    monkeypatch.setattr(step_module, "train_step", dying)
    with pytest.raises(RuntimeError, match="killed"):
        run(small, tmp_path / "run", *RECIPES[recipe])
    monkeypatch.setattr(step_module, "train_step", real)
    assert load(tmp_path / "run/last.pt").step == 2
    run(small, tmp_path / "run", *RECIPES[recipe])
    assert bits(load(tmp_path / "run/last.pt")) == bits(load(whole / "last.pt"))
    assert (tmp_path / "run/metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    if recipe in ("average", "schedule_free"):
        shows_the_average(small, whole)


def shows_the_average(small: Path, out: Path) -> None:
    """What the files hold as their model is the average, and its score is that of the best."""
    best, last = load(out / "best.pt"), load(out / "last.pt")
    name = "descriptor.repinit.embedding.layers.0.weight"
    assert last.latest is not None and not torch.equal(last.model[name], last.latest[name])
    data = open_training_data(small / "mixture.yaml", str(small / "small.zarr"))
    of_average = score(evaluate(best.build(), data, frames=1))
    best.model = best.latest or {}
    assert best.best == pytest.approx(of_average, rel=1e-12) and score(evaluate(best.build(), data, frames=1)) != pytest.approx(of_average)


def test_the_average_is_that_of_the_weights_after_each_step(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    real = step_module.train_step

    def recorded(state, batch, **options):
        taken = real(state, batch, **options)
        seen.append(state.model.descriptor.type_embedding.weight.detach().clone())
        return taken

    monkeypatch.setattr(step_module, "train_step", recorded)
    last = load(run(small, tmp_path / "run", "average={decay: 0.2}") / "last.pt")
    average = seen[0]
    for n, weights in enumerate(seen[1:], start=1):
        kept = min(0.2, (1 + n) / (10 + n))
        average = kept * average + (1 - kept) * weights
    torch.testing.assert_close(last.model["descriptor.type_embedding.weight"], average, rtol=1e-12, atol=0)
    assert last.latest is not None and torch.equal(last.latest["descriptor.type_embedding.weight"], seen[-1])


def test_only_matrices_decay_and_muon_takes_those_between_layers() -> None:
    model = build_model(model_config())
    values = {"train": "x", "mixture": "m", "store": "s", "steps": 10}
    adamw = build_optimizer(model, TrainConfig(**values, optimizer={"kind": "adamw", "weight_decay": 0.5}))
    decays = {p: group["weight_decay"] for group in adamw.param_groups for p in group["params"]}
    assert len(decays) == len(list(model.parameters()))
    assert all(decay == (0.5 if p.ndim == 2 else 0.0) for p, decay in decays.items()) and set(decays.values()) == {0.0, 0.5}
    both = build_optimizer(model, TrainConfig(**values, optimizer={"kind": "muon"}))
    assert isinstance(both, Both)
    hidden = {p for group in both.parts[0].param_groups for p in group["params"]}
    names = {name for name, p in model.named_parameters() if p in hidden}
    assert "heads.energy.layers.1.weight" in names and "descriptor.repformer.layers.0.linear1.weight" in names
    assert not names & {"heads.energy.last.weight", "descriptor.type_embedding.weight"}
    assert {p for group in both.param_groups for p in group["params"]} == set(model.parameters())


def test_schedule_free_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "schedulefree", None)
    loss, rate = {"energy": (1, 1), "force": (1, 1)}, {"start": 1e-3, "stop": 1e-3}
    config = TrainConfig(train="x", mixture="m", store="s", steps=10, optimizer={"kind": "schedule_free"}, loss=loss, learning_rate=rate)
    with pytest.raises(SetupError, match=r"needs the package schedulefree.*lam\[schedulefree\]"):
        build_optimizer(build_model(model_config()), config)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("optimizer={kind: schedule_free}",), "needs a rate that does not fall"),
        (("optimizer={kind: schedule_free}", CONSTANT[0]), "prefactors of loss.energy follow a rate that does not fall"),
        (("optimizer={kind: schedule_free}", *CONSTANT, "average={}"), "averages its weights by itself"),
        (("optimizer={weight_decay: 0.1}",), "weight_decay goes with"),
        (("learning_rate={kind: cosine, decay_steps: 10}",), "decay_steps goes with `kind: exp`, not cosine"),
        (("learning_rate={fall: 0.5}",), "fall goes with `kind: wsd`, not exp"),
    ],
)
def test_what_does_not_go_together_is_said(small: Path, changes: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config_of(small, *changes)


def test_a_run_with_another_recipe_does_not_go_on(small: Path, tmp_path: Path) -> None:
    short = ("steps=1", "validation={every: 1, frames: 1}")
    run(small, tmp_path / "run", *short)
    for change, named in (("average={}", "average"), ("optimizer={kind: adamw}", "optimizer"), ("step={clip: per_head}", "step")):
        with pytest.raises(ConfigError, match=f"another `{named}`"):
            run(small, tmp_path / "run", *short, change)
