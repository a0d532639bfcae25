"""Preflight: what a catalog promises that is not there, and files of a card whose theories differ."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..catalog import Card, Catalog, SourceSpec
from ..errors import ConfigError, ConfigErrors, LamError
from ..sources import SourceFile, expand, folder_variable, guess_format, read_items, read_theory, reader
from .asked import AskedKeys
from .splits import read_splitter
from .theories import Theories, check_theories

SAMPLED = 20  # files of a source whose theory is read, spread over it; ingest reads all
TRIED = 3  # files of a source of which the first frame is read; where the card names keys, as many as it takes to find each of them


def missing_sources(catalog: Catalog) -> dict[str, int]:
    """Raise what cannot be read as its card says, and theories that differ; of a sample of files, remote ones not asked for.

    Nor are those in folders that an environment variable would name which is not set: return how many sources each has.
    """
    errors: list[ConfigError] = []
    for name, card in catalog.cards.items():
        errors += _of_card(card, catalog.files[name])
    if errors:
        raise ConfigErrors(errors)
    unset = (_unset(spec) for card in catalog.cards.values() for spec in card.sources)
    return Counter(variable for variable in unset if variable is not None)


def _unset(spec: SourceSpec) -> str | None:
    """The variable that would name the folder of a source, and is not set."""
    name = folder_variable(spec.path)
    return name if name is not None and name not in os.environ else None


def _of_card(card: Card, file: Path) -> Iterator[ConfigError]:
    theories, asked = Theories(), AskedKeys()
    for i, spec in enumerate(card.sources):
        where = f"{file} (sources.{i})"
        try:
            files = _look_at(card, spec, file.parent, theories)
            _look_for_keys(files, i, spec, asked)
        except LamError as err:
            inside = f"{err.where}: " if err.where else ""
            yield ConfigError(f"{inside}{err.message}", where=where, hint=err.hint)
    for i, found in asked.problems(card):
        yield ConfigError(f"{found.where}: {found.message}", where=f"{file} (sources.{i})", hint=found.hint)
    try:
        read_splitter(card, file.parent)
        check_theories(card, theories)
    except LamError as err:
        yield ConfigError(err.message, where=err.where or str(file), hint=err.hint)


def _look_at(card: Card, spec: SourceSpec, base: Path, theories: Theories) -> list[SourceFile]:
    """Find the files of one source, read the first frame of some and the theory of more; return them, the sampled ones first."""
    if spec.format != "auto":
        reader(spec.format)
    if _unset(spec) or ("://" in spec.path and not spec.path.startswith("package://")):
        return []
    files = expand(spec, base=base)
    sampled = _spread(files, SAMPLED)
    for number, file in enumerate(sampled):
        use = reader(guess_format(file) if spec.format == "auto" else spec.format)
        stated = read_theory(file, use=use)
        if conflicts := card.theory.conflicts(stated):
            raise ConfigError(
                f"theory differs from the card: {'; '.join(conflicts)}", where=file.name, hint="mend the card, or leave the file out"
            )
        theories.add(file.name, stated)
        if number < TRIED:
            next(read_items(file, spec, use=use), None)
    names = {file.name for file in sampled}
    return [*sampled, *(file for file in files if file.name not in names)]


def _look_for_keys(files: list[SourceFile], number: int, spec: SourceSpec, asked: AskedKeys) -> None:
    """Read on until each key that the card names was found: only of a key that no frame has is everything read."""
    for file in files:
        if not asked.open(number, spec):
            return
        for item in read_items(file, spec):
            asked.see(number, spec, item)
            if not asked.open(number, spec):
                return


def _spread(files: list[SourceFile], count: int) -> list[SourceFile]:
    """At most `count` of them, the first and the last among them."""
    if len(files) <= count:
        return files
    return [files[round(i * (len(files) - 1) / (count - 1))] for i in range(count)]
