"""What went wrong, as one line a person can act on, with the exit code that a command ends with.

Each error also inherits the built-in exception that a caller of the Python API would expect to catch.
"""

from __future__ import annotations

from typing import Any


class LamError(Exception):
    """Base of every error that is the user's to mend.

    `where` is `file:line:column`, `file#frame`, a URL or a key; `hint` is what to do next; `result` what a command found all the same,
    which `--json` prints in the one document beside the errors.
    """

    exit_code = 1
    result: dict[str, Any] | None = None

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None):
        super().__init__(message)
        self.message, self.where, self.hint = message, where, hint

    def __str__(self) -> str:
        line = f"{self.where}: {self.message}" if self.where else self.message
        return f"{line}; {self.hint}" if self.hint else line

    def __reduce__(self) -> tuple[Any, ...]:  # keyword-only arguments survive a trip through a worker process
        return _rebuild, (type(self), self.message, self.where, self.hint)


def _rebuild(kind: type[LamError], message: str, where: str | None, hint: str | None) -> LamError:
    return kind(message, where=where, hint=hint)


class ConfigError(LamError, ValueError):
    """A catalog, a training config or a command line that does not say something possible."""

    exit_code = 2

    @property
    def errors(self) -> list[ConfigError]:
        """All that are in it, for whoever collects them."""
        return [self]


class ConfigErrors(ConfigError):
    """All that is wrong with a config, found in one go; printed a line each."""

    def __init__(self, errors: list[ConfigError]):
        super().__init__("\n".join(str(error) for error in errors))
        self._errors = errors

    @property
    def errors(self) -> list[ConfigError]:
        """What was found, in order."""
        return self._errors

    def __reduce__(self) -> tuple[Any, ...]:
        return ConfigErrors, (self._errors,)


class SourceError(LamError, OSError):
    """A source file that is missing, truncated or not what its card says."""

    def __str__(self) -> str:  # OSError would print its own way
        return LamError.__str__(self)


class DataError(LamError, ValueError):
    """Data, or a model, that did not pass a check."""

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None, result: dict[str, Any] | None = None):
        super().__init__(message, where=where, hint=hint)
        self.result = result


class StoreError(LamError, OSError):
    """A store that is missing, damaged, locked or written by a newer version."""

    def __str__(self) -> str:
        return LamError.__str__(self)


class DiskError(StoreError):
    """A disk that is full or may not be written."""

    exit_code = 3


class SetupError(LamError, ImportError):
    """This machine lacks something: an extra, a device, the network."""

    exit_code = 3

    def __str__(self) -> str:
        return LamError.__str__(self)


def need(module: str, *, extra: str | None = None, hint: str | None = None) -> Any:
    """Import `module`, or say which extra of ours brings it, or else how it is had."""
    import importlib

    from .interrupts import interrupts_held

    try:
        with interrupts_held():
            return importlib.import_module(module)
    except ImportError as err:
        how = f"pip install 'lam[{extra}]'" if extra else f"pip install {module.partition('.')[0]}"
        raise SetupError(f"{module} is not installed", hint=hint or how) from err
