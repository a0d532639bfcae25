"""Where: an expression of frames ("natoms <= 64 and has(Li)") -> which frames it is true of, by what is known of blocks and by frames.

language (text -> tree) -> blocks (what a block's statistics decide) -> frames (the rest, by the arrays of frames)
"""

from .blocks import BlockFacts, Possible, decide
from .frames import Columns, passing
from .language import parse
from .tree import Condition, all_of, columns_of

__all__ = ["BlockFacts", "Columns", "Condition", "Possible", "all_of", "columns_of", "decide", "parse", "passing"]
