"""A faster model of a finished one: compress."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lamdata.command import local_path, print_json, table
from lamdata.errors import need

from ..completion import datasets
from .app import Json, Quiet, app


@app.command(epilog="Example: lamtrain compress runs/student/best.pt md.extxyz -o fast.pt --tolerance 1e-5")
def compress(
    model: Annotated[Path, typer.Argument(help="Checkpoint of a `dpa1` model, as `model: {size: student}` trains.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint to write.", callback=local_path)],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Frames to compare on: files in any format, or a store with --dataset; by default held-out ones of its training."
        ),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset, where the input is a store.", autocompletion=datasets)] = None,
    split: Annotated[Literal["train", "validation", "test"] | None, typer.Option(help="Part of the dataset; by default all of it.")] = None,
    format: Annotated[str, typer.Option(help="Format of the files; auto recognises each.")] = "auto",
    tolerance: Annotated[
        float, typer.Option(min=1e-12, help="Largest deviation on these frames: energy eV/atom, forces eV/Å, virial eV/atom.")
    ] = 1e-5,
    frames: Annotated[int, typer.Option(min=1, help="How many of them, at most.")] = 32,
    closest: Annotated[
        float | None, typer.Option(min=1e-3, help="How close atoms come, Å; by default half the shortest distance of the frames.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put tables in place of the embedding net of a DPA-1, as coarse as the tolerance allows; the file is used like any other, and not trained.

    Closer than `--closest` the tables go on in a line, and whoever asks is told how often. Says error, time and memory of both.
    """
    need("torch", extra="train")
    from ..checkpoint import load
    from ..prediction.source import open_source
    from ..stages.compress import compress as run
    from ..stages.sample import sample_of_source, sample_of_training

    if inputs:
        sample = sample_of_source(open_source(inputs, dataset=dataset, split=split, format=format, quiet=quiet), frames)
    else:
        sample = sample_of_training(load(model), model, frames)
    done = run(model, output, sample, tolerance=tolerance, closest=closest, quiet=quiet)
    print_json(done) if json else _print(done)


def _print(done: dict[str, Any]) -> None:
    columns = ["step", "intervals", "table KiB", "energy eV/atom", "forces eV/Å", "virial eV/atom"]
    rows = [[t["step"], t["intervals"], t["table_bytes"] // 1024, t["energy"], t["forces"], t["virial"]] for t in done["tried"]]
    table(f"wrote {done['written']}: largest deviations on {done['frames']['of']}", columns, rows)
    names = ("with nets", "with tables")
    costs = [
        [
            name,
            c["microseconds_per_atom"],
            None if c["peak_bytes_per_atom"] is None else c["peak_bytes_per_atom"] / 1024,
            c["weights_bytes"] // 1024,
        ]
        for name, c in zip(names, done["costs"])
    ]
    table(f"cost, {done['costs'][0]['threads']} threads", ["", "µs an atom", "peak KiB an atom", "weights KiB"], costs)
