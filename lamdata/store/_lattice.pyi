import numpy as np
from numpy.typing import NDArray

def onto(
    values: NDArray[np.float64],
    out: np.ndarray | bytearray,
    integer_bytes: int,
    shift: int,
    scale: float,
    factor: float,
    low: float,
    high: float,
    /,
) -> tuple[int, int] | None: ...
