"""All stages by one command: run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamdata.command import print_json, table

from ..completion import stages
from .app import Json, Quiet, app


@app.command(epilog="Example: lamtrain run process.yaml --dry-run")
def run(
    process: Annotated[Path, typer.Argument(help="File that names the stages; `lamtrain init --process` writes one.")],
    until: Annotated[str | None, typer.Option(help="The last stage to run.", autocompletion=stages)] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="The first stage to look at: those before it are taken as they are.", autocompletion=stages)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which stages would run, and why, and stop.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run the stages of a process, each a command; what was done before and depends on nothing that has changed is left alone.

    A stage is known by the contents of its inputs, its keys and the version of the code. Stopped or killed anywhere, the same command goes on.
    A stage that fails leaves the others' results. report.html in the process's folder has all numbers and pictures.
    """
    from ..stages.process.run import contents_of, run_process
    from ..stages.process.spec import read_process

    opened = read_process(process)
    if dry_run:
        from ..stages.process.plan import make_plan

        contents = contents_of(opened)
        plan = make_plan(opened, contents, first=from_, until=until)
        if json:
            print_json({"process": opened.name, "stages": [decision.to_json() for decision in plan]})
        else:
            rows = [[one.stage.name, one.stage.kind, one.state, "; ".join(one.why)] for one in plan]
            table(opened.name, ["stage", "kind", "", "why"], rows)
        return
    result = run_process(opened, first=from_, until=until, quiet=quiet)
    if json:
        print_json(result)
    else:
        rows = [[one["stage"], one["kind"], one["state"], round(one["seconds"], 1), "; ".join(one["why"])] for one in result["stages"]]
        table(opened.name, ["stage", "kind", "state", "seconds", "why"], rows)
        print(f"wrote {result['report']}")
