"""The numbers that a narrow dtype can hold, times a scale, and the one that is nearest to f(x).

Rounding turns over in the middle between two neighbours. A middle has at most 12 bits and a scale
the 24 of a float32, so middle·scale is a float64 number, as is x = scale·q for the inputs: f(x) is
compared with what is exact, and nothing is divided.

That leaves f, of which float64 knows some 50 bits: see `ties.py` for where that is not enough.
"""

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ..declaration import Float64Array
from ..dtypes import DType, all_inputs, widened


class Grid:
    """The numbers n·scale for all n of int8, an 8-bit float or a 16-bit one."""

    def __init__(self, dtype: DType, scale: float) -> None:
        """scale: a float32 number above 0."""
        self.dtype, self.scale = dtype, scale
        if dtype.kind == "i":
            n = np.arange(129.0)  # the last one for −128 only
        else:
            n = widened(all_inputs(dtype))
            n = n[: int(np.argmin(np.isfinite(n)))]  # patterns count the magnitudes
        half = (n[-1] - n[-2]) / 2
        self.lowest = -(n[-1] + half) * scale  # what rounds to these or beyond is cut off
        self.highest = ((127.0 if dtype.kind == "i" else n[-1]) + half) * scale
        if dtype.itemsize > 1:  # infinity, as if it came next
            n = np.append(n, 2.0 ** ml_dtypes.finfo(dtype).maxexp)  # type: ignore[no-untyped-call]
        self._magnitudes = n * scale
        self._middles = (n[1:] + n[:-1]) / 2 * scale

    def nearest(self, y: Float64Array) -> NDArray[np.unsignedinteger]:
        """The bit pattern of the n for which n·scale is nearest to y; the even one of two.

        8 bits saturate, at ±∞ too, and int8 has 0 in place of NaN.
        """
        size, negative = np.abs(y), np.signbit(y)
        i = np.searchsorted(self._middles, size)
        tie = size == self._middles[np.minimum(i, self._middles.size - 1)]
        i += tie & (i % 2 == 1)
        bits = 8 * self.dtype.itemsize
        if self.dtype.kind == "i":
            n = np.where(negative, -i, np.minimum(i, 127))
            return np.where(np.isnan(y), 0, n).astype(np.int8).view(np.uint8)
        nan = np.array(np.nan, self.dtype).view(f"u{self.dtype.itemsize}")
        return np.where(np.isnan(y), nan, i + (negative << (bits - 1))).astype(nan.dtype)

    def spacing(self, y: Float64Array) -> Float64Array:
        """The distance between the neighbours around y; beyond the range that of the last two."""
        i = np.searchsorted(self._magnitudes, np.abs(y), side="right") - 1
        steps = np.diff(self._magnitudes)
        return steps[np.minimum(i, steps.size - 1)]
