"""Numbers in the fixed columns of Fortran codes, which run together when they are large."""

from __future__ import annotations

import re

NUMBER = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[EeDd][-+]?\d+)?")


def floats(text: str) -> list[float]:
    """The numbers in a text, also `1.5-2.5` (two of them) and `1.0D-3`; `****` is left out, so count what comes."""
    return [float(word.replace("D", "E").replace("d", "e")) for word in NUMBER.findall(text)]
