"""Damaged inputs: a few in each run, many with `-m slow` or by the command."""

from __future__ import annotations

import pytest
from fuzz import DAMAGES, run


def test_damaged_inputs_end_in_frames_or_one_line(tmp_path):
    assert run(seed=0, count=60) == []


@pytest.mark.slow
def test_a_thousand_damaged_inputs(samples_folder):
    assert run(seed=1, count=1000, extra=samples_folder) == []


@pytest.mark.parametrize("damage", sorted(set(DAMAGES), key=lambda d: d.__name__))
def test_every_damage_works_on_any_bytes(damage):
    import random

    for data in (b"", b"1", b'{"a": 1.5}\n2 3\n', bytes(100)):
        assert isinstance(damage(data, random.Random(0)), bytes)
