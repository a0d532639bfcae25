"""Structures that are handed in: contest submit, contest score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from lamdata.command import local_path, make_app, print_json
from lamdata.errors import ConfigError, DataError, need

from ..completion import heads
from .app import Device, Json, Quiet, app

contest_app = make_app("Relaxed structures that are new and low in energy: hand them in, and count them.")
app.add_typer(contest_app, name="contest")

Head = Annotated[str | None, typer.Option(help="Head to ask; needed where several give energies.", autocompletion=heads)]


@contest_app.command(epilog="Example: lamtrain contest submit runs/copper/best.pt 'ideas/*.cif' -o mine")
def submit(
    model: Annotated[str, typer.Argument(help="Checkpoint.")],
    structures: Annotated[list[str], typer.Argument(help="Files, folders, globs or archives in any format that is read.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", callback=local_path)],
    name: Annotated[str | None, typer.Option(help="Name of the submission; by default that of the folder.")] = None,
    head: Head = None,
    format: Annotated[str, typer.Option(help="Format of the files; auto recognises each.")] = "auto",
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Bring crystals to rest by a model, cells and atoms, and write a folder to hand in: structures.extxyz, submission.yaml, left_out.csv.

    What is relaxed is kept, and not relaxed again. What does not come to rest is left out, with the reason. Exit code 1 where nothing is left.
    """
    need("torch", extra="train")
    from lamdata.registry import model_file

    from ..calculator import Calculator
    from ..files import sha256_of
    from ..prediction.model import load_model
    from ..prediction.source import open_source
    from ..stages.contest.submit import submit as run

    source = replace(open_source(structures, dataset=None, split=None, format=format, quiet=quiet), doing="relaxing")
    opened = load_model(model, device=device, dtype="float64")
    chosen = opened.pick(head)
    result = run(
        source,
        lambda: Calculator(opened, head=chosen),
        output,
        name=name or output.resolve().name,
        model=f"{Path(model).name}, head {chosen}",
        checkpoint=sha256_of(model_file(model)),
        head=chosen,
    )
    if not result["relaxed"]:
        raise DataError("no structure came to rest", where=source.said, hint=f"see {output / 'left_out.csv'}", result=result)
    if json:
        print_json(result)
        return
    left = len(result["left_out"])
    print(f"{output}: {result['relaxed']:,} structures at rest" + (f"; {left:,} left out, see {output / 'left_out.csv'}" if left else ""))


@contest_app.command(epilog="Example: lamtrain contest score mine --hull hull.yaml --model runs/copper/best.pt -o scored/mine")
def score(
    submission: Annotated[Path, typer.Argument(help="Folder that was handed in.")],
    hull: Annotated[str, typer.Option(help="Hull: a YAML file, or a file of structures with energies.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", callback=local_path)],
    model: Annotated[
        str | None, typer.Option(help="Checkpoint that computes energies and forces again; without it they are believed.")
    ] = None,
    head: Head = None,
    known: Annotated[list[str] | None, typer.Option(help="File of structures that are not new, besides (repeat for more).")] = None,
    within: Annotated[float, typer.Option(min=0, help="Energy above the hull that still counts, meV/atom.")] = 0.0,
    fmax: Annotated[float, typer.Option(min=0, help="Largest force at rest, eV/Å, and virial by atom, eV.")] = 0.05,
    tolerance: Annotated[float, typer.Option(min=1e-6, max=0.1, help="Distance of copies, Å, root mean square.")] = 0.05,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Count the structures of a submission that are at rest, low enough above a hull, not known, and there once; say why of each other.

    Writes contest.html, contest.csv (a row a structure), contest.json and contest.png. Exit code 1 where none counts.
    """
    if head is not None and model is None:
        raise ConfigError("a head is of a model", where="--head", hint="name the model with --model")
    answer = None
    if model is not None:
        need("torch", extra="train")
        from ..calculator import Calculator
        from ..prediction.model import load_model
        from ..stages.contest.score import answers_of

        opened = load_model(model, device=device, dtype="float64")
        chosen = opened.pick(head)
        answer = answers_of(lambda: Calculator(opened, head=chosen))
    from ..stages.contest.checks import Rules
    from ..stages.contest.hull import open_hull
    from ..stages.contest.report import print_report, write_report
    from ..stages.contest.score import score as run

    rules = Rules(within=within / 1000, fmax=fmax, tolerance=tolerance)
    result = run(submission, open_hull(hull, answer, known=known or []), answer=answer, rules=rules, quiet=quiet)
    write_report(result, output)
    if not json:
        print_report(result, output)
    if not result["score"]:
        raise DataError("no structure counts", where=str(submission), hint=f"see {output / 'contest.html'}", result=result)
    if json:
        print_json(result)
