"""Example: a first catalog to edit, from nothing or guessed from raw files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError
from .propose import ProposedCard, propose_cards

MIXTURE = """\
# What to train on. Check it with `lamdata check .`
mixture: {name}
heads:
{heads}
"""
ENERGY_FORCE = "  - {{head: {head}, dataset: {name}, task: energy_force, weight: 1.0{more}}}"
DENOISE = """\
  - head: {head}
    dataset: {name}
    task: denoise  # its frames have no labels
    weight: 1.0
    augment:
      supercell: {{max_atoms: 32}}  # in a cell of one atom a displacement is a translation: nothing to undo
      noise: {{kind: gaussian, scale: 0.3, probability: 0.15, min_distance: 0.8}}
      mask: {{probability: 0.15}}"""
CARD = """\
# What a dataset is. Everything that is not known stays null. Check it with `lamdata check .`
dataset: example
title: One line for people
contributors: []
citations: []
doi: null
license: null
theory: {code: null, functional: null, core: null, cutoff: null, dispersion: null, hubbard_u: null, spin: null}
sources:
  - path: frames.xyz
    format: extxyz
    units: {energy: "eV?", length: "Angstrom?", force: "eV/Angstrom?"}  # guesses: take the question marks away where they are right
split: {validation: 0.1, test: 0.1, seed: 0}
"""


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, and what a person must know of the files it was guessed from."""

    files: list[Path]
    notes: list[str]


def write_example(folder: Path, *, from_files: list[Path], name: str | None = None) -> Written:
    """Write a card for each theory and a mixture into `folder`, named after it or by `name`; nothing that is there is overwritten."""
    folder = Path(folder)
    name = name or re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._") or "example"
    nothing = ProposedCard(text=CARD, words="", structures=False, notes=())
    cards = propose_cards(from_files, base=folder) if from_files else [nothing]
    names = list(_names(name, cards))
    files = {folder / f"{one}.yaml": re.sub(r"(?m)^dataset: .*$", f"dataset: {one}", card.text) for one, card in zip(names, cards)}
    heads = (
        (DENOISE if card.structures else ENERGY_FORCE).format(
            head=one if len(cards) > 1 else "main", name=one, more=", references: isolated" if card.isolated else ""
        )
        for one, card in zip(names, cards)
    )
    files[folder / "mixture.yaml"] = MIXTURE.format(name=name, heads="\n".join(heads))
    for path in files:
        if path.exists():
            raise ConfigError("there is such a file already", where=str(path), hint="choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text)
    return Written(list(files), [f"{one}: {note}" for one, card in zip(names, cards) for note in card.notes])


def _names(name: str, cards: Sequence[ProposedCard]) -> Iterator[str]:
    """The folder's name for one card; for several, with what tells them apart."""
    used = {"mixture"}
    for number, card in enumerate(cards):
        word = re.sub(r"[^A-Za-z0-9]+", "-", card.words).strip("-")
        wanted = f"{name}-{word}" if len(cards) > 1 and word else name
        chosen = wanted if wanted not in used else f"{wanted}-{number + 1}"
        used.add(chosen)
        yield chosen
