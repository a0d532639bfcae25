"""DeePMD-kit's `model` section <-> ModelConfig. Most names are the same; this file is about the rest.

An option that would change the numbers and that the model does not have is an error by its name; nothing is dropped silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from lamdata.errors import ConfigError, ConfigErrors
from lamtrain.model.config import ModelConfig

from .descriptors import WORDS, files_of, files_of_word

# Says nothing about the function: names, statistics, and how a run goes on from the file.
SILENT = {
    "type_map", "descriptor", "fitting_net", "type", "model_branch_alias", "info", "finetune_head", "pair_exclude_types",
    "data_stat_nbatch", "data_stat_protect", "data_bias_nsample", "preset_out_bias", "srtab_add_bias",
    "bridging_r_inner", "bridging_r_outer", "resuming", "new_type_map", "use_compressed_descriptor",
}  # fmt: skip
NEUTRAL = {"bridging_method": (None, "None"), "hessian_mode": (None, False), "use_srtab": (None,)}

# Free to differ between the branches of one model: where training started from, not what it is.
INITIAL = {"seed", "trainable", "trainable_ln"}
IN_DESCRIPTOR = {"ntypes", "type_map", "n_of_chg_spin"}
ALIASES = {"repformer_add_type_ebd_to_seq": "add_tebd_to_repinit_out", "n_neuron": "neuron"}


def config_of(branches: dict[str, dict[str, Any]], *, where: str) -> ModelConfig:
    """Return the one config of all branches (name -> `model` section); say by name what is not supported or differs."""
    problems = [problem for name, params in branches.items() for problem in find_unsupported(params, branch=name, where=where)]
    if problems:
        raise ConfigErrors(problems)
    values = {name: model_values(params) for name, params in branches.items()}
    first, *others = values
    for other in others:
        for key, a, b in differences(values[first], values[other]):
            found = f"branches `{first}` and `{other}` differ in `{key}`: {a!r} and {b!r}"
            raise ConfigError(found, where=where, hint=f"read one of them: branch={first!r}")
    try:
        config = ModelConfig.model_validate(values[first] | {"heads": dict.fromkeys(branches, "energy_force")})
    except ValidationError as err:
        raise ConfigErrors([_as_config_error(error, where) for error in err.errors()]) from None
    # A pair that the model excludes leaves an empty slot, one that the descriptor excludes does not; they differ by what such slots add.
    centered = not config.descriptor.lists[files_of(config.descriptor).padded].set_davg_zero
    for name, params in branches.items():
        if centered and params.get("pair_exclude_types"):
            found = f"branch `{name}`: option `pair_exclude_types` is not supported where `set_davg_zero` is off"
            raise ConfigError(found, where=where, hint="the descriptor's `exclude_types` is")
    return config


def _as_config_error(error: Any, where: str) -> ConfigError:
    place = ".".join(str(part) for i, part in enumerate(error["loc"]) if i != 1 or part not in WORDS)  # a union adds which member
    if error["type"] == "extra_forbidden":
        return ConfigError(f"option `{place}` is not supported", where=where)
    return ConfigError(f"`{place}`: {error['msg'].removeprefix('Value error, ')}" if place else error["msg"], where=where)


def find_unsupported(params: dict[str, Any], *, branch: str, where: str) -> Iterator[ConfigError]:
    """Yield an error for each option of the `model` section, outside descriptor and fitting, that changes the numbers."""
    for key, value in params.items():
        if key in SILENT or key.startswith("_") or value in NEUTRAL.get(key, (None, False, [], {})):
            continue
        yield ConfigError(f"branch `{branch}`: option `{key}` = {value!r} is not supported", where=where)
    for section, known, unsaid in (("descriptor", tuple(WORDS), "se_e2_a"), ("fitting_net", ("ener",), "ener")):
        kind = params.get(section, {}).get("type", unsaid)
        if kind not in known:
            supported = " or ".join(map(repr, known))
            yield ConfigError(f"branch `{branch}`: `{section}.type` is {kind!r}, and only {supported} is supported", where=where)
    if params.get("type", "standard") != "standard":
        yield ConfigError(f"branch `{branch}`: model type {params['type']!r} is not supported", where=where)


def model_values(params: dict[str, Any]) -> dict[str, Any]:
    """Return a `model` section as plain values for ModelConfig, without heads."""
    section = plain(params["descriptor"], leave_out=IN_DESCRIPTOR)
    descriptor = files_of_word(section["type"]).values(section)
    # Neither frees slots for other neighbours: the lists are cut before any pair is excluded.
    pairs = [*(descriptor.get("exclude_types") or []), *(params.get("pair_exclude_types") or [])]
    descriptor["exclude_types"] = [tuple(pair) for pair in pairs]
    fitting = plain(params["fitting_net"], leave_out={"type_map"})
    if isinstance(fitting.get("trainable"), list):
        fitting["trainable"] = any(fitting["trainable"])
    for values in (descriptor, fitting):
        if isinstance(values.get("seed"), list):  # a seed that training derived from another
            values["seed"] = values["seed"][0]
    return {"elements": list(params["type_map"]), "descriptor": descriptor, "fitting": fitting}


def plain(section: dict[str, Any], *, leave_out: set[str]) -> dict[str, Any]:
    """A copy without comments and without the keys in `leave_out`, aliases resolved, nested sections likewise."""
    kept = {ALIASES.get(key, key): value for key, value in section.items() if not key.startswith("_") and key not in leave_out}
    return {key: plain(value, leave_out=leave_out) if isinstance(value, dict) else value for key, value in kept.items()}


def differences(a: Any, b: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted key, left, right) wherever two sections say different things about the function."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b} - INITIAL):
            yield from differences(a.get(key), b.get(key), f"{path}.{key}" if path else key)
    elif a != b:
        yield path, a, b


def params_of(config: ModelConfig, *, aliases: list[str] | None = None) -> dict[str, Any]:
    """Return `config` as the `model` section of one energy head, every option written out."""
    descriptor = files_of(config.descriptor).section(config.descriptor)
    fitting = config.fitting.model_dump(mode="json", exclude={"layer_name"})
    params = {"type": "standard", "type_map": list(config.elements), "descriptor": descriptor, "fitting_net": fitting}
    return params | {"model_branch_alias": aliases or [], "info": {}, "pair_exclude_types": [], "atom_exclude_types": []}


def fill_old_defaults(params: dict[str, Any], tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return `params` with what an older version meant where it says nothing; its weights show which version it was."""
    descriptor = dict(params["descriptor"])
    if (files := WORDS.get(descriptor.get("type", ""))) is not None:
        descriptor = files.as_it_was_meant(descriptor, tensors)
    if "use_tebd_bias" not in descriptor:
        descriptor["use_tebd_bias"] = any(".type_embedding." in name and name.endswith(".bias") for name in tensors)
    return params | {"descriptor": descriptor}
