"""Asked keys: what a card names in the files of a source -> what no frame of that source has.

Files of one source may differ: that a frame lacks a key is said of the frame, that all of them lack it is an error of the card.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..catalog import Card, SourceSpec
from ..errors import ConfigError, ConfigErrors
from ..frame import Frame, Rejection
from ..frames import Parsed
from ..sources.labelled.label_names import OF_SEVERAL, lacking

SHOWN = 8  # labels that the frame has under other names
INFO = "info of "  # before a key that is kept as it is, in the place of a label


def _label(key: str) -> str:
    return INFO + key


class AskedKeys:
    """Which keys of the sources of a card were found in some frame, and a frame that lacks each of the others."""

    def __init__(self, found: Iterable[tuple[int, str]] = (), lacked: dict[tuple[int, str], list[str]] | None = None):
        self._found = set(found)  # (number of the source, label)
        self._lacked = lacked or {}  # the same -> origin of the first frame, and what is left out there

    def see(self, number: int, spec: SourceSpec, item: Frame | Parsed | Rejection) -> None:
        """Take in what a file of a source gave."""
        if isinstance(item, Rejection):
            return
        self._see_info(number, spec, item)
        for label in self._open(number, spec.keys):
            text = lacking(label, spec.keys[label])
            for frame in (item,) if isinstance(item, Frame) else item:
                if text not in frame.left_out:
                    self._found.add((number, label))
                    break
                if len(frame.numbers) > 1 or label not in OF_SEVERAL:  # a lone atom needs no forces and no stress
                    others = [one for one in frame.left_out if one != text]
                    self._lacked.setdefault((number, label), [frame.origin, *others[:SHOWN]])

    def _see_info(self, number: int, spec: SourceSpec, item: Frame | Parsed) -> None:
        infos = [item.info] if isinstance(item, Frame) else item.infos
        for label, key in self._open(number, {_label(key): key for key in spec.info}).items():
            if any(key in info for info in infos):
                self._found.add((number, label))
            else:
                self._lacked.setdefault((number, label), [item.origin if isinstance(item, Frame) else item.origins[0]])

    def open(self, number: int, spec: SourceSpec) -> bool:
        """Whether there are keys of a source that no frame had so far."""
        return bool(self._open(number, spec.keys | {_label(key): key for key in spec.info}))

    def _open(self, number: int, keys: Mapping[str, str]) -> dict[str, str]:
        """The labels whose key no frame had so far, with the key."""
        return {label: key for label, key in keys.items() if key and (number, label) not in self._found}

    def merge(self, others: Iterable[AskedKeys]) -> AskedKeys:
        """Take in what others saw, in the order given."""
        for other in others:
            self._found |= other._found
            self._lacked = other._lacked | self._lacked
        return self

    def problems(self, card: Card) -> Iterator[tuple[int, ConfigError]]:
        """One for each key that frames lack and none has, with the number of its source."""
        for (number, label), (origin, *others) in sorted(self._lacked.items()):
            if (number, label) in self._found:
                continue
            source = card.sources[number]
            key = source.keys.get(label)
            asked = f"the key {label.removeprefix(INFO)!r}" if key is None else f"the key {key!r} for {label}"
            hint = f"mend `{'info' if key is None else 'keys'}:` of its source{'; there: ' * bool(others)}{'; '.join(others)}"
            yield number, ConfigError(f"no frame of {source.path} has {asked}", where=origin, hint=hint)

    def to_json(self) -> list[Any]:
        """As plain data."""
        return [sorted(self._found), [[*of, seen] for of, seen in self._lacked.items()]]

    @staticmethod
    def from_json(data: list[Any]) -> AskedKeys:
        """Back from `to_json`."""
        found, lacked = data
        return AskedKeys(((number, label) for number, label in found), {(number, label): seen for number, label, seen in lacked})


def check_asked(card: Card, asked: AskedKeys) -> None:
    """Refuse a card that names keys which no frame of their source has."""
    if problems := [error for _, error in asked.problems(card)]:
        raise ConfigErrors(problems)
