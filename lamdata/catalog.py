"""Catalog: the YAML files that say what a dataset is (a card) and what to train on (a mixture)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from .augment import AugmentSpec
from .errors import ConfigError, ConfigErrors
from .located import Spec, did_you_mean, read_yaml, validate
from .theory import Theory
from .units import ENERGY, FORCE, LENGTH, STRESS

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+()-]*$", max_length=100)]
"""A name that is safe as a folder, a key and a command-line word."""


def _unit(table: Mapping[str, float]):
    def check(unit: str) -> str:
        if unit.endswith("?"):
            raise ValueError(f"a guess to be confirmed; write {unit[:-1]!r} without the question mark if it is right")
        if unit not in table:
            raise ValueError(f"unknown unit; {did_you_mean(unit, list(table))}")
        return unit

    return Annotated[str, AfterValidator(check)]


class UnitSpec(Spec):
    """Units of a source whose format leaves them open (extxyz, ASE databases). Left out: the format's own."""

    energy: _unit(ENERGY) | None = None  # type: ignore[valid-type]
    """Unit of energies."""
    length: _unit(LENGTH) | None = None  # type: ignore[valid-type]
    """Unit of positions and cells."""
    force: _unit(FORCE) | None = None  # type: ignore[valid-type]
    """Unit of forces."""
    stress: _unit(STRESS) | None = None  # type: ignore[valid-type]
    """Unit of stresses."""


class SourceSpec(Spec):
    """Raw files of a dataset and how to read them."""

    path: str = Field(min_length=1)
    """File, folder, glob, archive or URL; relative to the card; `package://NAME/FILE` is a file that an installed package ships."""
    members: str | None = None
    """Glob of the files inside an archive or folder, as "*/*.out"."""
    format: str = "auto"
    """Name of a reader, or "auto"."""
    group: Literal["reader", "file", "folder", "frame"] = "reader"
    """What makes frames belong together (and stay on one side of a split): what the reader says, the file, its folder, nothing."""
    keys: dict[str, str] = {}
    """Names of labels in the source, as {energy: REF_energy}; a label set to "" is not read."""
    units: UnitSpec = UnitSpec()
    """Units, where the format does not fix them."""
    options: dict[str, str | float | bool] = {}
    """Choices that a reader offers, by its documentation, as {energy: free}."""


class CheckSpec(Spec):
    """What a frame must satisfy to be stored; a refused frame gets a row in `rejected.jsonl`. `null` switches a check off."""

    converged: bool = True
    """Refuse frames whose electronic self-consistency the source says did not converge."""
    min_distance: float | None = Field(default=0.4, gt=0)
    """Shortest distance between two atoms, Å, periodic images included."""
    max_force: float | None = Field(default=100.0, gt=0)
    """Largest force on an atom, eV/Å."""
    net_force: float | None = Field(default=0.1, gt=0)
    """Largest mean force over the atoms of a frame, eV/Å: a net force is an error of the calculation or the unit."""
    virial_asymmetry: float | None = Field(default=0.05, gt=0)
    """Largest |virial - transpose| per atom, eV."""
    max_virial: float | None = Field(default=None, gt=0)
    """Largest |virial| per atom, eV."""
    energy_per_atom: tuple[float, float] | None = None
    """Lowest and highest total energy per atom, eV."""
    volume_per_atom: tuple[float, float] | None = (0.5, 1e5)
    """Smallest and largest cell volume per atom, Å^3 (three-dimensional cells only)."""
    elements: list[str] | None = None
    """Elements that may occur."""

    @model_validator(mode="after")
    def _ordered(self):
        for name in ("energy_per_atom", "volume_per_atom"):
            pair = getattr(self, name)
            if pair is not None and pair[0] >= pair[1]:
                raise ValueError(f"{name} is {list(pair)}: the first must be the smaller")
        return self


class SplitSpec(Spec):
    """How groups are dealt out; a pure function of (seed, group), so that appending never moves a frame."""

    validation: float = Field(default=0.1, ge=0, lt=1)
    """Expected share of the groups held out."""
    seed: int = Field(default=0, ge=0)
    """Changes the deal."""

    def is_validation(self, group: str) -> bool:
        """Say on which side of the split a group falls."""
        digest = hashlib.blake2b(f"{self.seed}/{group}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") < self.validation * 2**64


class Count(Spec):
    """A number that somebody stated, and where."""

    what: str
    """What was counted, as "train frames"."""
    value: int = Field(ge=0)
    """The number."""
    source: str
    """Who says so."""


class Card(Spec):
    """What a dataset is: provenance, theory, raw files, checks, split. `null` means not known."""

    dataset: Name
    """Name of the dataset, one word, as it is called in mixtures and stores."""
    title: str
    """One line for people."""
    aliases: list[str] = []
    """Other names in use, as the rows of a published table."""
    contributors: list[str] = []
    """Who made it."""
    citations: list[str] = []
    """What to cite, most important first."""
    doi: str | None = None
    """DOI of the data or of its paper."""
    url: str | None = None
    """Where it can be had."""
    license: str | None = None
    """SPDX expression or the record's own words."""
    theory: Theory = Theory()
    """How labels were computed."""
    elements: list[str] | None = None
    """Elements in it."""
    counts: list[Count] = []
    """Published sizes, each with who says so."""
    native_format: str | None = None
    """The format in which it is published."""
    sources: list[SourceSpec] = []
    """Raw files; none for a dataset that can only be described."""
    checks: CheckSpec = CheckSpec()
    """What a frame must satisfy."""
    split: SplitSpec = SplitSpec()
    """What is held out."""
    known_defects: list[str] = []
    """What is wrong with it, as known."""
    notes: list[str] = []
    """Anything else, facts only."""


