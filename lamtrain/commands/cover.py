"""Stages on finished models: cover."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from lamdata.command import local_path, print_json
from lamdata.errors import DataError, need

from ..completion import heads
from .app import Device, Json, Quiet, app


@app.command(epilog="Example: lamtrain cover runs/copper/best.pt 'md/*.extxyz' --worth 50")
def cover(
    model: Annotated[Path, typer.Argument(help="Checkpoint.")],
    inputs: Annotated[
        list[str], typer.Argument(help="Files, folders, globs or archives in any format that is read; or a store and one of its datasets.")
    ],
    head: Annotated[
        str | None,
        typer.Option(
            help="Head to ask; needed for files where several give energies; of a dataset, by default the one whose theory is nearest.",
            autocompletion=heads,
        ),
    ] = None,
    split: Annotated[Literal["train", "validation", "test"] | None, typer.Option(help="Part of the dataset; by default all of it.")] = None,
    format: Annotated[str, typer.Option(help="Format of the files; auto recognises each.")] = "auto",
    training: Annotated[
        str | None,
        typer.Option(help="Store with the model's training data: their copies are counted; a checkpoint without a sketch gets one."),
    ] = None,
    worth: Annotated[int | None, typer.Option(min=1, help="List so many frames that are worth labelling, in cover.worth.txt.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write to; by default one beside the model.", callback=local_path)
    ] = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say whether what a model was trained on covers some frames, labelled or not: covered (exit code 0), partly or not (1), by which numbers and frames.

    Writes cover.json, cover.md, cover.map.png, cover.scores.png, cover.frames.csv (a row a frame, which `lamdata select --by` reads) and
    cover.rejected.jsonl.
    """
    need("torch", extra="train")
    from ..prediction.model import load_model
    from ..stages.cover.make import sketch_model
    from ..stages.cover.report import print_report
    from ..stages.cover.run import cover as run
    from ..stages.cover.run import open_frames

    source = open_frames(inputs, split=split, format=format, quiet=quiet)
    opened = load_model(model, device=device)
    if opened.checkpoint.cover is None and training is not None:
        sketch_model(model, training, device=device, quiet=quiet)
        opened = load_model(model, device=device)
    folder = output or model.parent / f"cover-{source.dataset.name if source.dataset else Path(inputs[0]).stem.strip('*?') or 'frames'}"
    result = run(opened, source, folder, head=head, worth=worth, store=training)
    if not json:
        print_report(result)
    if result["verdict"] != "covered":
        raise DataError(f"{result['verdict']} covered: {result['reasons'][0]}", where=source.said, result=result)
    if json:
        print_json(result)
