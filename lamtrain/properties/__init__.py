"""A crystal and any calculator of ASE -> equation of state, elastic constants, phonons, vacancy, energy conservation: numbers and a picture.

A file is a property: `measure(crystal, calculator)` gives its numbers, `draw(axis, found)` shows them. Nothing here knows of models or of torch.
"""

from .measure import PROPERTIES as PROPERTIES
from .measure import Property as Property
from .measure import measure as measure
