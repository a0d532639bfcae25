"""Keys of a stage -> the words of its command, checked by the command's own parser."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from lamdata.command import USAGE
from lamdata.errors import ConfigError
from lamdata.located import did_you_mean

OURS = ("json", "quiet", "help")  # how a command speaks to the process


def parser_of(command: str) -> Any:
    """The parser of a command as "lamtrain train"; raises ConfigError where this installation has none of that name."""
    import typer

    program, word = command.split()
    group: Any = typer.main.get_command(importlib.import_module(f"{program}.cli").app)  # found by name, as a shell finds it
    if word not in group.commands:
        raise ConfigError(f"this {program} has no command `{word}`", hint=f"commands: {', '.join(group.commands)}")
    return group.commands[word]


def keys_of(parser: Any, *, taken: Mapping[str, str]) -> dict[str, Any]:
    """Key -> parameter of a command, but for those that the process fills in: `--max-force-rmse` is `max-force-rmse`."""
    found = {_key(parameter): parameter for parameter in parser.params}
    return {key: parameter for key, parameter in found.items() if key not in (*OURS, *taken)}


def _key(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.name).rstrip("_")
    return str(next(word for word in parameter.opts if word.startswith("--"))).removeprefix("--")


def words_of(parser: Any, values: Mapping[str, Any]) -> list[str]:
    """Options, then arguments, in the command's own order; a list is an option repeated, or its parts with commas between them."""
    options: list[str] = []
    arguments: list[str] = []
    for parameter in parser.params:
        value = values.get(_key(parameter))
        if value is None:
            continue
        if parameter.param_type_name == "argument":
            arguments += [str(part) for part in (value if isinstance(value, list) else [value])]
        else:
            options += _option(parameter, value)
    return [*options, *(["--", *arguments] if arguments else [])]


def _option(parameter: Any, value: Any) -> list[str]:
    word = next(word for word in parameter.opts if word.startswith("--"))
    if parameter.is_flag:
        if not isinstance(value, bool):
            raise ConfigError(f"is {value!r}, expected true or false", where=_key(parameter))
        return [word] if value else list(parameter.secondary_opts[:1])
    parts = value if isinstance(value, list) else [value]
    if parameter.multiple:
        return [part for one in parts for part in (word, str(one))]
    if parameter.nargs > 1:
        return [word, *map(str, parts)]
    return [word, ",".join(map(str, parts))]


def check_words(parser: Any, words: list[str]) -> None:
    """Raise ConfigError where the command would not take them; `where` is then the key, or None where it is all of them."""
    try:
        parser.make_context(parser.name, list(words))
    except USAGE as err:
        parameter = getattr(err, "param", None)
        message = " ".join(str(err.format_message()).removesuffix(".").split())  # type: ignore[attr-defined]
        raise ConfigError(message, where=None if parameter is None else _key(parameter)) from None


def unknown_key(key: str, keys: Mapping[str, Any], *, command: str, taken: Mapping[str, str]) -> ConfigError:
    """What to say of a key that a command has no option for."""
    if key in taken or key in OURS:
        return ConfigError(f"`{key}` is filled in by the process", hint="leave it out")
    return ConfigError(f"unknown key {key!r}: `{command}` has no such option", hint=did_you_mean(key, list(keys)))
