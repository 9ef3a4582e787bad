"""Windows of a 16-bit dtype's inputs, whose results are kept in a table: direct.py, unrounded.py.

Derivation. A window is a range of magnitudes, counted in bit patterns: those behind `near` up to
`high` for positive inputs, up to `minus_high` for negative ones. The last result of a window is
also that of all numbers beyond it. The two lie in the table end to end, the negative one first and
from its far end. So for the patterns of an x clamped to either of them

    place = clamp(x, near, high) − clamp(x, −minus_high, −near′) + origin,    near′ = near + 1

since one of the two stays at its near end. What is read for magnitudes up to `near`, of which
something else holds, is not used. NaN goes to place 0.

`kernels/windows.cuh` is the device half.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..dtypes import widened

SIGN = 0x8000

WINDOWS = np.dtype(
    [(n, np.uint32) for n in ("near", "high", "minus_high", "minus_near", "origin", "unused")]
)
"""struct Windows of `kernels/windows.cuh`."""


class Windows(NamedTuple):
    """Where the windows begin and end."""

    near: int
    high: int
    minus_high: int

    @property
    def size(self) -> int:
        """How many results there are."""
        return self.high + self.minus_high - 2 * self.near

    def kept(self, results: NDArray[Any]) -> NDArray[Any]:
        """Of the results for all patterns, those that are in the table."""
        negative = results[SIGN + self.near + 1 : SIGN + self.minus_high + 1][::-1]
        positive = results[self.near + 1 : self.high + 1]
        return np.concatenate((negative, positive))

    def struct(self) -> NDArray[Any]:
        """The struct that a kernel takes, which looks up two inputs at once."""
        near, high, minus_high = self
        origin = SIGN + minus_high - near
        members = near, high, SIGN + minus_high, SIGN + near + 1, origin
        return np.array((*map(twice, members), 0), WINDOWS)

    def places(self, x: NDArray[Any]) -> NDArray[np.int64]:
        """The number of the entry that the kernel reads for each x."""
        near, high, minus_high = self
        patterns = x.view(np.uint16).astype(np.int64)
        magnitudes = patterns % SIGN
        right = minus_high - 2 * near - 1 + np.clip(magnitudes, near, high)
        left = minus_high - np.clip(magnitudes, near + 1, minus_high)
        return np.where(np.isnan(widened(x)), 0, np.where(patterns < SIGN, right, left))


def twice(half: int) -> int:
    """A word with this in both halves."""
    return half << 16 | half
