"""Catalog: the YAML files that say what a dataset is (a card) and what to train on (a mixture)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from .augment import Augmentation
from .errors import ConfigError, ConfigErrors
from .fields import Held, Name, SplitName, check_atoms, check_keys, check_unit, known_task
from .keep import Keep
from .located import Places, Spec, did_you_mean, read_yaml, spot_of, validate
from .theory import Theory
from .units import ENERGY, FORCE, LENGTH, STRESS


class UnitSpec(Spec):
    """Units of a source whose format leaves them open (extxyz, ASE databases). Left out: the format's own."""

    energy: Annotated[str, check_unit(ENERGY)] | None = None
    """Unit of energies."""
    length: Annotated[str, check_unit(LENGTH)] | None = None
    """Unit of positions and cells."""
    force: Annotated[str, check_unit(FORCE)] | None = None
    """Unit of forces."""
    stress: Annotated[str, check_unit(STRESS)] | None = None
    """Unit of stresses."""


class SourceSpec(Spec):
    """Raw files of a dataset and how to read them."""

    path: str = Field(min_length=1)
    """File, folder, glob, archive or URL; relative to the card; `package://NAME/FILE` is a file that an installed package ships,
    `$NAME/FILE` one in the folder that the environment variable NAME holds."""
    members: str | None = None
    """Glob of the files inside an archive or folder, as "*/*.out"."""
    format: str = "auto"
    """Name of a reader, or "auto"."""
    group: Literal["reader", "file", "folder", "frame"] = "reader"
    """What makes frames belong together (and stay on one side of a split): what the reader says, the file, its folder, nothing."""
    split: SplitName | None = None
    """All frames of this source are of this split; it outranks the `split` of the card."""
    keys: Annotated[dict[str, str], AfterValidator(check_keys)] = {}
    """Names of labels in the source, as {energy: REF_energy}; a label set to "" is not read. `split` names the key whose value says
    of each frame whether it is train, validation or test."""
    units: UnitSpec = UnitSpec()
    """Units, where the format does not fix them."""
    options: dict[str, str | float | bool] = {}
    """Choices that a reader offers, by its documentation, as {energy: free}."""
    isolated_atoms: Literal["marked", "all", "also frames"] = "marked"
    """Which frames are free atoms, kept as reference energies and not as frames: those that the file marks (as extxyz does by
    `config_type=IsolatedAtom`), or all. "also frames": the marked ones are frames of the train split as well."""

    info: list[str] = []
    """Further keys of the source that are kept with each frame, as [config_type, temperature]: an expression says `info["config_type"] == "liquid"`."""

    later = ("split", "isolated_atoms", "info")

    @model_validator(mode="after")
    def _one_split(self) -> SourceSpec:
        if self.split is not None and self.keys.get("split"):
            raise ValueError(f"`split: {self.split}` is of all frames, `keys: {{split: {self.keys['split']}}}` of each: say one of them")
        return self


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
    max_refused: float = Field(default=0.05, ge=0, le=1)
    """Largest share of frames that may be refused; with more, nothing is stored: a reader, a unit or a check is probably wrong."""

    implausible: Literal["report", "fail"] = "report"
    """What becomes of a dataset in which something is implausible though every frame passed: energies far from all others, one energy
    in many frames, labels of exactly zero, units or signs that the work of forces and virials contradicts. It is said, or nothing is stored."""

    later = ("max_refused", "implausible")

    @model_validator(mode="after")
    def _ordered(self) -> CheckSpec:
        for name in ("energy_per_atom", "volume_per_atom"):
            pair = getattr(self, name)
            if pair is not None and pair[0] >= pair[1]:
                raise ValueError(f"{name} is {list(pair)}: the first must be the smaller")
        return self


class SplitSpec(Spec):
    """What is held out: shares of the groups, a pure function of (seed, group), so that appending never moves a frame; or published lists.

    A list is a text file beside the card; a line is a frame ("file#index" as in the store), a file or a group. What a list or a
    source names, or the key `split` of a source, is where it is said to be; shares are of the groups that are left.
    """

    validation: Held = 0.1
    """Held out to choose the best checkpoint: expected share of the groups, or a file that lists them."""
    test: Held = 0.0
    """Held out for the numbers that are shown: expected share of the groups, or a file that lists them. 0.1 where the card has no `split`."""
    seed: int = Field(default=0, ge=0)
    """Changes the deal."""

    later = ("test",)

    @model_validator(mode="after")
    def _something_is_left(self) -> SplitSpec:
        if sum(self.shares) >= 1:
            raise ValueError("validation and test are shares of the groups, and leave none to train on")
        return self

    @property
    def shares(self) -> tuple[float, float]:
        """Share of the groups dealt to validation and to test; 0 where a file lists them."""
        validation, test = (0.0 if isinstance(part, str) else part for part in (self.validation, self.test))
        return validation, test

    @property
    def lists(self) -> dict[SplitName, str]:
        """The files that list a split."""
        named: tuple[tuple[SplitName, float | str], ...] = (("validation", self.validation), ("test", self.test))
        return {name: part for name, part in named if isinstance(part, str)}

    def deal(self, group: str) -> SplitName:
        """Say in which split a group falls by its hash."""
        validation, test = self.shares
        place = int.from_bytes(hashlib.blake2b(f"{self.seed}/{group}".encode(), digest_size=8).digest(), "big")
        return "validation" if place < validation * 2**64 else "test" if place >= (1 - test) * 2**64 else "train"


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
    keep: Keep | None = None
    """Which frames that pass the checks are stored: a filter, or an expression; the others are in `rejected.jsonl` as "not kept"."""
    split: SplitSpec = SplitSpec(test=0.1)
    """What is held out."""
    isolated_atoms: Annotated[dict[str, float], AfterValidator(check_atoms)] = {}
    """Energies of free atoms by this theory, as {Si: -0.81}, eV: reference energies, where the sources have none."""
    allow_theory: list[str] = []
    """Why files whose theories differ may be in this dataset."""
    known_defects: list[str] = []
    """What is wrong with it, as known."""
    notes: list[str] = []
    """Anything else, facts only."""

    later = ("isolated_atoms", "allow_theory", "keep")

    @model_validator(mode="after")
    def _keeps_by_what_is_known(self) -> Card:
        if self.keep is not None and "references" in self.keep.columns:
            raise ValueError("`keep` of a card knows no `energy_above_references`, which are fitted to what it keeps: say it in a mixture")
        kept = {key for source in self.sources for key in source.info}
        if self.keep is not None and (unknown := sorted(self.keep.keys - kept)):
            raise ValueError(f"`keep` asks for {unknown[0]!r}, which no source keeps: add `info: [{unknown[0]}]` to a source")
        return self


