"""Readers: a foreign file in, frames (or the reason why there is none) out; one file for each family of formats."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..catalog import SourceSpec
from ..errors import ConfigError, LamError, SourceError
from ..frame import LABELS, Frame, Rejection
from ..frames import Parsed
from ..located import did_you_mean
from .builtin import BUILTIN
from .bytes.files import SourceFile, Span, expand, folder_variable

__all__ = [
    "ENTRY_POINTS",
    "Reader",
    "SourceFile",
    "Span",
    "expand",
    "folder_variable",
    "guess_format",
    "read_all",
    "read_items",
    "read_theory",
    "reader",
    "readers",
]

ENTRY_POINTS = "lamdata.readers"
HEAD = 8192  # bytes that a guess may look at

_loaded: dict[str, Reader] = {}


@runtime_checkable
class Reader(Protocol):
    """Reads one format. Any object with these names will do; third parties register it under the entry point above.

    A label that stands in the source and cannot be given (its unit is not stated, its file belongs to another run, its name is not one
    that is read) is named in `left_out` of the frame, as "virial: the unit of its column is not stated": the label, a colon, why, in the
    same words for every frame of a kind, since `init` shows them and an ingest counts them. Share one tuple among frames. A label that
    is stars or nan is not left out: it refuses its frame as `nonfinite`.

    A reader of large files may also have `spans(file, size)`: the `Span`s of about `size` bytes each that together are all its frames,
    or none where they are not cheaply found. It then reads `file.span` of a file that has one, with origins as in the whole.

    A reader with `keeps_info` gives what a frame says under the keys in `SourceSpec.info`. It may also have `options`, {name: allowed values}, the choices that a card may make; and `open_units` and `open_keys`, the
    quantities and labels of which the format leaves the unit or the key open, so that a card may state them. What a card says
    beside them is refused; without them its `options`, `units` and `keys` pass unchecked. A reader with `open_keys` says of a frame that
    lacks a key `lacking(label, key)` in `left_out`, so that a key which no frame of a source has is found. One with `open_units` may have `usual_units(file)`, {quantity: unit} of what the file does not state, which `init` writes as a question.
    """

    name: str  # as in a card: "qe/pw"

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Parsed | Rejection]:
        """Yield every frame of the file, in order, in eV and Å; a frame that must not be used comes as a `Rejection`.

        A reader of arrays may yield many frames at once as `Parsed`; about 10 MB is a good size.

        Raise `SourceError` when the file is not what it should be.
        """
        ...

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Return the fields of `Theory` that the file itself states; {} where it is silent."""
        ...

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """Say whether a file with this name and these first bytes looks like this format."""
        ...


def reader(name: str) -> Reader:
    """Return the reader of a format, or say which names there are."""
    if name not in _loaded:
        if name in BUILTIN:
            module, _, attribute = BUILTIN[name].partition(":")
            found = getattr(import_module(f".{module}", __package__), attribute)
            _loaded[name] = found() if isinstance(found, type) else found
        else:
            _loaded[name] = _third_party(name)
    return _loaded[name]


def readers() -> dict[str, Reader]:
    """Return every reader by name, in the order of guessing."""
    return {name: reader(name) for name in (*BUILTIN, *_entry_points())}


@cache
def _entry_points() -> dict[str, Any]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS) if point.name not in BUILTIN}


def _third_party(name: str) -> Reader:
    points = _entry_points()
    if name not in points:
        raise ConfigError(f"unknown format {name!r}", hint=did_you_mean(name, [*BUILTIN, *points]))
    try:
        found = points[name].load()
        found = found() if isinstance(found, type) else found
    except Exception as err:  # somebody else's code
        raise ConfigError(f"the reader {name!r} of {points[name].value} does not load: {_say(err)}") from err
    if not isinstance(found, Reader):
        raise ConfigError(f"{points[name].value} is not a reader", hint="it needs name, read, theory and guess")
    return found


def guess_format(file: SourceFile) -> str:
    """Return the name of the first reader that recognises a file by its name and first bytes."""
    head = file.head(HEAD)
    for name, found in readers().items():
        try:
            if found.guess(file, head):
                return name
        except LamError:
            raise
        except Exception:  # a guess that fails is a no
            continue
    raise SourceError("the format is not recognised", where=file.name, hint="name it: `format: NAME`")


def read_all(file: SourceFile, spec: SourceSpec, *, use: Reader | None = None) -> Iterator[Frame | Rejection]:
    """Read a file by the rules that all readers share, frame by frame.

    As `read_items`; and a number that is not finite refuses its frame.
    """
    for item in read_items(file, spec, use=use):
        for one in item if isinstance(item, Parsed) else (item,):
            yield _refused(one) or one


def read_items(file: SourceFile, spec: SourceSpec, *, use: Reader | None = None) -> Iterator[Frame | Parsed | Rejection]:
    """Read a file as its reader gives it, by the rules that all readers share but finiteness, which is a check of ingest.

    Any failure of a library becomes one `SourceError` that names the file; labels that the card switches off are left out,
    and groups are as the card says.
    """
    file = file.hold()
    use = use or reader(guess_format(file) if spec.format == "auto" else spec.format)
    _check_choices(use, spec)
    count = 0
    for item in _guarded(use, file, spec):
        count += 1
        yield item if isinstance(item, Rejection) else _as_the_card_says(item, file, spec)
    if count == 0:
        raise SourceError(f"holds no frame that {use.name} can read", where=file.name)


