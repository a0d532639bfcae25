"""What both commands share: one line for each error, the exit code that belongs to it, --json, --version."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import typer

from .errors import ConfigError, LamError

INTERRUPTED = 130
USAGE: type[Exception] = typer.BadParameter.__mro__[2]  # ClickException, of click or of the copy of it that newer typers bring


def make_app(help_text: str) -> typer.Typer:
    """A typer app with the project's conventions."""
    return typer.Typer(help=help_text, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=True)


def run_app(app: typer.Typer) -> None:
    """Run a command; errors that are the user's end as lines on stderr, never as a traceback."""
    try:
        code = app(standalone_mode=False)  # else typer would write errors of usage its own way, and Ctrl-C in silence
    except LamError as err:
        _fail(err)
    except USAGE as err:
        _fail(_usage(err))
    except (KeyboardInterrupt, typer.Abort):
        _interrupted()
    except BrokenPipeError:  # somebody closed our output, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as err:  # a full disk, a read-only folder: the user's to mend, so one line
        if err.errno is None:
            raise
        _fail(LamError(err.strerror or str(err), where=str(err.filename) if err.filename else None))
    if code == INTERRUPTED:  # what typer makes of Ctrl-C
        _interrupted()
    sys.exit(code if isinstance(code, int) else 0)


def _usage(err: Any) -> ConfigError:
    """What was typed wrongly, in one line."""
    command = err.ctx.command_path if getattr(err, "ctx", None) is not None else None
    if type(err).__name__ == "NoArgsIsHelpError":  # a command alone: its help is the answer
        err.show()
        sys.exit(2)
    message = " ".join(str(err.format_message()).removesuffix(".").split())
    return ConfigError(message, where=command, hint=f"{command} --help" if command else None)


def _interrupted() -> NoReturn:
    _fail(LamError("interrupted", hint="the same command goes on from there"), code=INTERRUPTED)


def _fail(err: LamError, *, code: int | None = None) -> NoReturn:
    errors = err.errors if isinstance(err, ConfigError) else [err]
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if "--json" in sys.argv:
        print_json((err.result or {}) | {"errors": [{"where": e.where, "message": e.message, "hint": e.hint} for e in errors]})
    sys.exit(err.exit_code if code is None else code)


def local_path(path: Path | None) -> Path | None:
    """Refuse a URL where a file or folder of this machine is written, instead of making a folder of that name."""
    if path is not None and (found := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", path.as_posix())):
        raise ConfigError(f"{found[1]}: is no folder of this machine", where=str(path), hint="write it here, and copy it from there")
    return path


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
