"""DPA-1 without attention in DeePMD-kit's files: its options as that program means them, and its files both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lamdata.errors import ConfigError, DataError
from lamtrain.config import TrainConfig, read_config
from lamtrain.deepmd import adopt_input, from_deepmd, input_json_to_config, to_deepmd
from lamtrain.deepmd.checkpoint import read_checkpoint, write_checkpoint
from lamtrain.deepmd.foreign import Branch, ForeignFile
from lamtrain.deepmd.names import environment_of
from lamtrain.deepmd.options import config_of
from lamtrain.model.config import Dpa1Config, FittingConfig, ModelConfig
from lamtrain.model.lam import LamModel

DESCRIPTOR = {"type": "dpa1", "sel": 33, "attn_layer": 0}


def model_section(**descriptor: Any) -> dict[str, Any]:
    return {"type_map": ["O", "H"], "descriptor": DESCRIPTOR | descriptor, "fitting_net": {"neuron": [7]}}


def descriptor_of(section: dict[str, Any]) -> Dpa1Config:
    found = config_of({"energy": section}, where="input.json").descriptor
    assert isinstance(found, Dpa1Config)
    return found


def test_a_section_that_says_nothing_means_what_it_means_there() -> None:
    """The defaults of deepmd/utils/argcheck.py, without the options of attention layers."""
    found = descriptor_of(model_section())
    assert (found.rcut, found.rcut_smth, found.neuron, found.axis_neuron, found.tebd_dim) == (6.0, 0.5, [10, 20, 40], 4, 8)
    assert (found.set_davg_zero, found.smooth_type_embedding, found.tebd_input_mode) == (True, False, "concat")
    assert not (found.resnet_dt or found.type_one_side or found.use_econf_tebd or found.use_tebd_bias)
    assert found.concat_output_tebd and found.nsel == 33


def test_attention_layers_are_refused_also_where_the_file_leaves_them_out() -> None:
    """There, a section without `attn_layer` has two."""
    for change, layers in (({"attn_layer": 3}, 3), ({"attn_layer": None}, 2)):
        section = model_section(**change)
        if change["attn_layer"] is None:
            del section["descriptor"]["attn_layer"]
        with pytest.raises(ConfigError, match=f"input.json: `descriptor.attn_layer`: {layers} attention layers are not supported"):
            descriptor_of(section)


@pytest.mark.parametrize(
    "options",
    [
        {
            "attn": 5,
            "attn_dotr": False,
            "scaling_factor": 2.0,
            "normalize": False,
            "temperature": 1.5,
            "trainable_ln": False,
            "ln_eps": 1e-3,
        },
        {"lmax": 1, "spin": None, "stripped_type_embedding": None},
    ],
)
def test_options_that_say_nothing_without_attention_change_nothing(options: dict[str, Any]) -> None:
    assert descriptor_of(model_section(**options)) == descriptor_of(model_section())


@pytest.mark.parametrize(("option", "value"), [("lmax", 2), ("spin", {"use_spin": [True]}), ("attn_layers", 0)])
def test_an_option_that_would_change_the_numbers_is_refused_by_its_name(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"option `descriptor.{option}` is not supported"):
        descriptor_of(model_section(**{option: value}))


def test_pairs_excluded_by_the_model_are_refused_where_its_empty_slots_count() -> None:
    """There they leave an empty slot, which adds a term once the mean is subtracted; pairs that the descriptor excludes do not."""
    section = model_section() | {"pair_exclude_types": [[0, 1]]}
    assert descriptor_of(section).exclude_types == [(0, 1)]
    section["descriptor"]["set_davg_zero"] = False
    with pytest.raises(
        ConfigError, match="`pair_exclude_types` is not supported where `set_davg_zero` is off; the descriptor's `exclude_types` is"
    ):
        descriptor_of(section)
    assert descriptor_of(model_section(set_davg_zero=False, exclude_types=[[0, 1]])).exclude_types == [(0, 1)]


@pytest.mark.parametrize(("block", "refused"), [("repinit", True), ("repformer", False)])
def test_so_are_those_of_dpa2_where_its_first_block_is_centred(block: str, refused: bool) -> None:
    """The repformer passes over its empty slots."""
    blocks: dict[str, Any] = {
        "repinit": {"rcut": 6.0, "rcut_smth": 1.0, "nsel": 40},
        "repformer": {"rcut": 4.0, "rcut_smth": 1.0, "nsel": 20},
    }
    blocks[block]["set_davg_zero"] = False
    section = model_section() | {"descriptor": {"type": "dpa2"} | blocks, "pair_exclude_types": [[0, 1]]}
    if refused:
        with pytest.raises(ConfigError, match="`pair_exclude_types` is not supported"):
            config_of({"energy": section}, where="input.json")
    else:
        assert config_of({"energy": section}, where="input.json").descriptor.exclude_types == [(0, 1)]


def test_other_spellings_mean_the_same() -> None:
    section = model_section(type="se_atten", sel=[20, 13], n_axis_neuron=3, smooth_type_embdding=True)
    assert descriptor_of(section) == descriptor_of(model_section(axis_neuron=3, smooth_type_embedding=True))


@pytest.mark.parametrize(("stripped", "mode"), [(True, "strip"), (False, "concat"), (None, "strip")])
def test_the_old_word_for_strip_wins_over_the_new_one(stripped: bool | None, mode: str) -> None:
    assert descriptor_of(model_section(stripped_type_embedding=stripped, tebd_input_mode="strip")).tebd_input_mode == mode


@pytest.fixture(params=["concat", "strip"])
def model(request: pytest.FixtureRequest) -> LamModel:
    """Every option off its default, statistics that are not trivial."""
    torch.manual_seed(4)
    descriptor = Dpa1Config(
        type="dpa1", rcut=4.0, rcut_smth=1.0, sel=17, neuron=[3, 6], axis_neuron=2, tebd_dim=3, tebd_input_mode=request.param, resnet_dt=True,
        set_davg_zero=False, activation_function="silu", smooth_type_embedding=True, exclude_types=[(0, 1)], env_protection=0.01,
        use_econf_tebd=True, use_tebd_bias=True, concat_output_tebd=False, type_one_side=True, precision="float64",
    )  # fmt: skip
    fitting, heads = FittingConfig(neuron=[5, 5]), {"a": "energy_force", "b": "energy_force"}  # few numbers: YAML is slow
    model = LamModel(ModelConfig(elements=["O", "H", "Cu"], descriptor=descriptor, fitting=fitting, heads=heads))
    environment = environment_of(model, "se_atten")
    environment.std.uniform_(0.2, 0.5)
    environment.mean[:, 0] = torch.tensor([0.1, 0.2, 0.3, 0.2])
    for head, energy in (("a", -2.5), ("b", 1.5)):
        model.energy_head(head).bias[:3] = energy
    return model


@pytest.mark.parametrize("suffix", ["pt", "dp", "yaml"])
def test_a_head_comes_back_from_a_file(model: LamModel, tmp_path: Path, suffix: str) -> None:
    again, _ = from_deepmd(to_deepmd(model, tmp_path / f"m.{suffix}", head="b"))
    assert again.config.descriptor == model.config.descriptor
    theirs = again.state_dict()
    for name, value in model.state_dict().items():
        if name.startswith("heads.a.") or name.endswith("masked"):
            continue
        rows = 3 if len(value) == 4 else len(value)  # the hidden type is ours alone
        assert torch.equal(value[:rows], theirs[name.replace("heads.b.", "heads.energy.")][:rows]), name


def test_heads_share_a_descriptor_in_a_checkpoint(model: LamModel, tmp_path: Path) -> None:
    again, info = from_deepmd(to_deepmd(model, tmp_path / "m.pt"))
    assert info.branches == ["a", "b"] and not info.notes
    assert again.energy_head("b").bias[:3].tolist() == [1.5] * 3


def rewrite(path: Path, change: Any) -> None:
    """Read a checkpoint, let `change(branch)` alter its one branch, write it back."""
    branch = read_checkpoint(path).branches["Default"]
    branch = Branch(params=json.loads(json.dumps(branch.params)), tensors=dict(branch.tensors))
    change(branch)
    write_checkpoint(ForeignFile(path=path, branches={"Default": branch}), path)


def test_a_compressed_model_or_one_with_more_tensors_is_refused(model: LamModel, tmp_path: Path) -> None:
    path = to_deepmd(model, tmp_path / "m.pt", head="a")
    name = "atomic_model.descriptor.se_atten.compress_data.0"
    rewrite(path, lambda branch: branch.tensors.update({name: torch.ones(3)}))
    whole = torch.load(path, weights_only=True)
    whole["model"][f"model.Default.{name}"] = torch.ones(3)
    torch.save(whole, path)
    with pytest.raises(DataError, match="the model is compressed"):
        from_deepmd(path)
    path = to_deepmd(model, tmp_path / "m.pt", head="a")
    gain = "atomic_model.descriptor.se_atten.adam_degree_gain_raw"
    rewrite(path, lambda branch: branch.tensors.update({gain: torch.ones(2)}))
    with pytest.raises(DataError, match=f"not understood: {gain}"):
        from_deepmd(path)


def test_a_serialised_model_with_attention_is_refused_by_the_option(model: LamModel, tmp_path: Path) -> None:
    from ruamel.yaml import YAML

    path = to_deepmd(model, tmp_path / "m.yaml", head="a")
    tree = YAML(typ="safe").load(path)
    tree["model"]["descriptor"]["attn_layer"] = 1
    layer = {"@class": "NeighborGatedAttentionLayer", "@variables": {"w": np.ones(2).tolist()}}
    tree["model"]["descriptor"]["attention_layers"]["attention_layers"] = [layer]
    yaml = YAML(typ="safe")
    yaml.version = (1, 1)
    yaml.dump(tree, path)
    with pytest.raises(ConfigError, match="1 attention layers are not supported"):
        from_deepmd(path)


def test_an_input_json_becomes_a_config_that_trains_it(tmp_path: Path) -> None:
    """Without `sel`, neighbours are counted in the data there; here a number is taken, and said."""
    descriptor = {"type": "se_atten", "attn_layer": 0, "rcut": 5.5, "neuron": [5, 10], "tebd_input_mode": "strip", "_comment": "small"}
    training = {"numb_steps": 40, "training_data": {"systems": ["a"], "batch_size": 3}}
    whole = {"model": {"type_map": ["O", "H"], "descriptor": descriptor, "fitting_net": {"neuron": [9]}}, "training": training}
    (tmp_path / "input.json").write_text(json.dumps(whole))
    values, left_out = input_json_to_config(tmp_path / "input.json")
    assert left_out == ["model (energy) descriptor.sel = 'auto': set to 120, for it is part of the function"]
    assert values.pop("datasets") == {"energy": ["a"]} and values.pop("mixture")
    config = TrainConfig.model_validate(values | {"train": "water", "mixture": "mixture.yaml", "store": "store.zarr"})
    model = config.model.resolve(elements=[], heads={"energy": "energy_force"}, precision="float32")
    found = model.descriptor
    assert isinstance(found, Dpa1Config)
    assert (found.rcut, found.rcut_smth, found.sel, found.neuron, found.tebd_input_mode) == (5.5, 0.5, 120, [5, 10], "strip")
    assert model.precision == "float32" and model.fitting.neuron == [9]
    files, _ = adopt_input(tmp_path / "input.json", tmp_path / "out", store=str(tmp_path / "s.zarr"))
    assert {file.name for file in files} == {"mixture.yaml", "train.yaml", "energy.yaml"}
    assert read_config(tmp_path / "out/train.yaml").model.descriptor == found.model_copy(update={"precision": "default"})
