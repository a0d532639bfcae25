"""The `lamtrain` command: parses, calls, prints; no logic. torch is imported inside the commands, after the config is known to be good."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from lamdata.command import local_path, make_app, print_json, run_app, show_version, table
from lamdata.errors import ConfigError, DataError, need
from lamdata.interrupts import interrupts_held

app = make_app("Train DPA-2 on a store of lamdata: many heads at once, energies and forces and denoising together.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version("lamtrain"), is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train DPA-2 on a store of lamdata: many heads at once, energies and forces and denoising together."""


@app.command(epilog="Example: lamtrain init catalogs/quickstart/mixture.yaml --store stores/quickstart.zarr -o train.yaml")
def init(
    store: Annotated[str, typer.Option(help="Store that holds, or will hold, the datasets.")],
    mixture: Annotated[Path | None, typer.Argument(help="Mixture file.")] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", help="Checkpoint to start from; or, instead of a mixture, DeePMD-kit's input.json.")
    ] = None,
    replay: Annotated[
        str | None, typer.Option(help="Store of the data that the --from model was trained on, where it is another than --store.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Config to write; a folder with --from.", callback=local_path)] = Path(
        "train.yaml"
    ),
    size: Annotated[Literal["tiny", "small", "medium", "large", "student"], typer.Option(help="Size of the model.")] = "small",
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = 100_000,
    json: Json = False,
) -> None:
    """Write a training config that holds only what differs from the defaults.

    With --from MODEL.pt it is a fine-tune: the model's head of each head is chosen by elements and theory, and the reason is said; where the
    store has the data that the model was trained on, a mixture is written in which its heads are trained along.
    """
    from lamdata.catalog import open_mixture

    from .proposed import write_config

    if mixture is None and (from_ is None or from_.suffix == ".pt"):
        hint = "lamtrain init --help" if from_ is None else f"lamtrain init MIXTURE --store {store} --from {from_}"
        raise ConfigError("give a mixture file or --from input.json", hint=hint)
    if mixture is not None and from_ is not None:
        fine_tune(mixture, store, from_, replay, output, steps=steps, json=json)
        return
    if replay is not None:
        raise ConfigError("there is no model whose data could be replayed", where="--replay", hint="add --from MODEL.pt")
    if from_ is not None:
        need("torch", extra="train")
        from .deepmd import adopt_input

        files, left_out = adopt_input(from_, output, store=store)
        if json:
            print_json({"written": [str(file) for file in files], "left_out": left_out})
        else:
            print("\n".join([*(f"wrote {file}" for file in files), *(f"no counterpart: {line}" for line in left_out)]))
        return
    assert mixture is not None
    opened, _ = open_mixture(mixture)
    write_config(output, name=opened.mixture, mixture=mixture, store=store, size=size, steps=steps)
    print_json({"written": str(output)}) if json else print(f"wrote {output}")


def fine_tune(mixture: Path, store: str, model: Path, replay: str | None, output: Path, *, steps: int, json: bool) -> None:
    """The part of `init` that starts from a model."""
    need("torch", extra="train")
    from lamdata.catalog import open_mixture

    from .proposed import refuse_written, write_config
    from .training.proposal import propose, write_replay

    refuse_written(output)
    opened, catalog = open_mixture(mixture)
    found = propose(opened, catalog, store=store, model=model, replay=replay)
    files = write_replay(mixture, opened, catalog, found.replay, store=store) if found.replay else []
    heads = {head: (source, found.reasons[head]) for head, source in found.heads.items()}
    along = {row.head: (found.olds[row.head], "goes on with the frames that it was trained on") for row in found.replay}
    used = files[0] if files else mixture
    write_config(output, name=opened.mixture, mixture=used, store=store, size=found.size, steps=steps, start=heads | along, model=model)
    if json:
        replayed = {row.head: row.weight for row in found.replay}
        starts = {head: {"from": source, "why": reason} for head, (source, reason) in heads.items()}
        print_json({"written": [str(output), *map(str, files)], "heads": starts, "replay": replayed, "notes": found.notes})
        return
    lines = [
        f"head {head}: from {source}: {reason}" if source != "new" else f"head {head}: new: {reason}"
        for head, (source, reason) in heads.items()
    ]
    lines += [f"head {row.head}: trained along on {row.dataset}, weight {row.weight:g}" for row in found.replay]
    print("\n".join([*lines, *(f"note: {note}" for note in found.notes), *(f"wrote {file}" for file in [output, *files])]))


