"""Models of DeePMD-kit: export, import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamdata.command import local_path, print_json, table
from lamdata.errors import need

from ..completion import heads
from .app import Json, app


@app.command(epilog="Example: lamtrain export runs/quickstart/best.pt --store stores/quickstart.zarr --head qe-pbe -o model.pt")
def export(
    model: Annotated[Path, typer.Argument(help="Checkpoint.")],
    store: Annotated[str, typer.Option(help="Store with frames to compare on.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .pt, .dp or .yaml.", callback=local_path)],
    head: Annotated[str | None, typer.Option(help="One energy head; by default all of them.", autocompletion=heads)] = None,
    frames: Annotated[int, typer.Option(min=1, help="Held-out frames of each dataset to compare on.")] = 20,
    json: Json = False,
) -> None:
    """Write a DeePMD-kit model; refuse unless energies, forces and virials of the file are the model's."""
    need("torch", extra="train")
    from ..deepmd.export_model import export_model

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
    from ..deepmd import adopt_model

    info = adopt_model(file, output, branch=branch, tebd_of=tebd_of)
    if json:
        print_json({"written": str(output), "heads": info.read, "notes": info.notes})
    else:
        print("\n".join([f"wrote {output} with heads {', '.join(info.read.values())}", *info.notes]))
