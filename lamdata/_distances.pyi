import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

def shortest(points: F64, natoms: NDArray[np.int64], cells: F64 | bytes, out: F64, /) -> None: ...
