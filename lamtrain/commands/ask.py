"""What a model says and is: test, predict, label, show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from lamdata.command import local_path, print_json, table
from lamdata.errors import ConfigError, DataError, need

from ..completion import datasets, heads
from .app import Device, Json, Quiet, app


@app.command(epilog="Example: lamtrain test runs/quickstart/best.pt stores/quickstart.zarr")
def test(
    model: Annotated[Path, typer.Argument(help="Checkpoint.")],
    store: Annotated[str, typer.Argument(help="Store with the held-out frames.")],
    head: Annotated[str | None, typer.Option(help="One head only.", autocompletion=heads)] = None,
    dataset: Annotated[str | None, typer.Option(help="Another dataset of the store for that head.", autocompletion=datasets)] = None,
    split: Annotated[
        Literal["test", "validation"], typer.Option(help="Frames that chose nothing, or those that chose the checkpoint.")
    ] = "test",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for test.json and the pictures; by default the model's, or one in it for a part.",
            callback=local_path,
        ),
    ] = None,
    max_force_rmse: Annotated[float | None, typer.Option(help="Fail when a head's force RMSE is above this, meV/Å.")] = None,
    properties: Annotated[
        str | None, typer.Option(help="What crystals are like by the model, beside its errors; some of: eos,elastic,phonon,vacancy,nve.")
    ] = None,
    structures: Annotated[
        list[str] | None,
        typer.Option(help="Crystals to measure (repeat for more); by default each head's held-out crystal of the lowest energy by atom."),
    ] = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure errors on the test groups, head by head, beside the spread of the labels; write test.json and pictures."""
    from ..properties.measure import chosen

    wanted = None if properties is None else chosen(properties)
    if structures and not wanted:
        raise ConfigError("structures to measure no property of", where="--structures", hint="name some with --properties")
    need("torch", extra="train")
    if wanted and "phonon" in wanted:
        need("phonopy", extra="properties")
    from ..device import device_of
    from ..evaluation.report import table_of, test_model

    place, crystals = device_of(device), None
    if structures:
        from ..properties.report import read_structures

        crystals = read_structures(structures)
    part = "-".join([split, *filter(None, (head, dataset))])  # the table of the run is of all its heads on their own datasets
    folder = output or (model.parent if part == "test" else model.parent / part)
    result = test_model(model, store, output=folder, head=head, dataset=dataset, split=split, device=place, quiet=quiet)
    if not json:
        table(f"{split} groups", *table_of(result))
    if wanted:
        from ..properties.report import add_properties, failures, table_of_properties

        result = add_properties(
            result,
            model,
            store,
            output=folder,
            properties=wanted,
            structures=crystals,
            dataset=dataset,
            split=split,
            device=place,
            quiet=quiet,
        )
        if not json:
            table("crystals", *table_of_properties(result["properties"]))
        if failed := failures(result["properties"]):
            raise DataError(f"not measured: {'; '.join(failed)}", where=str(model), result=result)
    limit = max_force_rmse or float("inf")
    worst = {
        h: row["force_rmse_mev_per_angstrom"] for h, row in result["heads"].items() if row.get("force_rmse_mev_per_angstrom", 0) > limit
    }
    if worst:
        above = ", ".join(f"{head} {value:.1f}" for head, value in worst.items())
        raise DataError(f"force RMSE above {limit} meV/Å: {above}", where=str(model), result=result)
    if json:
        print_json(result)