@app.command(epilog="Example: lamtrain train train.yaml --set batch.frames=16")
def train(
    config: Annotated[Path, typer.Argument(help="Training config.")],
    resume: Annotated[str, typer.Option(help="auto, never, or a checkpoint.")] = "auto",
    runs: Annotated[Path, typer.Option(help="Folder of the run's folder, on this machine.", callback=local_path)] = Path("runs"),
    name: Annotated[str | None, typer.Option(help="Name of the run, instead of the config's.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change one key, as key.path=value (repeat for more).")] = None,
    device: Device = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of a CPU; by default as many as the first steps are fastest with.")
    ] = None,
    time_limit: Annotated[
        str | None, typer.Option(help="Save and stop after HH:MM:SS, or after so many seconds; the same command goes on.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train; a run that was stopped goes on by the same command, and a finished one is left alone.

    Ctrl-C, SIGTERM and SIGUSR1 stop it between two steps, saved, with exit code 130. Several GPUs or machines: `torchrun -m lamtrain train ...`;
    torchrun reports the 130 of its ranks in its own way, and ends with 1.
    """
    from .config import placed_in, read_config

    overrides = [*(set_ or []), *([f"train={name}"] if name else []), *([f"threads={threads}"] if threads else [])]
    checked = read_config(config, overrides=overrides)
    limit = None if time_limit is None else seconds_of(time_limit)
    with interrupts_held():
        for library in ("torch", *checked.log_to):
            need(library, extra="train" if library == "torch" else library)
        from .training.trainer import train as run

    with placed_in(config, overrides=overrides):
        folder = run(checked, out=runs / checked.train, resume=resume, device=device, time_limit=limit, quiet=quiet)
    if not json:
        print(f"trained: {folder}")
        return
    from .checkpoint import load

    heads = load(folder / "last.pt").heads
    started = {head: row["start"] for head, row in heads.items() if "start" in row}
    print_json({"run": str(folder)} | ({"start": started} if started else {}))


@app.command(epilog="Example: lamtrain plan train.yaml --ranks 8 -o plan.png")
def plan(
    config: Annotated[Path, typer.Argument(help="Training config.")],
    ranks: Annotated[int, typer.Option(min=1, help="Processes that share each batch; none is started.")] = 1,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change one key, as key.path=value (repeat for more).")] = None,
    trial: Annotated[bool, typer.Option("--trial/--no-trial", help="Take a few real steps on this device, for time and memory.")] = True,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Picture to write, as plan.png.", callback=local_path)] = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what a training would do before it does: how often each head is drawn and each frame seen, time, memory, bytes, lost neighbours.

    Time and memory come from a few short steps on this device, for every rank one like it; validation, checkpoints and messages between
    ranks come on top. Nothing is written but the picture.
    """
    from .config import placed_in, read_config

    checked = read_config(config, overrides=set_)
    with interrupts_held():
        need("torch", extra="train")
        from .planning.plan import make_plan
        from .planning.shown import draw_plan, print_plan

    with placed_in(config, overrides=set_ or []):
        made = make_plan(checked, ranks=ranks, device=device, trial=trial, quiet=quiet)
    if output is not None:
        draw_plan(made, output)
    print_json(made) if json else print_plan(made)


@app.command(epilog="Example: lamtrain test runs/quickstart/best.pt stores/quickstart.zarr")
def test(
    model: Annotated[Path, typer.Argument(help="Checkpoint.")],
    store: Annotated[str, typer.Argument(help="Store with the held-out frames.")],
    head: Annotated[str | None, typer.Option(help="One head only.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Another dataset of the store for that head.")] = None,
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
    from .properties.measure import chosen

    wanted = None if properties is None else chosen(properties)
    if structures and not wanted:
        raise ConfigError("structures to measure no property of", where="--structures", hint="name some with --properties")
    need("torch", extra="train")
    if wanted and "phonon" in wanted:
        need("phonopy", extra="properties")
    from .device import device_of
    from .evaluation.report import table_of, test_model

    place, crystals = device_of(device), None
    if structures:
        from .properties.report import read_structures

        crystals = read_structures(structures)
    part = "-".join([split, *filter(None, (head, dataset))])  # the table of the run is of all its heads on their own datasets
    folder = output or (model.parent if part == "test" else model.parent / part)
    result = test_model(model, store, output=folder, head=head, dataset=dataset, split=split, device=place, quiet=quiet)
    if not json:
        table(f"{split} groups", *table_of(result))
    if wanted:
        from .properties.report import add_properties, failures, table_of_properties

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
    head: Annotated[str | None, typer.Option(help="Head to ask; needed where several give energies.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset, where the input is a store.")] = None,
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
    from .prediction.model import load_model
    from .prediction.run import predict_files
    from .prediction.source import open_source
    from .prediction.tables import print_summary

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
    head: Annotated[str | None, typer.Option(help="Head to ask; needed where several give energies.")] = None,
    from_dataset: Annotated[
        str | None, typer.Option(help="Dataset or view to label, where the input is a store; frames keep their split.")
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
    from .prediction.label import label as run
    from .prediction.model import load_model
    from .prediction.source import open_source
    from .prediction.tables import print_labelled

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
    from .evaluation.modelcard import citations, describe, parameters_of, print_card

    card = describe(model)
    if json:
        print_json(card | {"citations": citations(card)} | ({"parameters": parameters_of(model)} if names else {}))
    elif names:
        print("\n".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in parameters_of(model).items()))
    elif cite:
        print("\n".join(citations(card)))
    else:
        print_card(card)


@app.command(epilog="Example: lamtrain export runs/quickstart/best.pt --store stores/quickstart.zarr --head qe-pbe -o model.pt")
def export(
    model: Annotated[Path, typer.Argument(help="Checkpoint.")],
    store: Annotated[str, typer.Option(help="Store with frames to compare on.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .pt, .dp or .yaml.", callback=local_path)],
    head: Annotated[str | None, typer.Option(help="One energy head; by default all of them.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="Held-out frames of each dataset to compare on.")] = 20,
    json: Json = False,
) -> None:
    """Write a DeePMD-kit model; refuse unless energies, forces and virials of the file are the model's."""
    need("torch", extra="train")
    from .deepmd.export_model import export_model

    deviations = export_model(model, store, output, head=head, frames=frames)
    rows = [[d.head, d.reader, d.energy, d.forces, d.virial] for d in deviations]
    if json:
        print_json(
            {"written": str(output), "deviations": [dict(zip(("head", "reader", "energy", "forces", "virial"), row)) for row in rows]}
        )
    else:
        table(f"wrote {output}", ["head", "read by", "energy eV/atom", "forces eV/Å", "virial eV/atom"], rows)


@app.command("import", epilog="Example: lamtrain import model.ckpt.pt --branch H2O_H2O-PD -o water.pt")
def import_(
    file: Annotated[Path, typer.Argument(help="DeePMD-kit model: .pt, .pth, .dp or .yaml.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint to write.", callback=local_path)],
    branch: Annotated[str | None, typer.Option(help="One branch of a multi-task model; by default all of them.")] = None,
    tebd_of: Annotated[str | None, typer.Option(help="Branch whose type-embedding projection all take, where they differ.")] = None,
    json: Json = False,
) -> None:
    """Read a DPA-2 model of DeePMD-kit into a checkpoint."""
    need("torch", extra="train")
    from .deepmd import adopt_model

    info = adopt_model(file, output, branch=branch, tebd_of=tebd_of)
    if json:
        print_json({"written": str(output), "heads": info.read, "notes": info.notes})
    else:
        print("\n".join([f"wrote {output} with heads {', '.join(info.read.values())}", *info.notes]))


def seconds_of(text: str) -> float:
    """Seconds of `HH:MM:SS`, `MM:SS` or a number of seconds."""
    try:
        parts = [float(part) for part in text.split(":")]
        if len(parts) > 3 or not all(0 <= part < math.inf for part in parts):
            raise ValueError
    except ValueError:
        raise ConfigError(f"{text!r} is no time", where="--time-limit", hint="as 1:30:00, or a number of seconds") from None
    return sum(part * 60.0**power for power, part in enumerate(reversed(parts)))


def main() -> None:
    """Entry point of `lamtrain`."""
    run_app(app)


if __name__ == "__main__":
    main()
