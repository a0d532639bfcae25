"""input.json of DeePMD-kit: each section that has no counterpart is named or refused, and numbers are those it would train with."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from lamdata.errors import ConfigError, LamError, SourceError
from lamtrain.deepmd import input_json_to_config
from tests.lamtrain.deepmd.test_deepmd_inputs import SINGLE


def convert(folder: Path, **sections: dict[str, Any] | None) -> tuple[dict[str, Any], list[str]]:
    """SINGLE with keys of its sections replaced; `None` takes a key out."""
    whole = copy.deepcopy(SINGLE)
    for section, keys in sections.items():
        for key, value in (keys or {}).items():
            whole[section][key] = value
            if value is None:
                del whole[section][key]
    (folder / "input.json").write_text(json.dumps(whole))
    return input_json_to_config(folder / "input.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "no `model`: not an input of DeePMD-kit"),
        ("{}", "no `model`"),
        ("3", "no `model`"),
        ("\udcff", "not JSON"),
    ],
)
def test_a_file_that_is_no_input_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "input.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=f"{path}: {said}") as caught:
        input_json_to_config(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="input.json: No such file"):
        input_json_to_config(tmp_path / "input.json")


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"numb_steps": None}, "`training.numb_steps` is missing"),
        ({"numb_steps": 0}, "`training.numb_steps` is missing"),
        ({"numb_steps": None, "num_epoch": 3}, "`training.numb_steps` is missing; `num_epoch` has no counterpart: say how many steps"),
    ],
)
def test_a_run_without_a_length_is_refused(tmp_path: Path, training: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        convert(tmp_path, training=training)


@pytest.mark.parametrize(
    ("size", "batch", "named"),
    [
        (3, {"frames": 3}, False),
        ("auto", {"atoms": 32}, False),
        ("auto:512", {"atoms": 512}, False),
        ("max:64", {"atoms": 64}, False),
        ("filter:64", {"atoms": 64}, False),
        ("mixed:5", {"frames": 5}, False),
        ([1, 2], {"frames": 1}, True),
        ("sometimes", {"frames": 1}, True),
    ],
)
def test_sizes_of_batches_are_kept_or_named(tmp_path: Path, size: object, batch: dict, named: bool) -> None:
    values, left_out = convert(tmp_path, training={"training_data": {"systems": ["a"], "batch_size": size}})
    assert values["batch"] == batch and any(line.startswith("batch_size = ") for line in left_out) == named


@pytest.mark.parametrize(
    ("loss", "energy", "virial"),
    [
        ({}, [0.02, 1.0], [0.0, 0.0]),
        ({"start_pref_e": 0, "limit_pref_e": 1}, [0.0, 0.0], [0.0, 0.0]),
        ({"start_pref_v": 0.1, "limit_pref_v": 2}, [0.02, 1.0], [0.1, 2.0]),
        ({"start_pref_v": 0.1, "limit_pref_v": 0}, [0.02, 1.0], [0.0, 0.0]),
    ],
)
def test_a_term_counts_where_both_ends_do(tmp_path: Path, loss: dict, energy: list[float], virial: list[float]) -> None:
    values, _ = convert(tmp_path, loss=loss)
    assert (values["loss"]["energy"], values["loss"]["virial"]) == (energy, virial)


@pytest.mark.parametrize("key", ["start_pref_ae", "start_pref_pf", "relative_f", "use_huber"])
def test_terms_that_there_are_none_of_are_named(tmp_path: Path, key: str) -> None:
    _, left_out = convert(tmp_path, loss={key: 2.0})
    assert any(line.startswith(f"loss.{key} = 2.0") for line in left_out)


@pytest.mark.parametrize(
    ("rate", "stop", "named"),
    [
        ({"start_lr": 1e-3, "stop_lr": 1e-8}, 1e-8, False),
        ({"start_lr": 1e-3, "stop_lr": None, "stop_lr_ratio": 1e-2}, 1e-5, False),
        ({"start_lr": 1e-3, "stop_lr": None}, 5e-8, False),
        ({"start_lr": 1e-3, "stop_lr": 1e-8, "decay_rate": 0.9}, 1e-3 * 0.9**20, False),
        ({"start_lr": 1e-3, "stop_lr": 1e-4, "decay_rate": 0.5}, 1e-3 * 0.5**20, True),
    ],
)
def test_where_the_rate_ends_is_where_it_would_end_there(tmp_path: Path, rate: dict, stop: float, named: bool) -> None:
    values, left_out = convert(tmp_path, learning_rate=rate)
    assert values["learning_rate"]["stop"] == pytest.approx(stop)
    assert any("there is no floor" in line for line in left_out) == named


@pytest.mark.parametrize(("rate", "steps"), [({"warmup_steps": 50}, 50), ({"warmup_ratio": 0.01}, 1000), ({}, 0)])
def test_a_warm_up_is_kept(tmp_path: Path, rate: dict, steps: int) -> None:
    assert convert(tmp_path, learning_rate=rate)[0]["learning_rate"]["warmup_steps"] == steps


def test_a_schedule_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`learning_rate.type` is 'cosine', and only 'exp' is supported"):
        convert(tmp_path, learning_rate={"type": "cosine"})


MULTI = {
    "shared_dict": {"types": ["O", "H"], "dpa": SINGLE["model"]["descriptor"]},
    "model_dict": {
        name: {"type_map": "types", "descriptor": "dpa", "fitting_net": {"neuron": [24], "seed": 1}} for name in ("water", "ice")
    },
}


def multi(folder: Path, change: Any) -> tuple[dict[str, Any], list[str]]:
    whole = copy.deepcopy(SINGLE)
    whole["model"] = copy.deepcopy(MULTI)
    data = {"training_data": {"systems": ["a"], "batch_size": 2}}
    whole["loss_dict"] = dict.fromkeys(("water", "ice"), whole["loss"])
    del whole["loss"]
    whole["training"] |= {"data_dict": {name: copy.deepcopy(data) for name in ("water", "ice")}, "model_prob": {"water": 2.0, "ice": 1.0}}
    del whole["training"]["training_data"]
    whole = json.loads(json.dumps(whole))
    change(whole)
    (folder / "input.json").write_text(json.dumps(whole))
    return input_json_to_config(folder / "input.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w["model"]["model_dict"]["ice"].update(type_map="tpyes"), "branch `ice`: no `tpyes` in `shared_dict`"),
        (lambda w: w["model"]["model_dict"]["ice"].update(descriptor="dpa:1"), "ice"),
        (lambda w: w["model"]["model_dict"]["ice"].update(type="pairtab"), "pairtab"),
    ],
)
def test_branches_that_cannot_be_put_together_are_refused_by_name(tmp_path: Path, change: Any, said: str) -> None:
    with pytest.raises(LamError, match=said):
        multi(tmp_path, change)


def test_what_differs_between_heads_and_is_one_here_is_named(tmp_path: Path) -> None:
    def change(whole: dict) -> None:
        whole["training"]["data_dict"]["ice"]["training_data"]["batch_size"] = 9
        whole["loss_dict"]["ice"]["start_pref_f"] = 5

    values, left_out = multi(tmp_path, change)
    assert values["batch"] == {"frames": 2} and values["loss"]["force"] == [1000.0, 1.0]
    assert any("one batch size for all heads, 2 taken" in line for line in left_out)
    assert any(line.startswith("loss_dict.ice = ") and "one loss for all heads" in line for line in left_out)
