"""Where elements stand, and where compositions lie."""

from __future__ import annotations

from lamdata.card.figures import composition_map
from lamdata.card.periodic import place_of
from lamdata.elements import NUMBERS


def test_each_element_has_its_place_in_the_table() -> None:
    places = {number: place_of(number) for number in range(1, 119)}
    assert len(set(places.values())) == 118
    known = {
        "H": (0, 0),
        "He": (0, 17),
        "B": (1, 12),
        "Sc": (3, 2),
        "Fe": (3, 7),
        "Xe": (4, 17),
        "Ba": (5, 1),
        "Hf": (5, 3),
        "La": (7, 2),
        "Lu": (7, 16),
        "Ac": (8, 2),
        "Og": (6, 17),
    }
    assert {symbol: places[NUMBERS[symbol]] for symbol in known} == known


def test_a_map_of_compositions_depends_on_them_alone() -> None:
    rows = [
        {"counts": counts, "frames": n, "energy": 0.1 * n}
        for n, counts in enumerate(({"Si": 1, "O": 2}, {"Mg": 1, "O": 1}, {"Mg": 2, "Si": 1, "O": 4}, {"O": 1}), 1)
    ]
    x, y, places = composition_map(rows)
    again = composition_map(rows[::-1])
    assert again == (x, y, places[::-1]) and len(set(places)) == 4 and "O" in x
    two = [{"counts": {"C": 1, "Si": k}, "frames": 1, "energy": -0.1 * k} for k in (1, 3)]
    assert composition_map(two) == ("share of Si", "mean energy, eV/atom", [(0.5, -0.1), (0.75, -0.30000000000000004)])
    assert composition_map([{"counts": {"C": 1}, "frames": 3, "energy": None}]) is None
