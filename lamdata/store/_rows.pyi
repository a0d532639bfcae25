import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]

def copy(source: np.ndarray, begins: I64, lengths: I64, out: np.ndarray, targets: I64, row_bytes: int, /) -> None: ...
def divide(
    source: np.ndarray,
    begins: I64,
    lengths: I64,
    out: np.ndarray,
    targets: I64,
    columns: int,
    integer_bytes: int,
    shift: int,
    scale: float,
    factor: float,
    /,
) -> None: ...
