"""Frames one by one become arrays: the same frames, in their order, whatever stands between them and however they end."""

from dataclasses import fields, replace

import numpy as np
import pytest

from lamdata.errors import SourceError
from lamdata.frame import Frame, Rejection
from lamdata.frames import Parsed
from lamdata.sources import gathered
from lamdata.sources.build import build
from lamdata.sources.gathered import Row, gather, is_finite, is_sound

CELL = np.array([[4.0, 0.1, 0.0], [0.0, 5.0, 0.3], [0.2, 0.0, 6.0]])
STRESS = np.array([[0.1, 0.02, 0.03], [0.02, 0.2, 0.04], [0.03, 0.04, -0.0]])


def frame(number: int, **labels) -> Frame:
    made = build(origin=f"f#{number}", group="g", symbols=["O", "H"], positions=[[0, 0, 0], [0, 0, 1.0 + number]], cell=CELL, **labels)
    assert isinstance(made, Frame)
    return made


def row(one: Frame, stress: np.ndarray | None = None) -> Row:
    values = {field.name: getattr(one, field.name) for field in fields(Frame)}
    return Row(**values | ({} if stress is None else {"virial": None, "stress": stress}))


def singles(items) -> list[Frame | Rejection]:
    return [one for item in items for one in (item if isinstance(item, Parsed) else (item,))]


def same(one: Frame | Rejection, other: Frame | Rejection) -> bool:
    if isinstance(one, Rejection) or isinstance(other, Rejection):
        return one == other
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(Frame)]
    return all(a.tobytes() == b.tobytes() if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) else a == b for a, b in pairs)


def test_frames_and_what_stands_between_them_keep_their_order(monkeypatch):
    monkeypatch.setattr(gathered, "FRAMES_AT_ONCE", 3)
    bad = Rejection(origin="f#4", reason="unconverged")
    items = [frame(0, energy=-1.5, converged=True), frame(1), bad, *(frame(n, forces=np.full((2, 3), 0.5)) for n in range(2, 9)), bad, bad]
    found = list(gather(items))
    assert [len(item) if isinstance(item, Parsed) else 0 for item in found] == [2, 0, 3, 3, 1, 0, 0]
    assert all(same(*pair) for pair in zip(singles(found), items, strict=True))


def test_rows_are_frames_and_their_stress_is_their_virial():
    whole = [frame(n, stress=STRESS * n if n else None, energy=-0.5, weight=0.5 * n) for n in range(4)]
    rows = [row(one, stress=STRESS * n if n else None) for n, one in enumerate(whole)]
    assert all(same(*pair) for pair in zip(singles(gather(rows)), whole, strict=True))
    assert all(same(*pair) for pair in zip(singles(gather([row(one) for one in whole])), whole, strict=True))


def test_how_many_frames_come_together_changes_nothing(monkeypatch):
    monkeypatch.setattr(gathered, "FRAMES_AT_ONCE", 4)
    monkeypatch.setattr(gathered, "ATOMS_AT_ONCE", 7)  # of two atoms each: four frames
    items = [frame(n, energy=-1.5 * n) for n in range(12)]
    one_by_one = list(gather(items))
    some = [Parsed.from_list(items[:1]), items[1], Parsed.from_list(items[2:11]), row(items[11])]
    found = list(gather(some))
    assert [len(part) for part in found] == [len(part) for part in one_by_one] == [4, 4, 4]
    assert all(same(*pair) for pair in zip(singles(found), items, strict=True))
    monkeypatch.setattr(gathered, "ATOMS_AT_ONCE", 5)
    assert [len(part) for part in gather(some)] == [len(part) for part in gather(items)] == [3, 3, 3, 3]


def test_what_was_read_before_an_error_is_given():
    def broken():
        yield frame(0)
        raise SourceError("damaged")

    items = gather(broken())
    assert len(next(items)) == 1
    with pytest.raises(SourceError, match="damaged"):
        next(items)
    assert list(gather(())) == []


def test_only_what_is_sound_goes_the_short_way():
    assert is_sound(CELL) and is_sound(-CELL)
    flat = replace(frame(0)).positions
    for cell in (np.zeros((3, 3)), CELL * np.nan, CELL * 1e9, np.ones((3, 3))):
        assert not is_sound(cell)
    assert is_finite(flat) and not is_finite(flat + np.inf) and not is_finite(flat * np.nan)
