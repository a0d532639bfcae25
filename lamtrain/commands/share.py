"""What others get: publish."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamdata.command import print_json
from lamdata.errors import need

from .app import Json, Quiet, app


@app.command(epilog="Example: lamtrain publish runs/copper/best.pt --name copper --version 1.0.0 --license CC-BY-4.0 --registry shared")
def publish(
    model: Annotated[Path, typer.Argument(help="Checkpoint.")],
    name: Annotated[str, typer.Option(help="Name in the registry.")],
    version: Annotated[str, typer.Option(help="MAJOR.MINOR.PATCH; a version never changes.")],
    license_: Annotated[str, typer.Option("--license", help="Licence of the weights, as SPDX writes it.")],
    registry: Annotated[str | None, typer.Option(envvar="LAM_REGISTRY", help="Folder or URL of the registry.")] = None,
    title: Annotated[str | None, typer.Option(help="One line for people.")] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            help="Publish although a licence of the data is: unknown, NC (non-commercial) or ND (without derivatives; repeat for more)."
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Publish a model as NAME@VERSION in a registry, with its heads, theories, data, parents and licences; killed, the same command goes on.

    Others have it by `lamdata fetch NAME@VERSION`, and begin with it by `start: {model: registry://NAME@VERSION}`.
    """
    from lamdata.registry import publish as run
    from lamdata.registry import registry_url

    url = registry_url(registry)
    need("torch", extra="train")
    need("safetensors", extra="registry")
    from ..evaluation.publication import draft_model

    report = run(draft_model(model, name=name, version=version, license=license_, title=title, accept=accept or ()), url, quiet=quiet)
    print_json(report.to_json()) if json else print(report.text())