@app.command(epilog="Example: lamtrain predict runs/copper/best.pt 'relaxed/*/vasprun.xml' -o predicted.extxyz")
def predict(
    model: Annotated[Path, typer.Argument(help="Checkpoint.")],
    inputs: Annotated[
        list[str], typer.Argument(help="Files, folders, globs or archives in any format that is read; or a store with --dataset.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Extended XYZ (.extxyz) or store (.zarr) to write; what else is written stands beside it.",
            callback=local_path,
        ),
    ],
    head: Annotated[str | None, typer.Option(help="Head to ask; needed where several give energies.", autocompletion=heads)] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset, where the input is a store.", autocompletion=datasets)] = None,
    split: Annotated[Literal["train", "validation", "test"] | None, typer.Option(help="Part of the dataset; by default all of it.")] = None,
    format: Annotated[str, typer.Option(help="Format of the files; auto recognises each.")] = "auto",
    refit_references: Annotated[
        str | None,
        typer.Option(help="Labelled frames that shift the energies by element, for labels of another reference; they are not scored."),
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="Frames to name and write, worst by forces and worst by energy.")] = 10,
    dtype: Annotated[Literal["float64", "float32"] | None, typer.Option(help="Precision; by default the model's own.")] = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write energies (eV), forces (eV/Å) and virials (eV) of structures; where these have labels, errors by frame, element and group.

    Beside NAME.extxyz or NAME.zarr: NAME.json (the summary), NAME.rejected.jsonl (frames that were refused, and why), and with labels
    NAME.frames.csv, NAME.groups.csv, NAME.worst.extxyz, and the pictures NAME.parity.png and NAME.worst.png.
    """
    need("torch", extra="train")
    from ..prediction.model import load_model
    from ..prediction.run import predict_files
    from ..prediction.source import open_source
    from ..prediction.tables import print_summary

    source = open_source(inputs, dataset=dataset, split=split, format=format, quiet=quiet)
    refit = None if refit_references is None else open_source([refit_references], dataset=None, split=None, format="auto", quiet=True)
    summary = predict_files(load_model(model, device=device, dtype=dtype), source, output, head=head, refit=refit, worst=worst)
    print_json(summary) if json else print_summary(summary)


@app.command(epilog="Example: lamtrain label runs/copper/best.pt 'md/*.extxyz' --into stores/mine.zarr --dataset copper-predicted")
def label(
    model: Annotated[Path, typer.Argument(help="Checkpoint.")],
    inputs: Annotated[
        list[str], typer.Argument(help="Files, folders, globs or archives in any format that is read; or a store with --from-dataset.")
    ],
    into: Annotated[str, typer.Option(help="Folder or URL of the store to write to.")],
    dataset: Annotated[str, typer.Option(help="Name of the new dataset.")],
    head: Annotated[str | None, typer.Option(help="Head to ask; needed where several give energies.", autocompletion=heads)] = None,
    from_dataset: Annotated[
        str | None,
        typer.Option(help="Dataset or view to label, where the input is a store; frames keep their split.", autocompletion=datasets),
    ] = None,
    split: Annotated[Literal["train", "validation", "test"] | None, typer.Option(help="Part of it; by default all of it.")] = None,
    format: Annotated[str, typer.Option(help="Format of the files; auto recognises each.")] = "auto",
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of other frames under that name.")] = False,
    dtype: Annotated[Literal["float64", "float32"] | None, typer.Option(help="Precision; by default the model's own.")] = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Store what a model predicts as a dataset, to train on or to export. Its card says which model and head; its theory is none that was computed."""
    need("torch", extra="train")
    from ..prediction.label import label as run
    from ..prediction.model import load_model
    from ..prediction.source import open_source
    from ..prediction.tables import print_labelled

    source = open_source(inputs, dataset=from_dataset, split=split, format=format, quiet=quiet, option="--from-dataset")
    summary = run(load_model(model, device=device, dtype=dtype), source, into, dataset=dataset, head=head, replace=replace)
    print_json(summary) if json else print_labelled(summary)


@app.command(epilog="Example: lamtrain show runs/quickstart/best.pt --cite")
def show(
    model: Annotated[Path, typer.Argument(help="Checkpoint.")],
    cite: Annotated[bool, typer.Option("--cite", help="Print what to cite.")] = False,
    names: Annotated[bool, typer.Option("--names", help="List its parameters, as `start.train` and `start.lr_scale` name them.")] = False,
    json: Json = False,
) -> None:
    """Show what a model is and what it was trained on: heads, theories, licences, data."""
    need("torch", extra="train")
    from ..evaluation.modelcard import citations, describe, parameters_of, print_card

    card = describe(model)
    if json:
        print_json(card | {"citations": citations(card)} | ({"parameters": parameters_of(model)} if names else {}))
    elif names:
        print("\n".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in parameters_of(model).items()))
    elif cite:
        print("\n".join(citations(card)))
    else:
        print_card(card)
