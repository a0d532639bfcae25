"""input.json of DeePMD-kit -> our config: what it says is kept, what has no counterpart is named."""

from __future__ import annotations

import copy
import json

import pytest

from lamdata.errors import ConfigError
from lamtrain.config import TrainConfig
from lamtrain.deepmd import input_json_to_config
from lamtrain.model.config import ModelConfig
from lamtrain.training.schedule import Schedule

REPINIT = {"rcut": 6.0, "rcut_smth": 0.5, "nsel": 120, "axis_neuron": 12, "_comment": "as shipped"}
REPFORMER = {"rcut": 4.0, "rcut_smth": 3.5, "nsel": 48, "update_g1_has_attn": False}
SINGLE = {
    "_comment": "that's all",
    "model": {
        "type_map": ["O", "H"],
        "descriptor": {"type": "dpa2", "repinit": REPINIT, "repformer": REPFORMER, "repformer_add_type_ebd_to_seq": True},
        "fitting_net": {"neuron": [240, 240, 240], "resnet_dt": True, "seed": 1},
    },
    "learning_rate": {"type": "exp", "decay_steps": 5000, "start_lr": 0.001, "stop_lr": 3.51e-8},
    "loss": {"type": "ener", "start_pref_e": 0.02, "limit_pref_e": 1, "start_pref_f": 1000, "limit_pref_f": 1, "start_pref_v": 0, "limit_pref_v": 1},
    "training": {
        "training_data": {"systems": ["data_0", "data_1"], "batch_size": 2},
        "numb_steps": 100000, "gradient_max_norm": 5.0, "seed": 10, "disp_freq": 100, "save_freq": 2000, "disp_file": "lcurve.out",
    },
}  # fmt: skip


def convert(tmp_path, whole: dict) -> tuple[dict, list[str]]:
    (tmp_path / "input.json").write_text(json.dumps(whole))
    return input_json_to_config(tmp_path / "input.json")


def changed(**sections) -> dict:
    """SINGLE with the given keys of its sections replaced."""
    whole = copy.deepcopy(SINGLE)
    for section, values in sections.items():
        whole[section] |= values
    return whole


def test_a_single_task_input_becomes_a_valid_config(tmp_path):
    values, left_out = convert(tmp_path, SINGLE)
    datasets, mixture = values.pop("datasets"), values.pop("mixture")
    config = TrainConfig.model_validate(values | {"train": "water", "mixture": "mixture.yaml", "store": "store.zarr"})
    model = config.model.resolve(elements=[], heads={"energy": "energy_force"}, precision=config.precision)
    assert model.descriptor.add_tebd_to_repinit_out and model.descriptor.repinit.axis_neuron == 12 and model.elements == ["O", "H"]
    assert config.batch.frames == 2 and config.clip_norm == 5.0 and config.steps == 100000 and config.precision == "float64"
    assert datasets == {"energy": ["data_0", "data_1"]} and mixture["heads"][0]["task"] == "energy_force"
    assert not left_out


def test_deepmds_defaults_are_kept_where_the_file_says_nothing(tmp_path):
    whole = changed()
    del whole["learning_rate"], whole["loss"], whole["model"]["fitting_net"]["neuron"], whole["training"]["gradient_max_norm"]
    values, _ = convert(tmp_path, whole)
    rate = {"start": 1e-3, "stop": pytest.approx(5e-8), "decay_steps": 5000, "warmup_steps": 0, "warmup_start_factor": 0.0}
    assert values["learning_rate"] == rate
    assert values["clip_norm"] is None and values["loss"]["force"] == [1000.0, 1.0]
    assert ModelConfig(**values["model"]).fitting.neuron == [120, 120, 120]


def test_a_term_with_one_zero_end_is_dropped_as_there(tmp_path):
    assert convert(tmp_path, SINGLE)[0]["loss"]["virial"] == [0.0, 0.0]


