"""Elements -> where each stands in the periodic table, which is a table, and so is drawn as one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from ..elements import NUMBERS, SYMBOLS

NOBLE = (0, 2, 10, 18, 36, 54, 86, 118)  # the last of each period, and none before the first
LANTHANIDES, ACTINIDES = range(57, 72), range(89, 104)
ROWS, COLUMNS = 9, 18  # seven periods, and the two rows that are written below them


def place_of(number: int) -> tuple[int, int]:
    """Row and column, from 0, of an atomic number: IUPAC's table of 18 groups, lanthanides and actinides in the last two rows."""
    for row, series in ((7, LANTHANIDES), (8, ACTINIDES)):
        if number in series:
            return row, 3 + number - series.start - 1
    period = next(i for i, last in enumerate(NOBLE) if number <= last) - 1
    first, last = NOBLE[period] + 1, NOBLE[period + 1]
    from_left, from_right = number - first, last - number
    s_block = 2 if number > 2 else 1
    return period, from_left if from_left < s_block else COLUMNS - 1 - from_right


def periodic_table(values: Mapping[str, int | None], *, title: str, unit: str) -> str:
    """An HTML table with a cell for each element; those with a value are the darker the more they have, on a logarithmic scale.

    `None` is an element that is there, and of which no number is known.
    """
    grid: list[list[str]] = [["<td></td>"] * COLUMNS for _ in range(ROWS)]
    most = max((value or 0 for value in values.values()), default=0)
    for number in range(1, len(SYMBOLS)):
        row, column = place_of(number)
        symbol = SYMBOLS[number]
        if symbol in values:
            value = values[symbol]
            share = math.log1p(value) / math.log1p(most) if value else 0.0
            said = "" if value is None else f'<span>{_count(value)}</span><span class="read"> {escape(unit)}</span>'
            grid[row][column] = f'<td class="has s{round(8 * share)}"><b>{symbol}</b>{said}</td>'
        else:
            grid[row][column] = f'<td class="not">{symbol}</td>'
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in grid)
    return f'<div class="wide" tabindex="0" role="group" aria-label="{escape(title)}"><table class="elements"><caption>{escape(title)}</caption><tbody>{body}</tbody></table></div>'


def _count(value: int) -> str:
    """12,345 -> 12k."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return str(value)


def by_number(values: Mapping[str, object]) -> list[str]:
    """Symbols in the order of the table."""
    return sorted(values, key=NUMBERS.__getitem__)
