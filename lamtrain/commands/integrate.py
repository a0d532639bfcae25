"""Data of a user beside those of a pool: integrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamdata.command import local_path, print_json, table
from lamdata.errors import ConfigError, need

from .app import Device, Json, Quiet, app


@app.command(
    epilog="Example: lamtrain integrate 'mine/*.extxyz' --into catalogs/pool/mixture.yaml --store stores/pool.zarr -o integrated/mine"
)
def integrate(
    files: Annotated[
        list[str] | None, typer.Argument(help="Files, folders, globs or archives in any format that is read; or a card.")
    ] = None,
    into: Annotated[Path | None, typer.Option(help="Mixture of the pool that they would be trained along with.")] = None,
    store: Annotated[str | None, typer.Option(help="Store of the pool.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="Checkpoint: does its training cover them, and with which of its heads would one begin?")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the new dataset; by default that of the first file or folder.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the training that is planned, for effective epochs.")] = 100_000,
    frames: Annotated[int, typer.Option(min=1, help="Frames of each of its steps.")] = 8,
    worth: Annotated[int, typer.Option(min=1, help="Frames worth labelling that are listed, with --model.")] = 100,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write; by default integrated/NAME.", callback=local_path)
    ] = None,
    accept: Annotated[Path | None, typer.Option(help="Folder with a proposal: bring it into the pool.")] = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read a user's files beside a pool of data: propose a card, check, ingest into a store of its own, find copies, judge coverage, propose head and weight.

    Writes integrate.md and integrate.json, the store, alone.yaml and mixture.yaml to train on it alone and with the pool, and mixture.patch. Where a guess must be confirmed, it says in
    which line of the proposed card; the same command then goes on. Nothing of the pool changes until `--accept FOLDER`.
    """
    if accept is not None:
        if files or into or store or model or output:
            raise ConfigError("the folder says what is brought in, and where", where="--accept", hint="leave the other arguments out")
        _accept(accept, json=json, quiet=quiet)
        return
    if not files:
        raise ConfigError("no files to integrate", hint="name some, or a folder with a proposal by --accept")
    if (into is None) != (store is None):
        raise ConfigError("a pool is a mixture and its store", where="--into" if store is None else "--store", hint="give both, or neither")
    if model is not None:
        need("torch", extra="train")
    from ..stages.integrate.found import name_of
    from ..stages.integrate.page import said_of, shares_table
    from ..stages.integrate.run import integrate as run
    from ..stages.integrate.run import open_pool, say

    pool = None if into is None or store is None else open_pool(into, store)
    folder = output or Path("integrated") / (name or name_of(files[0]))
    result = run(
        files, folder, pool=pool, model=model, name=name, draws=float(steps * frames), worth=worth, device=device, quiet=quiet
    )  # fmt: skip
    say(result, folder)
    if json:
        print_json(result | {"folder": str(folder)})
        return
    for dataset, facts in result["datasets"].items():
        print("\n".join([f"{dataset}: {facts['title']}", *(f"  {line}" for line in said_of(facts))]))
    table(f"{steps:,} steps of {frames} frames", *shares_table(result))
    print(f"wrote {folder}/integrate.md" + ("" if pool is None else f"; `lamtrain integrate --accept {folder}` brings it into the pool"))


def _accept(folder: Path, *, json: bool, quiet: bool) -> None:
    from ..stages.integrate.accept import accept as run

    done = run(folder, quiet=quiet)
    if json:
        print_json(done)
        return
    for dataset, facts in done["datasets"].items():
        print(f"{dataset}: {facts['frames']:,} frames in {done['store']}{'' if facts['new'] else ', already there'}; card {facts['card']}")
    print(f"wrote {done['mixture']}")
