"""A label that a source has and a frame lacks is named on the frame, whatever becomes of it before it is stored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.frame import Frame, Rejection
from lamdata.frames import Parsed
from lamdata.sources import expand, read_items

UNIT = "virial: the unit of its column is not stated"
OTHER = "forces: of another run"


def frame(*left_out: str) -> Frame:
    return Frame(numbers=np.array([1], np.uint8), positions=np.zeros((1, 3)), energy=-1.0, origin="a#0", left_out=left_out)


def test_what_is_left_out_follows_its_frame_through_a_stack() -> None:
    first, second = Parsed.from_list([frame(), frame(UNIT)]), Parsed.from_list([frame(), frame()])
    assert second.left_out == ()
    both = Parsed.concatenate([first, second, Parsed.from_list([frame(OTHER, UNIT)])])
    assert list(both.left_out) == [(), (UNIT,), (), (), (OTHER, UNIT)]
    taken = both.take(np.array([4, 1, 0]))
    assert list(taken.left_out) == [(OTHER, UNIT), (UNIT,), ()]
    assert [one.left_out for one in taken] == [(OTHER, UNIT), (UNIT,), ()]
    assert [one.left_out for one in second] == [(), ()]


class Two:
    """Gives the same frame alone and in a stack."""

    name = "two"

    def read(self, file: object, spec: SourceSpec) -> Iterator[Frame | Parsed | Rejection]:
        yield frame(UNIT, OTHER)
        yield Parsed.from_list([frame(UNIT, OTHER)])

    def theory(self, file: object) -> dict[str, Any]:
        return {}

    def guess(self, file: object, head: bytes) -> bool:
        return False


def test_a_label_that_the_card_switches_off_is_not_said_to_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (file,) = expand(SourceSpec(path="a"), base=tmp_path)
    one, many = read_items(file, SourceSpec(path="a", keys={"virial": ""}), use=Two())
    assert isinstance(one, Frame) and one.left_out == (OTHER,)
    assert isinstance(many, Parsed) and list(many.left_out) == [(OTHER,)]
