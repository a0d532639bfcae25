"""Normalised errors: what models err by on tasks of several domains -> one number each, by which they rank; 1 is the guess that needs no model.

LAMBench's generalizability (github.com/deepmodeling/LAMBench), whose means leave out what a model has not done. Here tasks and domains are
given before any model, and what a model lacks counts as the guess, so that leaving something out never helps:

    ratio of a label    r = min(error / error of the guess, 1); 1 where there is no finite error
    of a domain         R_label = exp(mean of ln r over its tasks that have the label)
                        (R_energy + R_force) / 2, or 0.45 R_energy + 0.45 R_force + 0.1 R_virial where a task has virials
    of a model          the mean over domains

The guess: energies of elements fitted to the labels (the composition alone), and no forces and virials. Lower is better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lamdata.errors import ConfigError
from lamdata.located import did_you_mean

LABELS = {  # label -> the number of test.json that is compared, and its weight
    "energy": ("energy_rmse_mev_per_atom", 0.45),
    "force": ("force_rmse_mev_per_angstrom", 0.45),
    "virial": ("virial_rmse_mev_per_atom", 0.1),
}
Errors = Mapping[str, float]  # names of test.json -> errors; one that was not measured is absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What models are measured on."""

    name: str
    domain: str
    guess: Errors  # what the guess errs by, for each label that the frames have


def ratios_of(errors: Errors, guess: Errors) -> dict[str, float]:
    """Label -> ratio, for each label that the guess errs by."""
    found = {}
    for label, (name, _) in LABELS.items():
        if guess.get(name):
            error = errors.get(name, math.nan)
            found[label] = min(error / guess[name], 1.0) if math.isfinite(error) else 1.0
    return found


def score_of(ratios: Sequence[Mapping[str, float]]) -> float:
    """The number of one domain from the ratios of its tasks; raises ConfigError where none of them has a label."""
    means = {}
    for label in LABELS:
        if values := [task[label] for task in ratios if label in task]:
            means[label] = math.exp(sum(map(math.log, values)) / len(values)) if all(values) else 0.0
    if not means:
        raise ConfigError("no task has a label to compare with")
    weights = {label: LABELS[label][1] for label in means}
    return sum(weights[label] * mean for label, mean in means.items()) / sum(weights.values())


def score(tasks: Iterable[Task], errors: Mapping[str, Errors]) -> dict[str, float]:
    """Domain -> its number, and `all` -> their mean; `errors` are of one model by the names of tasks, as far as it has done them."""
    tasks = list(tasks)
    names = [task.name for task in tasks]
    for name in errors:
        if name not in names:
            raise ConfigError(f"no task {name!r}", hint=did_you_mean(name, names))
    domains: dict[str, list[dict[str, float]]] = {}
    for task in tasks:
        domains.setdefault(task.domain, []).append(ratios_of(errors.get(task.name, {}), task.guess))
    found = {domain: score_of(ratios) for domain, ratios in domains.items()}
    return found | {"all": sum(found.values()) / len(found)}


def rank(tasks: Iterable[Task], models: Mapping[str, Mapping[str, Errors]]) -> list[tuple[str, float]]:
    """Models and their numbers, the best first; equal ones in the order of their names."""
    tasks = list(tasks)
    return sorted(((name, score(tasks, errors)["all"]) for name, errors in models.items()), key=lambda row: (row[1], row[0]))
