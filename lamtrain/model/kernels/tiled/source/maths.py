"""What the kernels share: products of tiles in a chosen precision, tanh, and sums that programs keep apart.

Numbers known before compilation are `constexpr`, since a scalar argument would be of single precision and the tests are of double.
"""

import triton
import triton.language as tl


@triton.jit
def dot(a, b, PRECISION: tl.constexpr):
    """a b, of the type of a."""
    return tl.dot(a, b, input_precision=PRECISION, out_dtype=a.dtype)


@triton.jit
def apart(x):
    """x, which the compiler takes for another: what it was made into for one product is not kept for the next, for which there may be no registers. Double precision, which only
    tests have, is as it was."""
    if x.dtype == tl.float64:
        return x
    return tl.inline_asm_elementwise("mov.b32 $0, $1;", "=r,r", [x], dtype=x.dtype, is_pure=False, pack=1)


@triton.jit
def tanh(x):
    """Of any type; near 0 by its series where single precision would lose digits in the difference."""
    e = tl.exp(-2.0 * tl.abs(x))
    y = (1.0 - e) / (1.0 + e)
    y = tl.where(x < 0.0, -y, y)
    if x.dtype == tl.float32:
        u = x * x
        y = tl.where(u < 0.04, x * (1.0 + u * (-1.0 / 3.0 + u * (2.0 / 15.0 + u * (-17.0 / 315.0 + u * (62.0 / 2835.0))))), y)
    return y


@triton.jit
def add_to(place, value, mask):
    """Add to what this program alone keeps there; the same thread reads and writes an element each time."""
    tl.store(place, tl.load(place, mask=mask, other=0.0) + value, mask=mask)


@triton.jit
def gather_to(place, value, mask, again):
    """As `add_to`, but written where this program was not here before (`again` is false), so that nothing must be cleared."""
    tl.store(place, tl.load(place, mask=mask & again, other=0.0) + value, mask=mask)


@triton.jit
def rows_of(pointer, first, rows, columns, WIDTH: tl.constexpr, mask):
    """The tile of a matrix `WIDTH` wide: its rows `first + rows`, its `columns`; 0 where the mask is off."""
    return tl.load(pointer + first * WIDTH + (rows[:, None] * WIDTH + columns[None, :]), mask=mask, other=0.0)


@triton.jit
def store_rows(pointer, first, rows, columns, WIDTH: tl.constexpr, value, mask):
    """As `rows_of`, to be written."""
    tl.store(pointer + first * WIDTH + (rows[:, None] * WIDTH + columns[None, :]), value, mask=mask)


@triton.jit
def add_rows(pointer, first, rows, columns, WIDTH: tl.constexpr, value, mask):
    """As `rows_of`, to be added to."""
    store_rows(pointer, first, rows, columns, WIDTH, rows_of(pointer, first, rows, columns, WIDTH, mask) + value, mask)
