from collections.abc import Sequence
from typing import Any

import numpy as np

Titles = Any
Template = Any

def titles(texts: tuple[bytes, ...], /) -> Titles: ...
def find(titles: Titles, text: bytes, start: int, stop: int, passing: bytes, /) -> tuple[int, int, int, Sequence[tuple[int, int, int]]]: ...
def elements(text: bytes, start: int, stop: int, paths: tuple[bytes, ...], /) -> list[tuple[int, int, int]] | None: ...
def pairs(line: bytes, /) -> dict[str, str] | None: ...
def hop(text: bytes, at: int, upto: int, /) -> tuple[int, int]: ...
def skip(text: bytes, at: int, count: int, /) -> tuple[int, int]: ...
def template(lines: tuple[tuple[str, bytes, bytes, tuple[tuple[bytes, str, bytes], ...]], ...], titles: Titles | None, /) -> Template: ...
def frames(
    template: Template,
    text: bytes,
    at: int,
    places: np.ndarray,
    natoms: np.ndarray,
    texts: np.ndarray,
    values: np.ndarray,
    table: np.ndarray,
    numbers: np.ndarray,
    elements: bytes,
    style: int,
    /,
) -> tuple[int, int, int, int]: ...
def rows(
    text: bytes,
    at: int,
    pattern: str,
    count: int,
    out: np.ndarray,
    numbers: np.ndarray,
    elements: bytes,
    after: bytes,
    until: int,
    style: int,
    /,
) -> tuple[int, int]: ...
