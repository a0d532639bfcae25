"""What a shell offers when Tab is pressed on a line of `lamtrain`: heads of the model, datasets of the store, stages of the process that stand earlier on it.

Heads are read out of the checkpoint without torch, whose import alone takes longer than a Tab may.
"""

from __future__ import annotations

import typer

from lamdata.completion import local, names_in, saved_names, silent, typed, words


@silent
def heads(ctx: typer.Context, incomplete: str) -> list[str]:
    """Heads of the model that stands earlier on the line."""
    return saved_names(typed(ctx)["model"], "heads")


@silent
def datasets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Datasets and views of the store on the line: an argument, an option, or the first of the inputs."""
    line = typed(ctx)
    inputs = line.get("inputs") or [None]
    return names_in(line.get("store") or line.get("to") or inputs[0])


@silent
def stages(ctx: typer.Context, incomplete: str) -> list[str]:
    """Stages of the process on the line, in their order."""
    from lamdata.located import read_yaml

    data, _ = read_yaml(local(typed(ctx)["process"]))
    return words(data["stages"])
