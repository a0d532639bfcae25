"""Models beside each other: compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamdata.command import local_path, print_json
from lamdata.errors import need

from .app import Device, Json, Quiet, app


@app.command(epilog="Example: lamtrain compare runs/a/best.pt runs/b/best.pt theirs --on catalogs/benchmarks/mlearn.yaml -o compared")
def compare(
    on: Annotated[Path, typer.Option(help="Benchmark.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", callback=local_path)],
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Checkpoints, and folders with submissions; without any, only the structures to predict are written."),
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="Store with the benchmark's datasets, where it is not the one that the file names.")
    ] = None,
    training: Annotated[
        list[str] | None, typer.Option(help="Store in which to look for what models were trained on, besides (repeat for more).")
    ] = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rank models on a benchmark by errors that are computed here, of predictions of checkpoints and of what others hand in.

    Writes compare.html (needs no other file), compare.json, compare.csv, ranks.png, the structures without labels (asked/) and what checkpoints
    predicted of them (submissions/). Claims change nothing, and are named where they differ; missing frames, labels or tasks count as the guess
    that needs no model; measured frames that are copies of training frames are counted.
    """
    from ..stages.compare.benchmark import read_benchmark

    benchmark = read_benchmark(on)
    need("torch", extra="train")
    from ..stages.compare.report import print_report
    from ..stages.compare.run import compare as run

    result = run(models or [], benchmark, output, where=str(on), store=store, training=training or [], device=device, quiet=quiet)
    print_json(result) if json else print_report(result, output)
