"""Where: an expression of frames ("natoms <= 64 and has(Li)") -> which frames it is true of, by what is known of blocks and by frames.

language (text -> tree) -> blocks (what a block's statistics decide) -> frames (the rest, by the arrays of frames)
"""

from .blocks import BlockFacts, Possible, decide
from .frames import Columns, passing
from .language import parse
from .short import condition_of
from .tree import Condition, columns_of, keys_of

__all__ = ["BlockFacts", "Columns", "Condition", "Possible", "columns_of", "condition_of", "decide", "keys_of", "parse", "passing"]