TaskName = Annotated[str, AfterValidator(known_task)]


class TaskSpec(Spec):
    """One dataset feeding one head of a mixture."""

    head: Name
    """Output branch of the model; several datasets may feed one head if their theories agree."""
    dataset: Name
    """Name of a card."""
    task: TaskName
    """Learn energies, forces and virials (energy_force); undo noise and masks (denoise); or a kind that was added by an entry point."""
    weight: float = Field(default=1.0, ge=0)
    """Share of the training: a task is drawn with probability weight / sum of weights; one of weight 0 is measured, and never drawn."""
    augment: Augmentation = None
    """Noise, masks and transformations put on as frames are read; or a preset for denoising: `openlam-2024`, as the report's public code
    had it, or `lam-2026`, ours."""
    allow_theory: list[str] = []
    """Why this dataset may share its head although its theory differs."""
    references: Literal["fitted", "isolated"] = "fitted"
    """Reference energies: fitted to the training frames, or those of the dataset's isolated atoms."""
    view: Name | None = None
    """Only the frames that `lamdata select` gave this name in the store."""
    keep: Keep | None = None
    """Only frames that pass a filter, or of which an expression is true, of those of the view where there is one."""
    store: str | None = None
    """Another store that holds the dataset, relative to this file, or `registry://NAME@VERSION`; by default that of the training."""

    later = ("references", "view", "keep", "store")

    @property
    def data(self) -> str:
        """What it trains on, as a name: the dataset, the view of it, and what is kept of that."""
        return (self.view or self.dataset) + (f" ({self.keep.words})" if self.keep is not None else "")

    @model_validator(mode="after")
    def _denoise_has_something_to_undo(self) -> TaskSpec:
        noisy = self.augment is not None and (self.augment.noise is not None or self.augment.mask is not None)
        if self.task == "denoise" and self.references == "isolated":
            raise ValueError("a denoise head has no energies: `references` are of energy_force")
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

    @model_validator(mode="after")
    def _something_is_drawn(self) -> Mixture:
        if not any(task.weight for task in self.heads):
            raise ValueError("all weights are 0: nothing would be trained")
        return self


@dataclass(frozen=True, slots=True)
class Catalog:
    """All cards and mixtures of a folder, by name, with the file each stands in; a card and a mixture may have one name."""

    cards: dict[str, Card]
    mixtures: dict[str, Mixture]
    files: dict[str, Path]  # of cards
    mixture_files: dict[str, Path]

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
    mixture_files: dict[str, Path] = {}
    places: dict[str, Places] = {}
    for file in _yaml_files(path):
        try:
            spec, where = _read_any(file)
        except ConfigError as err:
            errors += err.errors
            continue
        if spec is None:
            continue
        name = spec.dataset if isinstance(spec, Card) else spec.mixture
        known = files if isinstance(spec, Card) else mixture_files
        if name in known:
            errors.append(ConfigError(f"{name!r} is defined twice, also in {known[name]}", where=f"{file}:1:1"))
        known[name] = file
        if isinstance(spec, Card):
            cards[name] = spec
        else:
            mixtures[name], places[name] = spec, where
    if not errors:
        for name, mixture in mixtures.items():
            errors += _mixture_errors(mixture, cards, mixture_files[name], places[name])
    if errors:
        raise ConfigErrors(errors)
    return Catalog(cards, mixtures, files, mixture_files)


def open_mixture(path: str | Path) -> tuple[Mixture, Catalog]:
    """Read one mixture file and the cards beside it."""
    catalog = open_catalog(path)
    for name, mixture in catalog.mixtures.items():
        if catalog.mixture_files[name] == Path(path):
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


def _read_any(file: Path) -> tuple[Card | Mixture | None, Places]:
    data, places = read_yaml(file)
    kind = next(iter(data), None) if isinstance(data, dict) else None
    if kind == "dataset":
        return validate(data, Card, where=str(file), places=places), places
    if kind == "mixture":
        return validate(data, Mixture, where=str(file), places=places), places
    if kind not in ("results", "train", "distil", "process", "benchmark", "hull", "submission"):
        raise ConfigError("the first key says what a file is: `dataset:` (a card) or `mixture:`", where=f"{file}:1:1")
    return None, places


def _mixture_errors(mixture: Mixture, cards: dict[str, Card], file: Path, places: Places) -> list[ConfigError]:
    """Datasets that do not exist, heads with two tasks, theories that do not agree."""
    errors = []
    first: dict[str, TaskSpec] = {}
    for i, task in enumerate(mixture.heads):
        where = spot_of(("heads", i, "dataset"), places, where=str(file))
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
