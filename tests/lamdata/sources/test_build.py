"""Frames built from plain values: what is checked, and that a bad value costs one frame and not the file."""

from __future__ import annotations

import numpy as np
import pytest

from lamdata.frame import Frame, Rejection
from lamdata.sources.build import build, number_of, tensor

GOOD = {"origin": "a#0", "symbols": ["H", "O"], "positions": [[0, 0, 0], [0, 0, 1.0]], "cell": np.eye(3) * 5}


def test_plain_lists_become_a_frame():
    frame = build(**GOOD, energy=1, forces=[[0, 0, 0]] * 2, group="g")
    assert isinstance(frame, Frame) and frame.numbers.dtype == np.uint8 and frame.pbc == (True,) * 3 and frame.energy == 1.0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"symbols": ["H", "Q"]}, "unknown element"),
        ({"symbols": None, "numbers": [1, 119]}, "unknown element"),
        ({"symbols": None, "numbers": [1.0, 8.0]}, "not a list of integers"),
        ({"positions": []}, "no atoms"),
        ({"positions": [[0, 0], [0, 1]]}, "positions has shape"),
        ({"positions": [[0, 0, 0], [0, 0, float("nan")]]}, "nonfinite"),
        ({"cell": np.zeros((3, 3))}, "zero volume"),
        ({"cell": [[1, 0, 0]]}, "cell has shape"),
        ({"energy": float("inf")}, "nonfinite"),
        ({"forces": [[0, 0, 0]]}, "forces has shape"),
        ({"stress": [1, 2, 3]}, "neither 6 nor 9"),
        ({"energy": "x"}, "not a structure"),
        ({"symbols": ["H"]}, "not a structure"),
        ({"positions": None}, "not a structure"),
    ],
)
def test_a_bad_value_is_a_rejection_with_its_reason(change, reason):
    found = build(**(GOOD | change))
    assert isinstance(found, Rejection) and reason in found.reason and found.origin == "a#0"


def test_stress_has_the_sign_of_ase_and_virial_wins():
    np.testing.assert_allclose(build(**GOOD, stress=np.eye(3)).virial, -125 * np.eye(3))
    np.testing.assert_allclose(build(**GOOD, stress=np.eye(3), virial=np.eye(3)).virial, np.eye(3))
    assert build(**(GOOD | {"cell": None}), stress=np.eye(3)).virial is None


def test_voigt_is_xx_yy_zz_yz_xz_xy():
    assert tensor([1, 2, 3, 4, 5, 6]).tolist() == [[1, 6, 5], [6, 2, 4], [5, 4, 3]]


@pytest.mark.parametrize(("symbol", "number"), [("Fe", 26), ("FE", 26), (" fe ", 26), ("26", 26), (26, 26), ("D", 1), ("T", 1)])
def test_symbols_are_known_as_they_are_written(symbol, number):
    assert number_of(symbol) == number
