"""Options: presets, ranges, and refusals by name."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from lamtrain.model.config import Dpa2Config, FittingConfig, ModelConfig, RepformerConfig, RepinitConfig


@pytest.mark.parametrize(("preset", "parameters"), [("small", 622_219), ("medium", 1_017_163), ("large", 1_741_003)])
def test_presets_have_as_many_parameters_as_the_references(preset, parameters):
    from lamtrain.model.lam import LamModel

    model = LamModel(getattr(ModelConfig, preset)(["O", "H"]))
    hidden = model.descriptor.type_embedding.masked.numel()  # the reference has no type for a hidden element
    assert sum(p.numel() for p in model.parameters()) - hidden == parameters


def test_a_tiny_model_is_tiny():
    from lamtrain.model.lam import LamModel

    assert sum(p.numel() for p in LamModel(ModelConfig.tiny(["H", "C", "N", "O"])).parameters()) < 50_000


@pytest.mark.parametrize("option", ["numb_fparam", "numb_aparam", "use_aparam_as_mask"])
def test_an_option_without_support_is_refused_by_its_name(option):
    with pytest.raises(ValidationError, match=f"`{option}` is not supported"):
        FittingConfig(**{option: 1})


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (lambda: RepinitConfig(rcut=6.0, rcut_smth=6.5, nsel=10), "must be below `rcut`"),
        (lambda: RepinitConfig(rcut=6.0, rcut_smth=0.5, nsel=0), "nsel"),
        (lambda: RepinitConfig(rcut=6.0, rcut_smth=0.5, nsel=10, nsell=3), "nsell"),
        (lambda: RepformerConfig(rcut=6.0, rcut_smth=0.5, nsel=10, g2_dim=2), "axis_neuron"),
        (lambda: RepinitConfig(rcut=6.0, rcut_smth=0.5, nsel=10, activation_function="swish"), "activation_function"),
        (lambda: blocks(repformer_rcut=6.0), "must reach further"),
        (lambda: ModelConfig(elements=["H", "Xx"], descriptor=blocks()), "not a chemical element: Xx"),
        (lambda: ModelConfig(elements=["H"], descriptor=blocks(), heads={"a.b": "denoise"}), "head names"),
        (lambda: ModelConfig(elements=["H"], descriptor=blocks(exclude_types=[(0, 5)])), "exclude_types"),
        (lambda: ModelConfig(elements=["H"], descriptor=blocks(precision="float32")), "precision"),
    ],
)
def test_an_impossible_option_is_an_error_that_says_which(block, message):
    with pytest.raises(ValidationError, match=message):
        block()


def blocks(repformer_rcut: float = 4.0, **options) -> Dpa2Config:
    return Dpa2Config(
        repinit=RepinitConfig(rcut=6.0, rcut_smth=0.5, nsel=60),
        repformer=RepformerConfig(rcut=repformer_rcut, rcut_smth=0.5, nsel=20),
        **options,
    )


def test_every_option_has_a_docstring():
    for config in (RepinitConfig, RepformerConfig, Dpa2Config, FittingConfig, ModelConfig):
        assert all(field.description for field in config.model_fields.values()), config


def test_the_config_needs_no_torch():
    code = "import sys, lamtrain.model.config; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
