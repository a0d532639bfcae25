"""DeePMD-kit's files both ways: checkpoints, frozen and serialised models, input.json.

file -> ForeignFile (options and tensors in the reference's words) -> LamModel, and back
"""

from .adopt import adopt_input, adopt_model
from .comparison import Deviation, export
from .inputs import input_json_to_config
from .read import from_deepmd
from .write import to_deepmd

__all__ = ["Deviation", "adopt_input", "adopt_model", "export", "from_deepmd", "input_json_to_config", "to_deepmd"]
