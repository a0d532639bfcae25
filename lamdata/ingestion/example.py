"""Example: a first catalog to edit, from nothing or guessed from raw files."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ConfigError

MIXTURE = """\
# What to train on. Check it with `lamdata check .`
mixture: {name}
heads:
  - {{head: main, dataset: {name}, task: energy_force, weight: 1.0}}
"""
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
split: {validation: 0.1, seed: 0}
"""


def write_example(folder: Path, *, from_files: list[Path]) -> list[Path]:
    """Write a card, named as the folder, and a mixture into `folder`; nothing that is there is overwritten."""
    from .propose import propose_card

    folder = Path(folder)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._") or "example"
    card = propose_card(from_files, base=folder) if from_files else CARD
    files = {
        folder / f"{name}.yaml": re.sub(r"(?m)^dataset: .*$", f"dataset: {name}", card),
        folder / "mixture.yaml": MIXTURE.format(name=name),
    }
    for path in files:
        if path.exists():
            raise ConfigError("there is such a file already", where=str(path), hint="choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text)
    return list(files)
