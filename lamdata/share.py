"""The commands of a registry: publish, fetch, search; for `cli`, which imports nothing heavy."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from .command import print_json, table
from .completion import addresses, datasets

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")]
Registry = Annotated[str | None, typer.Option(envvar="LAM_REGISTRY", help="Folder or URL of the registry.")]


def publish(
    store: Annotated[str, typer.Argument(help="Folder or URL of a store.")],
    version: Annotated[str, typer.Option(help="MAJOR.MINOR.PATCH; a version never changes.")],
    dataset: Annotated[str | None, typer.Argument(help="One dataset of it.", autocompletion=datasets)] = None,
    registry: Registry = None,
    name: Annotated[str | None, typer.Option(help="Name in the registry; by default the dataset's.")] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(help="Publish although the licence is: unknown, NC (non-commercial) or ND (without derivatives; repeat for more)."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Publish a dataset as NAME@VERSION in a registry, with card, licence, hashes and pages; killed, the same command goes on. Models: `lamtrain publish`."""
    from .registry import draft_dataset, registry_url
    from .registry import publish as run

    url = registry_url(registry)
    report = run(draft_dataset(store, dataset, version=version, name=name, accept=accept or ()), url, quiet=quiet)
    print_json(report.to_json()) if json else print(report.text())


def fetch(
    address: Annotated[str, typer.Argument(help="NAME@VERSION of a dataset or a model.", autocompletion=addresses)],
    registry: Registry = None,
    output: Annotated[str, typer.Option("--output", "-o", help="Folder or URL to bring it to, which becomes a registry too.")] = ".",
    split: Annotated[
        Literal["train", "validation", "test"] | None, typer.Option(help="Only the objects of a dataset that hold frames of this split.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Bring a version out of a registry and verify every byte; killed, the same command goes on, and what is there is not brought again."""
    from .registry import fetch as run
    from .registry import registry_url

    report = run(address, registry_url(registry), output.rstrip("/") or "/", split=split, quiet=quiet)
    print_json(report.to_json()) if json else print(report.text())


def search(
    words: Annotated[list[str] | None, typer.Argument(help="Words that must all occur, as a functional or a title.")] = None,
    registry: Registry = None,
    kind: Annotated[Literal["dataset", "model"] | None, typer.Option(help="Only these.")] = None,
    elements: Annotated[str | None, typer.Option(help="Only what has these elements, as Li,O.")] = None,
    license_: Annotated[str | None, typer.Option("--license", help="Only what has a licence that contains this.")] = None,
    json: Json = False,
) -> None:
    """List what a registry holds: datasets and models, licences, elements, frames, theory, heads."""
    from .registry import registry_url
    from .registry import search as run

    url = registry_url(registry)
    found = run(url, words or (), kind=kind, elements=elements.split(",") if elements else (), license=license_)
    if json:
        print_json([entry.model_dump(mode="json") for entry in found])
    elif not found:
        print(f"{url}: nothing is published{' that has what was asked for' if words or kind or elements or license_ else ''}")
    else:
        from .registry.search import COLUMNS, row

        table(url, list(COLUMNS), [row(entry) for entry in found])


def add_commands(app: typer.Typer) -> None:
    """Give a command these commands."""
    panel = "Share"
    app.command(rich_help_panel=panel, epilog="Example: lamdata publish stores/quickstart.zarr qe-pbe --version 1.0.0 --registry shared")(
        publish
    )
    app.command(rich_help_panel=panel, epilog="Example: lamdata fetch qe-pbe@1.0.0 --registry shared -o data")(fetch)
    app.command(rich_help_panel=panel, epilog="Example: lamdata search PBE --elements Si --kind dataset --registry shared")(search)
