"""A fast student of a finished model: distil."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamdata.command import local_path, print_json
from lamdata.errors import need
from lamdata.interrupts import interrupts_held

from .app import Device, Json, Quiet, app


@app.command(epilog="Example: lamtrain distil distil.yaml")
def distil(
    config: Annotated[Path, typer.Argument(help="What to distil: teacher, structures, temperatures and thresholds, as YAML.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write; by default runs/ and the name in the file.", callback=local_path)
    ] = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a fast student of a model: explore by dynamics, label by the teacher, train where they deviate, until the student has converged.

    Writes student.pt, compressed.pt, distil.json, distil.md and pictures: errors against DFT, speed, and an acceptance suite by the thresholds in the file. Ends
    with 1 where the student has not converged or does not pass. Stopped anywhere, the same command goes on with the same bits.
    """
    from ..stages.distil.config import read_distil

    checked = read_distil(config)
    with interrupts_held():
        need("torch", extra="train")
        from ..stages.distil.report import print_report
        from ..stages.distil.run import distil as run
        from ..stages.distil.run import refuse_if_not_accepted
    folder = output or Path("runs") / checked.distil
    result = run(checked, out=folder, device=device, quiet=quiet)
    if not json:
        print_report(result, folder)
    refuse_if_not_accepted(result)
    if json:
        print_json(result)
