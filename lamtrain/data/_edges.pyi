import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

def find(
    positions: F64,
    starts: I64,
    cells: F64,
    pbc: NDArray[np.bool_],
    cutoffs: F64,
    mosts: I64,
    begins: I64,
    counts: I64,
    neighbors: I64,
    vectors: F64,
    truncated: I64,
    /,
) -> int: ...
def lay_out(
    order: I64,
    rank: I64,
    begins: I64,
    counts: I64,
    neighbors: I64,
    vectors: F64,
    cuts: I64,
    widths: I64,
    places: I64,
    out_vectors: NDArray[np.floating],
    out_neighbors: I64,
    far: float,
    itemsize: int,
    /,
) -> None: ...
