"""What both commands share: one line for each error, the exit code that belongs to it, --json, --version."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from .errors import ConfigErrors, LamError

INTERRUPTED = 130


def make_app(help_text: str) -> typer.Typer:
    """A typer app with the project's conventions."""
    return typer.Typer(help=help_text, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=True)


def run_app(app: typer.Typer) -> None:
    """Run a command; errors that are the user's end as lines on stderr, never as a traceback."""
    try:
        app()
    except LamError as err:
        _fail(err)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from there", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # somebody closed our output, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as err:  # a full disk, a read-only folder: the user's to mend, so one line
        if err.errno is None:
            raise
        _fail(LamError(err.strerror or str(err), where=str(err.filename) if err.filename else None))


def _fail(err: LamError) -> None:
    errors = err.errors if isinstance(err, ConfigErrors) else [err]
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if "--json" in sys.argv:
        print_json({"errors": [{"where": e.where, "message": e.message, "hint": e.hint} for e in errors]})
    sys.exit(err.exit_code)


def print_json(value: Any) -> None:
    """The one JSON document of a command, on stdout."""
    print(json.dumps(value, indent=2, default=str, ensure_ascii=False, allow_nan=False))


def show_version(name: str) -> Callable[[bool], None]:
    """A callback for `--version`."""

    def callback(wanted: bool) -> None:
        if wanted:
            from . import __version__

            print(f"{name} {__version__}")
            raise typer.Exit

    return callback


def table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """Print a table on stdout, numbers to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    out = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for i, column in enumerate(columns):
        numeric = any(isinstance(row[i], (int, float)) for row in rows)
        out.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        out.add_row(*(_cell(value) for value in row))
    Console(width=None if sys.stdout.isatty() else 160).print(out)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
