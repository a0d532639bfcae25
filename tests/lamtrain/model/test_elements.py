"""The periodic table stands twice, since a model imports nothing of lamdata: both say the same."""

from __future__ import annotations

from lamdata import elements as of_data
from lamtrain.model import elements as of_model


def test_model_and_data_call_the_same_elements_by_the_same_numbers():
    assert len(of_model.SYMBOLS) == 118
    assert list(of_model.SYMBOLS) == list(of_data.SYMBOLS[1:])
    assert {symbol: number for symbol, number in of_data.NUMBERS.items() if number > 0} == of_model.NUMBERS


def test_both_are_the_periodic_table():
    from ase.data import chemical_symbols

    assert list(of_data.SYMBOLS) == chemical_symbols and of_data.NUMBERS["X"] == 0
