"""The `lamtrain` command: its commands, in the order in which `--help` lists them."""

from __future__ import annotations

from lamdata.command import run_app

from .commands.app import app

# In the order of --help.
from .commands import train  # isort: skip
from .commands import ask  # isort: skip
from .commands import cover  # isort: skip
from .commands import card  # isort: skip
from .commands import stages  # isort: skip
from .commands import compare  # isort: skip
from .commands import contest  # isort: skip
from .commands import distil  # isort: skip
from .commands import compress  # isort: skip
from .commands import integrate  # isort: skip
from .commands import process  # isort: skip
from .commands import foreign  # isort: skip
from .commands import share  # isort: skip
from .commands import doctor  # isort: skip

__all__ = [
    "app",
    "ask",
    "card",
    "compare",
    "compress",
    "contest",
    "cover",
    "distil",
    "doctor",
    "foreign",
    "integrate",
    "main",
    "process",
    "share",
    "stages",
    "train",
]


def main() -> None:
    """Entry point of `lamtrain`."""
    run_app(app)


if __name__ == "__main__":
    main()
