"""Raw files and a pre-trained model -> a process that makes a fast model of what is in the files: what `lamtrain init --process` writes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lamdata import open_card, write_example
from lamdata.errors import ConfigError
from lamdata.located import read_yaml

from ...files import replace_file
from ..integrate.found import is_card, name_of
from .kinds import KINDS
from .words import parser_of

STAGES = {
    "integrate": """\
    # What is in the files, what of it the pool has, whether the model's training covers it, and how it is trained on.
    kind: integrate
    files: [{card}]
{pool}    model: {model}
    steps: {steps}""",
    "zero-shot": """\
    # How good is the model as it is?
    kind: transfer
    model: {model}
    to: ${{integrate.store}}
    datasets: [{name}]
    curves: false""",
    "recipe": """\
    # A training config that begins with the model.
    kind: init
    mixture: ${{integrate.alone}}
    store: ${{integrate.store}}
    from: {model}
    steps: {steps}""",
    "fine-tune": """\
    kind: train
    config: ${{recipe.config}}""",
    "test": """\
    # Errors on frames that chose nothing.
    kind: test
    model: ${{fine-tune.best}}
    store: ${{integrate.store}}""",
    "distil": """\
    # A small model that imitates it, for dynamics at these temperatures.
    kind: distil
    config:
      teacher: ${{fine-tune.best}}
      structures: ["${{integrate.store}}"]
      temperatures: [300]  # K
      test: {{store: "${{integrate.store}}", dataset: {name}}}""",
    "compress": """\
    # The same with tables for its nets.
    kind: compress
    model: ${{distil.best}}
    inputs: ["${{integrate.store}}"]
    dataset: {name}""",
}
NEEDS = {"compress": "distil"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written, and what was not put in."""

    files: list[Path]
    notes: list[str]


def write_process(path: Path, files: Sequence[str], *, model: Path, pool: tuple[Path, str] | None, steps: int) -> Written:
    """Write a process, and the card of its files unless one is given; raises ConfigError where files are of several theories."""
    if path.exists():
        raise ConfigError("there is such a file already", where=str(path), hint="choose another with -o")
    given = len(files) == 1 and is_card(files[0])
    written = [] if given else write_example(path.parent / "data", from_files=[Path(file) for file in files], name=name_of(files[0])).files
    cards = [Path(files[0])] if given else [file for file in written if file.name != "mixture.yaml"]
    if len(cards) > 1:
        found = f"the files are of {len(cards)} theories or kinds: {', '.join(map(str, cards))}"
        raise ConfigError(found, where="--process", hint="confirm the card that it is about, and give that alone")
    data, _ = read_yaml(cards[0])
    folder, notes = path.parent, []
    values = {
        "card": os.path.relpath(cards[0], folder),
        "name": str(data["dataset"]),
        "model": os.path.relpath(model, folder),
        "steps": steps,
        "pool": "" if pool is None else f"    into: {os.path.relpath(pool[0], folder)}\n    store: {_from(pool[1], folder)}\n",
    }
    lines = [
        "# `lamtrain run` does what is not done yet; `lamtrain run --dry-run` says what that is, and why.",
        f"process: {values['name']}",
        "stages:",
    ]
    absent: set[str] = set()
    for name, text in STAGES.items():
        kind = next(line.split()[1] for line in text.splitlines() if line.strip().startswith("kind:"))
        if not _is_there(kind) or NEEDS.get(name) in absent:
            absent.add(name)
            notes.append(
                f"no stage {name}: this lamtrain has no `{KINDS[kind].command}`"
                if not _is_there(kind)
                else f"no stage {name}: there is no {NEEDS[name]}"
            )
            continue
        lines += [f"  {name}:", text.format(**values)]
    replace_file(path, ("\n".join(lines) + "\n").encode())
    try:
        open_card(cards[0])
    except ConfigError as err:
        notes += [f"to be confirmed first: {one}" for one in err.errors]
    return Written(files=[*written, path], notes=notes)


def _from(store: str, folder: Path) -> str:
    return store if "://" in store else os.path.relpath(store, folder)


def _is_there(kind: str) -> bool:
    try:
        parser_of(KINDS[kind].command)
    except ConfigError:
        return False
    return True