def read_theory(file: SourceFile, *, use: Reader) -> dict[str, Any]:
    """Return what a file states of its theory; {} where it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return use.theory(file)
    except Exception as err:
        raise _as_source_error(err, file, use) from err


def _guarded(use: Reader, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Parsed | Rejection]:
    """What a reader gives, whether it is a generator or returns an iterator, every failure as a `SourceError`."""
    frames: Iterator[Frame | Parsed | Rejection] | None = None
    while True:
        try:
            with warnings.catch_warnings():  # what libraries have to say is no news to the person who ingests
                warnings.simplefilter("ignore")
                frames = iter(use.read(file, spec)) if frames is None else frames
                item = next(frames)
        except StopIteration:
            return
        except Exception as err:
            raise _as_source_error(err, file, use) from err
        yield item


def _as_source_error(err: Exception, file: SourceFile, use: Reader) -> LamError:
    if isinstance(err, LamError):
        if err.where is None:
            err.where = file.name
        return err
    return SourceError(f"not readable as {use.name} ({_say(err)})", where=file.name, hint="damaged, truncated or of another format")


def _say(err: BaseException) -> str:
    text = " ".join(str(err).split())[:160]
    return f"{type(err).__name__}: {text}" if text else type(err).__name__


def _check_choices(use: Reader, spec: SourceSpec) -> None:
    """Refuse what the reader would not heed: nobody's choice is dropped in silence."""
    allowed: Mapping[str, tuple[Any, ...]] | None = getattr(use, "options", None)
    for name, value in spec.options.items():
        if allowed is None:
            break
        if name not in allowed:
            raise ConfigError(f"{use.name} has no option {name!r}", hint=did_you_mean(name, list(allowed)))
        if allowed[name] and value not in allowed[name]:
            raise ConfigError(f"option {name!r} of {use.name} is {value!r}", hint=f"one of: {', '.join(map(str, allowed[name]))}")
    if spec.info and not getattr(use, "keeps_info", False):
        raise ConfigError(f"{use.name} has no further keys to be kept", hint="leave `info` out")
    _check_units_and_keys(use, spec)


def _check_units_and_keys(use: Reader, spec: SourceSpec) -> None:
    units: tuple[str, ...] | None = getattr(use, "open_units", None)
    keys: tuple[str, ...] | None = getattr(use, "open_keys", None)
    if units is not None and (closed := sorted(spec.units.model_fields_set - set(units))):
        what = f"has no unit of {closed[0]} to be stated" if units else "fixes its units"
        raise ConfigError(f"{use.name} {what}", hint=f"leave `units: {{{closed[0]}}}` out" if units else "leave `units` out")
    if keys is None:
        return
    if named := sorted(key for key, value in spec.keys.items() if value and key not in keys):
        what = f"reads no key for {named[0]}" if keys else "fixes its keys"
        aside = ", or set it to '' to leave the label out" if named[0] in LABELS else ""
        raise ConfigError(f"{use.name} {what}", hint=f"leave `keys: {named[0]}` out{aside}")
    if idle := sorted(key for key, value in spec.keys.items() if not value and key not in (*LABELS, *keys)):
        hint = "say `keys: {virial: ''}`" if idle[0] == "stress" else f"leave `keys: {idle[0]}` out"
        raise ConfigError(f"{use.name} cannot leave out {idle[0]!r}", hint=hint)


def _as_the_card_says(item: Frame | Parsed, file: SourceFile, spec: SourceSpec) -> Frame | Parsed:
    """Leave out labels, about which then nothing needs to be said, and change the group."""
    without = [name for name in LABELS if spec.keys.get(name) == ""]
    if isinstance(item, Frame):
        changes: dict[str, Any] = dict.fromkeys(without)
        if item.left_out and without:
            changes["left_out"] = _but(item.left_out, without)
        if spec.group != "reader":
            changes["group"] = {"file": file.name, "folder": file.folder, "frame": item.origin}[spec.group]
    else:
        changes = {"frames": item.frames.without(without)} if without else {}
        if item.left_out and without:
            changes["left_out"] = [_but(texts, without) for texts in item.left_out]
        if spec.group != "reader":
            changes["groups"] = (
                item.origins if spec.group == "frame" else [{"file": file.name, "folder": file.folder}[spec.group]] * len(item)
            )
    return replace(item, **changes) if changes else item


def _but(left_out: tuple[str, ...], without: list[str]) -> tuple[str, ...]:
    """What is said of the labels that the card asks for."""
    return tuple(text for text in left_out if text.partition(":")[0] not in without)


def _refused(item: Frame | Rejection) -> Rejection | None:
    if isinstance(item, Frame):
        for name in ("positions", "cell", "energy", "forces", "virial"):
            value = getattr(item, name)
            if value is not None and not np.isfinite(value).all():
                return Rejection(origin=item.origin, reason="nonfinite", value=name)
    return None
