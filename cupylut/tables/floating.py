"""Operations of `kernels/floating.cuh` that NumPy lacks, to the bit."""

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float32Array: TypeAlias = NDArray[np.float32]


def multiply_add(a: ArrayLike, b: ArrayLike, c: ArrayLike, *, up: bool = False) -> Float32Array:
    """a·b + c of float32 numbers, rounded once to float32: to nearest even, or towards +∞.

    Float64 holds the product exactly. The sum is rounded to odd there: its last bit is set where
    anything was lost, so that the second rounding sees on which side of it the exact sum is.
    """
    a, b, c = (np.asarray(each, np.float64) for each in (a, b, c))
    product = a * b
    total = np.asarray(product + c)
    part = total - product
    lost = (product - (total - part)) + (c - part)  # Knuth's two-sum
    even = (total.view(np.int64) & 1) == 0
    odd = np.where((lost != 0) & even, np.nextafter(total, np.copysign(np.inf, lost)), total)
    rounded: Float32Array = odd.astype(np.float32)
    if up:
        higher = np.nextafter(rounded, np.float32(np.inf))
        rounded = np.where(rounded < odd, higher, rounded)
    return rounded
