"""Layout: the segments of a polynomial table.

They are those of a floating-point format, see `polynomial.py`: the leading bits of a + offset tell
them apart.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..declaration import Float64Array
from ..dtypes import DType


@dataclass(frozen=True)
class Layout:
    """The segments of a in [0, limit]: 2^bits of them to an octave of a + offset.

    They are told apart by the leading bits of a + offset, their numbers, and counted from 0 on.
    Where the offset is the middle of a segment, d = a in the first one, and relative accuracy is
    kept around a double zero at 0. The tail has the last one to itself; `limit` is the largest a.
    """

    dtype: DType
    offset: float
    bits: int
    limit: float

    @property
    def dropped(self) -> int:
        """How many bits of a + offset do not tell segments apart."""
        return (23 if self.dtype.itemsize == 4 else 52) - self.bits

    @property
    def shift(self) -> int:
        """How many of the leading 32 bits of a + offset do not tell segments apart."""
        return self.dropped - 8 * self.dtype.itemsize + 32

    @property
    def middle_bit(self) -> int:
        """The first of the dropped bits: half a segment."""
        return 1 << (self.dropped - 1)

    def number(self, a: ArrayLike) -> NDArray[np.int64]:
        """The leading bits of a + offset."""
        real = self.dtype.type
        u = np.minimum(np.asarray(a, real), real(self.limit)) + real(self.offset)
        return np.asarray(u.view(f"u{self.dtype.itemsize}") >> self.dropped).astype(np.int64)

    @property
    def falling(self) -> bool:
        """Whether numbers fall while a grows."""
        return self.offset < 0

    @cached_property
    def first(self) -> int:
        """The lowest number of a segment."""
        return int(self.number(self.limit if self.falling else 0.0))

    @cached_property
    def count(self) -> int:
        """How many segments there are."""
        return int(self.number(0.0 if self.falling else self.limit)) - self.first + 1

    def segment(self, a: ArrayLike) -> NDArray[np.int64]:
        """Which segment a is in."""
        return np.abs(self.number(a) - int(self.number(0.0)))

    def place(self, a: ArrayLike) -> NDArray[np.int64]:
        """Which of the segments in the order of their numbers a is in."""
        return self.number(a) - self.first

    def starts(self, extra: int = 0) -> Float64Array:
        """Where each segment begins, with the kernel's rounding, and where as many more would."""
        points = self._points(0, extra)
        # If falling, |u| is cut off towards the end of a segment, which is where the next begins.
        return np.append(0.0, points[:-1] if self.falling else points[1:])

    def around_starts(self) -> Float64Array:
        """The magnitudes around the start of each segment, where a step of a function would show.

        The nearest ones round to a number of the next segment in a + offset: those up to half a
        spacing away, or a quarter where the next binade begins.
        """
        starts = self.starts()[:, None]
        spacing = np.abs(np.spacing((starts + self.offset).astype(self.dtype)))
        a = (starts + spacing * [-1 / 2, -1 / 4, 0, 1 / 4, 1 / 2]).astype(self.dtype).ravel()
        around = np.abs([np.nextafter(a, -np.inf), a, np.nextafter(a, np.inf)])
        return np.unique(around).astype(np.float64)

    def ends(self) -> Float64Array:
        """Where each segment ends."""
        return np.append(self.starts()[1:], self.limit)

    def middles(self) -> Float64Array:
        """Where d is 0 in each segment, with the kernel's rounding."""
        return self._points(self.middle_bit, 0)

    def _points(self, behind: int, extra: int) -> Float64Array:
        """The a that belong to the numbers of the segments with these bits behind them."""
        steps = np.arange(self.count + extra) * (-1 if self.falling else 1)
        bits = ((int(self.number(0.0)) + steps) << self.dropped) + behind
        u = bits.astype(f"u{self.dtype.itemsize}").view(self.dtype)
        return np.asarray(u - self.dtype.type(self.offset), np.float64)