def test_a_decay_rate_gives_the_same_stairs(tmp_path):
    values, left_out = convert(tmp_path, changed(learning_rate={"decay_rate": 0.9, "stop_lr": 1e-9}))
    spec = TrainConfig.model_fields["learning_rate"].annotation(**values["learning_rate"])
    schedule = Schedule(spec, values["steps"])
    assert schedule.rate(12000) == pytest.approx(0.001 * 0.9**2, rel=1e-12) and not left_out


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        ({"training": {"opt_type": "LKF"}}, "training.opt_type = 'LKF'"),
        ({"loss": {"use_huber": True}}, "loss.use_huber = True"),
        ({"loss": {"start_pref_ae": 1.0}}, "loss.start_pref_ae = 1.0"),
        ({"learning_rate": {"smooth": True}}, "learning_rate.smooth = True"),
        ({"training": {"validation_data": {"systems": "held"}}}, "training.validation_data.systems = ['held']"),
        (
            {"training": {"training_data": {"systems": ["a"], "batch_size": 1, "auto_prob": "prob_uniform"}}},
            "training.training_data.auto_prob",
        ),
    ],
)
def test_what_has_no_counterpart_is_named(tmp_path, sections, line):
    _, left_out = convert(tmp_path, changed(**sections))
    assert any(text.startswith(line) for text in left_out), left_out


def test_neighbour_counts_to_be_taken_from_data_are_named(tmp_path):
    whole = changed()
    whole["model"]["descriptor"]["repinit"]["nsel"] = "auto:1.1"
    values, left_out = convert(tmp_path, whole)
    assert values["model"]["descriptor"]["repinit"]["nsel"] == 120 and "nsel = 'auto:1.1': set to 120" in left_out[0]


@pytest.mark.parametrize(("size", "batch"), [("auto", {"atoms": 32}), ("auto:256", {"atoms": 256}), ("mixed:4", {"frames": 4})])
def test_batch_sizes_by_atoms(tmp_path, size, batch):
    values, _ = convert(tmp_path, changed(training={"training_data": {"systems": ["a"], "batch_size": size}}))
    assert values["batch"] == batch


def multi_task() -> dict:
    """Two heads on one descriptor and one fitting net."""
    model = SINGLE["model"]
    heads = {name: {"type_map": "elements", "descriptor": "shared", "fitting_net": "one"} for name in ("water_1", "water_2")}
    shared = {"elements": model["type_map"], "shared": model["descriptor"], "one": model["fitting_net"] | {"dim_case_embd": 2}}
    data = {name: {"training_data": {"systems": [name], "batch_size": 1}} for name in heads}
    training = {"numb_steps": 10, "model_prob": {"water_1": 0.3, "water_2": 0.7}, "data_dict": data}
    return copy.deepcopy(
        {"model": {"shared_dict": shared, "model_dict": heads}, "training": training, "loss_dict": dict.fromkeys(heads, SINGLE["loss"])}
    )


def test_a_multi_task_input_becomes_a_mixture(tmp_path):
    values, left_out = convert(tmp_path, multi_task())
    assert [(task["head"], task["weight"]) for task in values["mixture"]["heads"]] == [("water_1", 0.3), ("water_2", 0.7)]
    assert values["datasets"]["water_2"] == ["water_2"] and values["model"]["fitting"]["dim_case_embd"] == 2
    assert left_out == ["model.model_dict.*.fitting_net = 'one': shared there, a net for each head here"]


def test_sharing_by_level_is_refused(tmp_path):
    whole = multi_task()
    whole["model"]["model_dict"]["water_2"]["descriptor"] = "shared:1"
    with pytest.raises(ConfigError, match="`descriptor` is shared at level 1"):
        convert(tmp_path, whole)


def test_what_cannot_be_converted_is_refused(tmp_path):
    for whole, message in (
        (changed(model={"descriptor": {"type": "se_e2_a"}}), "`descriptor.type` is 'se_e2_a'"),
        (changed(learning_rate={"type": "cosine"}), "`learning_rate.type` is 'cosine'"),
        ({"learning_rate": {}}, "not an input of DeePMD-kit"),
    ):
        with pytest.raises(ConfigError, match=message):
            convert(tmp_path, whole)
