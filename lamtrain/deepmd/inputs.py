"""DeePMD-kit's input.json -> the values of a training config, and the list of what has no counterpart.

Defaults are those of DeePMD-kit 3.2.0 (deepmd/utils/argcheck.py), not ours: a key that the file leaves out means there what it says.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from lamdata.errors import ConfigError, ConfigErrors, SourceError

from .descriptors import WORDS
from .options import config_of, plain

Values = dict[str, Any]

PREFACTORS = {"energy": "e", "force": "f", "virial": "v"}
UNUSED_LOSS = {  # with the value at which it says nothing
    "relative_f": None, "enable_atom_ener_coeff": False, "loss_func": "mse", "use_huber": False, "f_use_norm": False,
    "intensive_ener_virial": False,
}  # fmt: skip
READ = {
    "training": {
        "numb_steps", "seed", "disp_freq", "save_freq", "gradient_max_norm", "training_data", "validation_data", "data_dict", "model_prob",
    },
    "learning_rate": {
        "type", "start_lr", "stop_lr", "stop_lr_ratio", "decay_steps", "decay_rate", "warmup_steps", "warmup_ratio", "warmup_start_factor",
    },
}  # fmt: skip
NO_MATTER = {
    "disp_file", "disp_training", "time_training", "profiling", "profiling_file", "save_ckpt", "max_ckpt_keep", "stat_file", "tensorboard",
}  # fmt: skip


def input_json_to_config(path: str | Path) -> tuple[Values, list[str]]:
    """Return (values, left_out).

    `values` has the keys of a training config, with three to finish: `mixture` is the mixture itself, not its path; `datasets` names
    the folders of each dataset, for cards to be written; `store` is not there. `left_out` has one line for each option of the file
    that has no counterpart, with its value.
    """
    path = Path(path)
    whole = read_json(path)
    left_out = shared_fittings(whole["model"])
    branches = expand_branches(whole["model"], path=path)
    settle_auto(branches, left_out)
    model = config_of(branches, where=str(path))
    training = whole.get("training", {})
    values = {
        "model": {
            "elements": list(model.elements),
            "descriptor": model.descriptor.model_dump(mode="json"),
            "fitting": model.fitting.model_dump(mode="json", exclude_defaults=True),
        },
        "steps": take_steps(training, path=path),
        "batch": convert_batch(training, left_out),
        "loss": convert_loss(whole, left_out),
        "clip_norm": training.get("gradient_max_norm") or None,
        "precision": model.precision,
        "seed": training.get("seed") or 1,
        "checkpoint_every": training.get("save_freq", 1000),
        "log_every": training.get("disp_freq", 1000),
    }
    values["learning_rate"] = convert_rate(whole.get("learning_rate", {}), values["steps"], left_out, path=path)
    values |= convert_data(training, list(branches))
    left_out += leftover(whole)
    return values, left_out


def read_json(path: Path) -> Values:
    """Return the file without its comments."""
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise SourceError(err.strerror or "cannot be read", where=str(path)) from err
    except ValueError as err:
        raise ConfigError(f"not JSON ({err})", where=str(path)) from err
    if not isinstance(whole, dict) or "model" not in whole:
        raise ConfigError("no `model`: not an input of DeePMD-kit", where=str(path))
    return plain(whole, leave_out=set())


def expand_branches(model: Values, *, path: Path) -> dict[str, Values]:
    """Return branch -> `model` section, names of `shared_dict` replaced by what they stand for."""
    if "model_dict" not in model:
        return {"energy": model}
    shared = model.get("shared_dict", {})
    common = {key: value for key, value in model.items() if key not in ("model_dict", "shared_dict")}
    branches, problems = {}, []
    for name, own in model["model_dict"].items():
        branches[name] = copy.deepcopy(common) | copy.deepcopy(own)
        for section in ("type_map", "descriptor", "fitting_net"):
            word = branches[name].get(section)
            key, _, level = word.partition(":") if isinstance(word, str) else ("", "", "")
            if key and key not in shared:
                problems.append(ConfigError(f"branch `{name}`: no `{key}` in `shared_dict`", where=str(path)))
            elif level not in ("", "0"):
                found = f"branch `{name}`: `{section}` is shared at level {level}; only level 0 is supported"
                problems.append(ConfigError(found, where=str(path)))
            elif key:
                branches[name][section] = copy.deepcopy(shared[key])
    if problems:
        raise ConfigErrors(problems)
    return branches


def shared_fittings(model: Values) -> list[str]:
    """One line for each fitting net that several branches share; here every head has its own."""
    words = [branch.get("fitting_net") for branch in model.get("model_dict", {}).values()]
    shared = sorted({word for word in words if isinstance(word, str) and words.count(word) > 1})
    return [f"model.model_dict.*.fitting_net = {word!r}: shared there, a net for each head here" for word in shared]


def settle_auto(branches: dict[str, Values], left_out: list[str]) -> None:
    """Replace neighbour counts that DeePMD-kit would take from the data: `auto` counts them there."""
    for name, params in branches.items():
        descriptor = params.get("descriptor")
        files = WORDS.get(descriptor.get("type", "")) if isinstance(descriptor, dict) else None
        if files is None:
            continue
        params["descriptor"] = dict(files.defaults) | params["descriptor"]
        for (*blocks, key), count in files.counts.items():
            section = params["descriptor"]
            for block in blocks:
                section = section.get(block, {})
            if isinstance(section.get(key), str):
                found = f"model ({name}) descriptor.{'.'.join([*blocks, key])} = {section[key]!r}"
                left_out.append(f"{found}: set to {count}, for it is part of the function")
                section[key] = count


def take_steps(training: Values, *, path: Path) -> int:
    steps = training.get("numb_steps")
    if not steps:
        found = next((key for key in training if "epoch" in key), None)
        hint = f"`{found}` has no counterpart: say how many steps" if found else None
        raise ConfigError("`training.numb_steps` is missing", where=str(path), hint=hint)
    return int(steps)


def convert_batch(training: Values, left_out: list[str]) -> Values:
    """`batch_size` is a number of frames, or `auto:N`, as many as hold N atoms; of several heads the first is taken."""
    sections = [head.get("training_data", {}) for head in training.get("data_dict", {}).values()] or [training.get("training_data", {})]
    sizes = [section.get("batch_size", "auto") for section in sections]
    size = sizes[0]
    if any(other != size for other in sizes):
        left_out.append(f"training.data_dict.*.batch_size = {sizes}: one batch size for all heads, {size!r} taken")
    if isinstance(size, int):
        return {"frames": size}
    if isinstance(size, str) and size.split(":")[0] in ("auto", "max", "filter", "mixed"):
        kind, _, number = size.partition(":")
        return {"frames": int(number)} if kind == "mixed" else {"atoms": int(number or 32)}
    left_out.append(f"batch_size = {size!r}: set to 1 frame")
    return {"frames": 1}


def convert_loss(whole: Values, left_out: list[str]) -> Values:
    """Prefactors as [start, limit]. DeePMD-kit drops a term unless both ends are non-zero."""
    losses = whole.get("loss_dict") or {"": whole.get("loss", {})}
    converted = [{ours: both_or_none(loss, theirs) for ours, theirs in PREFACTORS.items()} for loss in losses.values()]
    for name, loss, prefactors in zip(losses, losses.values(), converted, strict=True):
        at = f"loss_dict.{name}" if name else "loss"
        if prefactors != converted[0]:
            left_out.append(f"{at} = {prefactors}: one loss for all heads, {converted[0]} taken")
        known = {"type"} | {f"{end}_pref_{letter}" for letter in PREFACTORS.values() for end in ("start", "limit")}
        unknown = {key: value for key, value in loss.items() if key not in known and value not in (0, UNUSED_LOSS.get(key))}
        left_out += [f"{at}.{key} = {value!r}" for key, value in unknown.items()]
    return converted[0]


def both_or_none(loss: Values, letter: str) -> list[float]:
    default = {"e": (0.02, 1.0), "f": (1000.0, 1.0), "v": (0.0, 0.0)}[letter]
    start, limit = loss.get(f"start_pref_{letter}", default[0]), loss.get(f"limit_pref_{letter}", default[1])
    return [float(start), float(limit)] if start and limit else [0.0, 0.0]


def convert_rate(rate: Values, steps: int, left_out: list[str], *, path: Path) -> Values:
    """Exponential decay in stairs. A given `decay_rate` sets where the last step ends; `stop_lr` is then a floor."""
    if rate.get("type", "exp") != "exp":
        raise ConfigError(f"`learning_rate.type` is {rate['type']!r}, and only 'exp' is supported", where=str(path))
    start, stair = rate.get("start_lr", 1e-3), rate.get("decay_steps", 5000)
    stop = rate.get("stop_lr") or start * rate.get("stop_lr_ratio", 5e-5)
    if rate.get("decay_rate") is not None:
        end = start * rate["decay_rate"] ** (steps / stair)
        if end < stop:
            left_out.append(f"learning_rate.stop_lr = {stop}: `decay_rate` leads to {end:.3g} at the last step, and there is no floor")
        stop = end
    warmup = {
        "warmup_steps": int(rate.get("warmup_steps") or (rate.get("warmup_ratio") or 0) * steps),
        "warmup_start_factor": float(rate.get("warmup_start_factor", 0.0)),
    }
    return {"start": float(start), "stop": float(stop), "decay_steps": int(stair)} | warmup


def convert_data(training: Values, heads: list[str]) -> Values:
    """Return the mixture and the folders of its datasets; without `model_prob` DeePMD-kit weighs heads by their number of systems."""
    sections = training.get("data_dict") or {heads[0]: training}
    folders = {head: _systems(sections.get(head, {}).get("training_data", {})) for head in heads}
    weights = training.get("model_prob") or {head: max(len(folders[head]), 1) for head in heads}
    tasks = [{"head": head, "dataset": head, "task": "energy_force", "weight": float(weights[head])} for head in heads if weights.get(head)]
    return {"mixture": {"mixture": "from-input", "heads": tasks}, "datasets": folders}


def _systems(section: Values) -> list[str]:
    systems = section.get("systems", [])
    return [systems] if isinstance(systems, str) else list(systems)


def leftover(whole: Values) -> list[str]:
    """One line for each key that nothing above has read."""
    lines = [f"{key} = {value!r}" for key, value in whole.items() if key not in {"model", "training", "learning_rate", "loss", "loss_dict"}]
    for section, read in READ.items():
        for key, value in whole.get(section, {}).items():
            if key not in read | NO_MATTER and value not in (None, False):
                lines.append(f"{section}.{key} = {value!r}")
    sections = whole.get("training", {}).get("data_dict") or {"": whole.get("training", {})}
    for name, head in sections.items():
        place = f"training.data_dict.{name}" if name else "training"
        for key, value in head.get("training_data", {}).items():
            if key not in ("systems", "batch_size", "set_prefix") and value is not None:
                lines.append(f"{place}.training_data.{key} = {value!r}")
        if head.get("validation_data"):
            systems = _systems(head["validation_data"])
            lines.append(f"{place}.validation_data.systems = {systems!r}: held out by the `split` of each dataset's card instead")
    return lines