class TaskSpec(Spec):
    """One dataset feeding one head of a mixture."""

    head: Name
    """Output branch of the model; several datasets may feed one head if their theories agree."""
    dataset: Name
    """Name of a card."""
    task: Literal["energy_force", "denoise"]
    """Learn energies, forces and virials; or undo noise and masks."""
    weight: float = Field(default=1.0, gt=0)
    """Share of the training: a task is drawn with probability weight / sum of weights."""
    augment: AugmentSpec | None = None
    """Noise, masks and transformations put on as frames are read."""
    allow_theory: list[str] = []
    """Why this dataset may share its head although its theory differs."""

    @model_validator(mode="after")
    def _denoise_has_something_to_undo(self):
        noisy = self.augment is not None and (self.augment.noise is not None or self.augment.mask is not None)
        if (self.task == "denoise") != noisy:
            raise ValueError("task denoise needs `augment` with noise or mask" if not noisy else "noise and mask belong to task denoise")
        return self


class Mixture(Spec):
    """What to train on: heads with weights."""

    mixture: Name
    """Name of the mixture."""
    title: str = ""
    """One line for people."""
    heads: list[TaskSpec] = Field(min_length=1)
    """Tasks."""
    notes: list[str] = []
    """Why the weights are what they are."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """All cards and mixtures of a folder, by name, with the file each stands in."""

    cards: dict[str, Card]
    mixtures: dict[str, Mixture]
    files: dict[str, Path]

    def card(self, dataset: str) -> Card:
        """Return a card, or say which names there are."""
        if dataset not in self.cards:
            raise ConfigError(f"no card for dataset {dataset!r}", hint=did_you_mean(dataset, list(self.cards)))
        return self.cards[dataset]


def open_catalog(path: str | Path) -> Catalog:
    """Read every card and mixture below a folder, or those beside a file and in `cards/` there; raise all problems at once."""
    path = Path(path)
    if not path.exists():
        raise ConfigError("no such file or folder", where=str(path))
    errors: list[ConfigError] = []
    cards: dict[str, Card] = {}
    mixtures: dict[str, Mixture] = {}
    files: dict[str, Path] = {}
    places: dict[str, Any] = {}
    for file in _yaml_files(path):
        try:
            spec, where = _read_any(file)
        except ConfigErrors as err:
            errors += err.errors
            continue
        except ConfigError as err:
            errors.append(err)
            continue
        if spec is None:
            continue
        name = spec.dataset if isinstance(spec, Card) else spec.mixture
        table = cards if isinstance(spec, Card) else mixtures
        if name in table:
            errors.append(ConfigError(f"{name!r} is defined twice, also in {files[name]}", where=f"{file}:1:1"))
        table[name], files[name], places[name] = spec, file, where
    if not errors:
        for name, mixture in mixtures.items():
            errors += _mixture_errors(mixture, cards, files[name], places[name])
    if errors:
        raise ConfigErrors(errors)
    return Catalog(cards, mixtures, files)


def open_mixture(path: str | Path) -> tuple[Mixture, Catalog]:
    """Read one mixture file and the cards beside it."""
    catalog = open_catalog(path)
    for name, mixture in catalog.mixtures.items():
        if catalog.files[name] == Path(path):
            return mixture, catalog
    raise ConfigError("not a mixture", where=str(path), hint="a mixture starts with `mixture: NAME`")


def open_card(path: str | Path) -> Card:
    """Read one card."""
    data, places = read_yaml(path)
    return validate(data, Card, where=str(path), places=places)


def _yaml_files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.rglob("*.yaml"))
    return sorted([*path.parent.glob("*.yaml"), *path.parent.glob("cards/*.yaml")])


def _read_any(file: Path) -> tuple[Card | Mixture | None, dict]:
    data, places = read_yaml(file)
    kinds = {"dataset": Card, "mixture": Mixture, "results": None, "train": None}
    kind = next(iter(data), None) if isinstance(data, dict) else None
    if kind not in kinds:
        raise ConfigError("the first key says what a file is: `dataset:` (a card) or `mixture:`", where=f"{file}:1:1")
    model = kinds[kind]
    return (None if model is None else validate(data, model, where=str(file), places=places)), places


def _mixture_errors(mixture: Mixture, cards: dict[str, Card], file: Path, places: dict) -> list[ConfigError]:
    """Datasets that do not exist, heads with two tasks, theories that do not agree."""
    errors = []
    first: dict[str, TaskSpec] = {}
    for i, task in enumerate(mixture.heads):
        line, column = places.get(("heads", i, "dataset"), (1, 1))
        where = f"{file}:{line}:{column}"
        if task.dataset not in cards:
            errors.append(ConfigError(f"no card for dataset {task.dataset!r}", where=where, hint=did_you_mean(task.dataset, list(cards))))
            continue
        other = first.setdefault(task.head, task)
        if other is task or other.dataset not in cards:
            continue
        if other.task != task.task:
            errors.append(
                ConfigError(f"head {task.head!r} has tasks {other.task} and {task.task}", where=where, hint="give each its own head")
            )
        elif task.task == "energy_force" and not task.allow_theory:
            differences = cards[task.dataset].theory.differences(cards[other.dataset].theory)
            if differences:
                message = f"{task.dataset} and {other.dataset} cannot share head {task.head!r}: {'; '.join(differences)}"
                errors.append(ConfigError(message, where=where, hint="give each its own head, or say why in `allow_theory: [reason]`"))
    return errors
