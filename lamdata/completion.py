"""What a shell offers when Tab is pressed: the words before it on the line -> names out of the store, the registry or the language that they mean.

A completer says nothing when something is wrong, and asks no network: a store elsewhere has no completions, for a Tab must not wait.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import wraps
from io import StringIO
from pathlib import Path
from typing import Any

import typer

LARGEST = 1 << 26  # bytes of a description of a model that are read
WORD = re.compile(r"(?:.*[^\w])?(?=\w*$)", flags=re.S)  # all before the word at the end
INSIDE = re.compile(r"\b(has|n)\((?:[^()]*,)?\s*\w*$")
AFTER_SPLIT = re.compile(r"\bsplit\s*(?:==|!=|in\s*\{(?:[^{}]*,)?)\s*\w*$")

Completer = Callable[[typer.Context, str], list[str]]


def silent(completer: Completer) -> Completer:
    """A completer that on any error offers nothing, and prints nothing: the line that is typed is not its own."""

    @wraps(completer)
    def offer(ctx: typer.Context, incomplete: str) -> list[str]:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()), warnings.catch_warnings(), suppress(Exception):
            warnings.simplefilter("ignore")
            return completer(ctx, incomplete)
        return []

    return offer


def typed(ctx: typer.Context) -> dict[str, Any]:
    """What stands on the line so far, by name. Where it ends with an option that waits for its value, the arguments before it lie in `ctx.args`."""
    values, waiting = dict(ctx.params), list(ctx.args)
    for param in ctx.command.params:
        if param.param_type_name == "argument" and not values.get(param.name or "") and waiting:
            values[param.name or ""] = waiting if param.nargs == -1 else waiting.pop(0)
    return values


def local(place: Any) -> str:
    """A folder or file of this machine; raises where it is elsewhere or none was given."""
    text = str(place or "")
    if not text or "://" in text.removeprefix("file://"):
        raise ValueError(f"{text!r} is not on this machine")
    return text


def words(names: Iterable[Any]) -> list[str]:
    """Those that are names as cards have them: what others wrote into a file does not reach the line otherwise."""
    from .fields import NAME

    return [name for name in names if isinstance(name, str) and re.fullmatch(NAME, name)]


def names_in(store: Any) -> list[str]:
    """Datasets and views of a store on this machine."""
    from .places import open_place
    from .store.commits import read_index

    index = read_index(open_place(local(store)))
    return [] if index is None else sorted(words([*index.datasets, *index.views]))


@silent
def datasets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Datasets and views of the store that stands earlier on the line."""
    return names_in(typed(ctx)["store"])


@silent
def others(ctx: typer.Context, incomplete: str) -> list[str]:
    """The same, without the dataset that was named."""
    return [name for name in names_in(typed(ctx)["store"]) if name != typed(ctx).get("dataset")]


@silent
def addresses(ctx: typer.Context, incomplete: str) -> list[str]:
    """NAME@VERSION of all that the registry holds."""
    from .registry import registry_url, search

    return [entry.address for entry in search(local(registry_url(typed(ctx).get("registry"))))]


@silent
def expressions(ctx: typer.Context, incomplete: str) -> list[str]:
    """The expression so far with its last word completed: a quantity, a text, a function; in brackets a label or an element; a split."""
    from .elements import SYMBOLS
    from .where.language import CALLS, NAMES, SPLITS
    from .where.tree import LABELS

    found = WORD.match(incomplete)
    assert found is not None  # it matches the empty text
    if call := INSIDE.search(incomplete):
        offered = [*(LABELS if call[1] == "has" else ()), *SYMBOLS[1:]]
    elif AFTER_SPLIT.search(incomplete):
        offered = list(SPLITS)
    else:
        offered = [*NAMES, *(f"{name}(" for name in CALLS), "and", "or", "not"]
    return [found[0] + word for word in offered]


def saved_names(model: Any, key: str) -> list[str]:
    """Names under a key of a checkpoint on this machine, as of its heads; without torch, and without running what is in it."""
    from .sources.bytes.torch_pickle import read_saved

    path = Path(os.path.expanduser(local(model)))
    return sorted(words(read_saved(path, largest=LARGEST)[key]))
