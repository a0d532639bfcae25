"""From a mixture to a model: init, train, plan."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lamdata.command import local_path, print_json
from lamdata.errors import ConfigError, need
from lamdata.interrupts import interrupts_held

from .app import Device, Json, Quiet, app

if TYPE_CHECKING:
    from ..config import TrainConfig


@app.command(epilog="Example: lamtrain init catalogs/quickstart/mixture.yaml --store stores/quickstart.zarr -o train.yaml")
def init(
    mixture: Annotated[Path | None, typer.Argument(help="Mixture file.")] = None,
    store: Annotated[str | None, typer.Option(help="Store that holds, or will hold, the datasets.")] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", help="Checkpoint to start from; or, instead of a mixture, DeePMD-kit's input.json.")
    ] = None,
    replay: Annotated[
        str | None, typer.Option(help="Store of the data that the --from model was trained on, where it is another than --store.")
    ] = None,
    process: Annotated[
        list[str] | None,
        typer.Option(help="Raw files, or their card (repeat for more): write a process that makes a fast model of them with --from."),
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
    store has the data that the model was trained on, a mixture is written in which its heads are trained along. With --process the way from raw
    files to a fine-tuned, small, fast model is written, for `lamtrain run`; the mixture and the store are then the pool to compare with.
    """
    if process:
        write_stages(mixture, store, from_, process, output, steps=steps, json=json)
        return
    if store is None:
        raise ConfigError("Missing option '--store'", where="lamtrain init", hint="lamtrain init --help")
    from lamdata.catalog import open_mixture

    from ..proposed import write_config

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
        from ..deepmd import adopt_input

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


def write_stages(
    mixture: Path | None, store: str | None, model: Path | None, files: list[str], output: Path, *, steps: int, json: bool
) -> None:
    """The part of `init` that writes a process."""
    from ..stages.process.proposed import write_process

    if model is None:
        raise ConfigError("a process begins with a trained model", where="--process", hint="add --from MODEL.pt")
    if (mixture is None) != (store is None):
        raise ConfigError("a pool is a mixture and its store", where="--store", hint="give both, or neither")
    path = output if output.suffix == ".yaml" and output.name != "train.yaml" else output.with_name("process.yaml")
    written = write_process(path, files, model=model, pool=None if mixture is None or store is None else (mixture, store), steps=steps)
    if json:
        print_json({"written": [str(file) for file in written.files], "notes": written.notes})
    else:
        print("\n".join([*(f"wrote {file}" for file in written.files), *(f"note: {note}" for note in written.notes)]))


def fine_tune(mixture: Path, store: str, model: Path, replay: str | None, output: Path, *, steps: int, json: bool) -> None:
    """The part of `init` that starts from a model."""
    need("torch", extra="train")
    from lamdata.catalog import open_mixture

    from ..proposed import refuse_written, write_config
    from ..training.proposal import propose, write_replay

    refuse_written(output)
    opened, catalog = open_mixture(mixture)
    found = propose(opened, catalog, store=store, model=model, replay=replay)
    files = write_replay(mixture, opened, catalog, found.replay, store=store) if found.replay else []
    heads = {head: (source, found.reasons[head]) for head, source in found.heads.items()}
    along = {row.head: (found.olds[row.head], "goes on with the frames that it was trained on") for row in found.replay}
    used = files[0] if files else mixture
    write_config(output, name=opened.mixture, mixture=used, store=store, steps=steps, start=heads | along, model=model)
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
    from ..config import placed_in, read_config

    overrides = [*(set_ or []), *([f"train={name}"] if name else []), *([f"threads={threads}"] if threads else [])]
    checked = read_config(config, overrides=overrides)
    limit = None if time_limit is None else seconds_of(time_limit)
    with interrupts_held():
        for library in ("torch", *checked.log_to):
            need(library, extra="train" if library == "torch" else library)
        from ..stages.cover.make import sketch_run
        from ..training.trainer import train as run

    with placed_in(config, overrides=overrides):
        folder = run(checked, out=runs / checked.train, resume=resume, device=device, time_limit=limit, quiet=quiet)
    sketch_run(folder, checked, device=device, quiet=quiet)
    print_json({"run": str(folder)} | _started(folder, checked)) if json else print(f"trained: {folder}")


def _started(folder: Path, config: TrainConfig) -> dict[str, Any]:
    """What the heads of a run that began with another model were taken from; nothing for others."""
    if config.start is None:
        return {}
    from ..checkpoint import load

    return {"start": {head: row["start"] for head, row in load(folder / "last.pt").heads.items() if "start" in row}}


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
    from ..config import placed_in, read_config

    checked = read_config(config, overrides=set_)
    with interrupts_held():
        need("torch", extra="train")
        from ..planning.plan import make_plan
        from ..planning.shown import draw_plan, print_plan

    with placed_in(config, overrides=set_ or []):
        made = make_plan(checked, ranks=ranks, device=device, trial=trial, quiet=quiet)
    if output is not None:
        draw_plan(made, output)
    print_json(made) if json else print_plan(made)


def seconds_of(text: str) -> float:
    """Seconds of `HH:MM:SS`, `MM:SS` or a number of seconds."""
    try:
        parts = [float(part) for part in text.split(":")]
        if len(parts) > 3 or not all(0 <= part < math.inf for part in parts):
            raise ValueError
    except ValueError:
        raise ConfigError(f"{text!r} is no time", where="--time-limit", hint="as 1:30:00, or a number of seconds") from None
    return sum(part * 60.0**power for power, part in enumerate(reversed(parts)))
