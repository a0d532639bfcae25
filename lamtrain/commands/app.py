"""The command itself, and the options that many of its commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from lamdata.command import make_app, show_version

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
