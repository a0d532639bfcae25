"""The stream: datasets with weights -> an endless, shuffled sequence of batches whose position is one integer."""

from .fingerprint import differences
from .mixed import Stream, StreamHead

__all__ = ["Stream", "StreamHead", "differences"]
