"""What is done with a finished model: transfer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamdata.command import local_path, print_json
from lamdata.errors import ConfigError, DataError, need
from lamdata.interrupts import interrupts_held

from ..completion import datasets as datasets_of
from ..completion import heads
from .app import Device, Json, Quiet, app


@app.command(epilog="Example: lamtrain transfer runs/copper/best.pt --to stores/mine.zarr alloy --sizes 10,30,100 --seeds 3")
def transfer(
    model: Annotated[Path, typer.Argument(help="Checkpoint.")],
    datasets: Annotated[list[str], typer.Argument(help="Datasets, or views, of the store.", autocompletion=datasets_of)],
    to: Annotated[str, typer.Option(help="Store with the datasets; nothing is written to it.")],
    head: Annotated[
        str | None, typer.Option(help="Head of the model that is taken over; by default by elements, then by theory.", autocompletion=heads)
    ] = None,
    curves: Annotated[bool, typer.Option("--curves/--no-curves", help="Train, or only measure the model as it is.")] = True,
    sizes: Annotated[
        str | None, typer.Option(help="Training frames of the curves, as 10,30,100; by default these and on to 1,000, as far as there are.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Draws of frames, each with weights and batches of its own.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Steps by which fine-tuned and from scratch are compared.")] = 100,
    most_steps: Annotated[
        int, typer.Option(min=1, help="Steps of the longest run, if its half has not converged; each is twice as long as the one before.")
    ] = 1600,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change one key of all trainings, as key.path=value (repeat for more).")
    ] = None,
    properties: Annotated[
        str | None, typer.Option(help="What a crystal is like by each model; some of: eos,elastic,phonon,vacancy,nve.")
    ] = None,
    structures: Annotated[
        list[str] | None,
        typer.Option(help="Crystals to measure (repeat for more); by default the test frame of the lowest energy by atom."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write; by default transfer/ beside the model.", callback=local_path),
    ] = None,
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of a CPU, of a new folder; by default all that may be used.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure how far a model carries over to other data: as it is, and fine-tuned beside a model from scratch, by frames and by steps.

    Writes transfer.json, transfer.md and pictures, and each run in a folder of its own. A finished run is not done again; stopped anywhere, the
    same command goes on with the same bits. As it is, energies get references fitted to training frames, and again as LAMBench fits them.
    """
    from ..properties.measure import chosen
    from ..stages.transfer.arms import check_overrides

    wanted = [] if properties is None else chosen(properties)
    if structures and not wanted:
        raise ConfigError("structures to measure no property of", where="--structures", hint="name some with --properties")
    check_overrides(set_ or [])
    numbers = numbers_of(sizes) if sizes else []
    with interrupts_held():
        need("torch", extra="train")
        if "phonon" in wanted:
            need("phonopy", extra="properties")
        from ..properties.report import failures, read_structures
        from ..stages.transfer.curves import Plan
        from ..stages.transfer.report import print_report
        from ..stages.transfer.transfer import transfer as run
    plan = Plan(
        sizes=numbers, seeds=range(seeds), steps=steps, most_steps=max(most_steps, steps), overrides=set_ or (), threads=threads or 0, device=device
    )  # fmt: skip
    folder = output or model.parent / "transfer"
    crystals = read_structures(structures) if structures else None
    result = run(
        model, to, datasets, out=folder, head=head, plan=plan if curves else None, properties=wanted, structures=crystals,
        device=device, quiet=quiet,
    )  # fmt: skip
    if not json:
        print_report(result, folder)
    failed = [line for target in result["datasets"].values() for line in failures(target["properties"])]
    if failed:
        raise DataError(f"not measured: {'; '.join(failed)}", where=str(model), result=result)
    if json:
        print_json(result)


def numbers_of(text: str) -> list[int]:
    """Numbers of frames, separated by commas."""
    try:
        found = [int(part) for part in text.split(",")]
        if min(found) < 1:
            raise ValueError
    except ValueError:
        raise ConfigError(f"{text!r} are no numbers of frames", where="--sizes", hint="as 10,30,100") from None
    return found
