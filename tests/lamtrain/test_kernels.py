"""`auto` on a GPU: Triton's kernels where they give plain's numbers in a trial, and only there."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lamdata.errors import SetupError
from lamtrain import kernels as trial
from lamtrain.model.config import ModelConfig
from lamtrain.model.kernels.choose import PLAIN, kernels
from lamtrain.model.lam import LamModel

CPU = torch.device("cpu")


@pytest.fixture
def model() -> LamModel:
    torch.manual_seed(0)
    config = ModelConfig.tiny(["H", "O", "Cu"], {"dft": "energy_force", "relaxed": "denoise"}).in_precision("float32")
    return LamModel(config)


@pytest.fixture
def compiled():
    try:
        return kernels("cpp")
    except RuntimeError as err:
        pytest.skip(str(err))


def test_kernels_that_give_the_same_pass(model: LamModel, compiled) -> None:
    assert trial.difference(model, compiled, CPU) is None


def test_a_frozen_model_is_tried_without_its_gradient_also_where_none_is_tracked(model: LamModel, compiled) -> None:
    with torch.no_grad():
        assert trial.difference(model.requires_grad_(False), compiled, CPU) is None
    wrong = replace(compiled, node_update=lambda *given: 1.01 * compiled.node_update(*given))
    assert "give another" in str(trial.difference(model, wrong, CPU))


@pytest.mark.parametrize("factor", [1.01, float("nan")])
def test_kernels_that_are_off_by_a_hundredth_do_not(model: LamModel, compiled, factor: float) -> None:
    wrong = replace(compiled, node_update=lambda *given: factor * compiled.node_update(*given))
    assert "give another" in str(trial.difference(model, wrong, CPU))


def test_a_gradient_that_is_wrong_alone_does_not(model: LamModel, compiled) -> None:
    """As of a kernel whose value is right."""

    def half(*given):
        out = compiled.node_update(*given)
        return out.detach() + 0.5 * (out - out.detach())

    assert "give another" in str(trial.difference(model, replace(compiled, node_update=half), CPU))


def test_auto_on_a_gpu_is_what_passes_the_trial_else_plain_with_a_reason(model: LamModel, monkeypatch, capsys) -> None:
    other = replace(PLAIN, name="tiled")
    monkeypatch.setattr(trial, "kernels", lambda name, device, config: other)
    assert trial.tried(model, CPU) is other and capsys.readouterr().err == ""

    monkeypatch.setattr(trial, "difference", lambda *_: "they differ")
    assert trial.tried(model, CPU) is PLAIN
    assert capsys.readouterr().err == "kernels: plain, since they differ\n"

    def fails(*_: object) -> None:
        raise RuntimeError("out of registers\nand more")

    monkeypatch.setattr(trial, "difference", fails)
    assert trial.tried(model, CPU) is PLAIN
    assert capsys.readouterr().err == "kernels: plain, since out of registers\n"


def test_a_model_that_they_do_not_cover_is_plain_there(capsys) -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    assert trial.tried(LamModel(ModelConfig.student(["H", "O"])), torch.device("cuda")) is PLAIN
    assert "the triton kernels do not cover" in capsys.readouterr().err


def test_on_a_cpu_nothing_is_tried(model: LamModel, monkeypatch) -> None:
    monkeypatch.setattr(trial, "tried", None)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert trial.use_kernels(model, "auto") is model
    with pytest.raises(SetupError, match="for a GPU, and this is a CPU"):
        trial.use_kernels(model, "triton")
