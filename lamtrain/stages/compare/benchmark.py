"""Benchmark: a YAML file that says which frames of which datasets models are measured on, and how; torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from lamdata.fields import Name, SplitName
from lamdata.located import Spec, read_yaml, validate

from .names import check_metrics

Label = Literal["energy", "force", "virial"]


class MeasuredSpec(Spec):
    """A task: frames of one dataset."""

    task: Name
    """Its name; a submission has predictions under it."""
    dataset: Name
    """Dataset, or view, of the store."""
    split: SplitName = "test"
    """Frames that are measured."""
    frames: int = Field(default=1000, ge=1)
    """So many of them at most, the first: a store is shuffled."""
    fitted: int = Field(default=200, ge=1)
    """So many training frames at most, the first, give the energies of elements: those of the guess, and the references of a model."""
    domain: Name = "general"
    """Tasks of one domain are averaged before domains are; `all` is their mean."""
    contents: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """sha256 of these frames with their labels, as `lamtrain compare` prints it; null where nothing fixes them."""

    later = ("split", "frames", "fitted", "domain", "contents")

    @model_validator(mode="after")
    def _all_is_no_domain(self) -> MeasuredSpec:
        if self.domain == "all":
            raise ValueError("`all` is the mean of the domains: give it another name")
        return self


class PublishedSpec(Spec):
    """Numbers that others published on the same frames; they are shown, and never ranked."""

    name: str
    """Of the model."""
    source: str
    """Who says so."""
    tasks: Annotated[dict[str, dict[str, float]], AfterValidator(check_metrics)]
    """Task -> name of an error -> its value."""


class Benchmark(Spec):
    """What models are compared on."""

    benchmark: Name
    """Its name."""
    title: str = ""
    """One line for people."""
    version: str = "1"
    """Raised when what is measured changes: numbers of two versions are not compared."""
    store: str
    """Store that holds the datasets: a path relative to this file, a URL, or `registry://NAME@VERSION`."""
    labels: list[Label] = Field(default=["energy", "force", "virial"], min_length=1)
    """What is measured, where frames have it."""
    references: Literal["fitted", "own"] = "fitted"
    """Energies of a model get a shift by element, fitted to the training frames that `fitted` says, which it then must predict as well; or are
    compared as they are."""
    tasks: list[MeasuredSpec] = Field(min_length=1)
    """Tasks."""
    published: list[PublishedSpec] = []
    """What others published on these frames."""
    citations: list[str] = []
    """What to cite."""
    notes: list[str] = []
    """Anything else, facts only."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Benchmark:
        names = [task.task for task in self.tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two tasks are called {', '.join(twice)}")
        if unknown := sorted({name for row in self.published for name in row.tasks} - set(names)):
            raise ValueError(f"`published` has numbers of {', '.join(unknown)}, which is no task")
        return self


def read_benchmark(path: str | Path) -> Benchmark:
    """Read a benchmark, its store as seen from here; all mistakes at once."""
    path = Path(path)
    data, places = read_yaml(path)
    benchmark = validate(data, Benchmark, where=str(path), places=places)
    store = benchmark.store
    return benchmark if "://" in store else benchmark.model_copy(update={"store": str(path.parent / store)})
