"""A page of a model: card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamdata.command import local_path, print_json
from lamdata.errors import need

from .app import Json, app


@app.command(epilog="Example: lamtrain card runs/copper -o card.html")
def card(
    model: Annotated[Path, typer.Argument(help="Checkpoint, or the folder of a run.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.", callback=local_path)],
    json: Json = False,
) -> None:
    """Write a page that shows a model in a browser, without a network: heads, theories, data, licences, curves, errors, coverage, what to cite.

    What `train`, `test`, `predict` and `cover` left beside the model is on it. `lamtrain show` is the same in a terminal.
    """
    need("torch", extra="train")
    need("plotly", extra="cards")
    from lamdata.card import write_page

    from ..stages.card.content import content_of
    from ..stages.card.page import model_page

    content = content_of(model)
    size = write_page(model_page(content, Path(content["model"]).parent), output)
    if json:
        print_json({"written": str(output), "bytes": size, **content})
    else:
        print(f"{output}: {len(content['heads'])} heads, {len(content['elements'])} elements, {size / 1e6:.3g} MB")
