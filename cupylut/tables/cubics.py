"""The NumPy half of float32 polynomials: a finer table, made from the table itself on first use.

Derivation. A kernel counts instructions and bytes of shared memory; NumPy counts passes over its
work arrays. So here the segments are many and narrow, STEP wide from −REACH to REACH, and on each
of them the table is a cubic in x itself:

    k = rint(x/STEP)                             the middle of the segment is at k·STEP
    y = c0 + x·(c1 + x·(c2 + x·c3))              in float64, rounded once

No local coordinate is needed: cancellation takes 20 or so of the 53 bits where |x| is largest. k is
in the last bits of x + 1.5·2²³·STEP, a float32 whose neighbours are STEP apart. In the segment of 0
the cubic of a table with f(0) = 0 goes through that point with the table's slope and has c0 = −0,
which keeps the relative accuracy and the sign of zero.

A cubic counts only where it is within a given tolerance of the table's own value and has its sign;
this is tried at TRIALS points of each segment. Every other segment holds NaN for coefficients. So
does one last entry, to which all x outside ±REACH are clamped, infinities and NaN included. Where
NaN comes out, the table itself is evaluated instead. So a result depends on its own input and
nothing else.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..declaration import Float64Array
from ..dtypes import ulp

# Writes a table's values at float32 numbers into an array of float64, or rounded into float32.
Exactly: TypeAlias = Callable[[NDArray[Any], NDArray[Any]], None]

REACH, STEP = 16, 2.0**-8
COUNT = int(2 * REACH / STEP)  # of segments
TRIALS = 12  # the ends of the segment included

# Elements at a time: their 1.1 MB of work arrays stay in the second-level cache, and the cost of
# calling NumPy, half a microsecond a pass, hardly counts. What the cubics do not serve is collected
# from a whole block, since the table's own evaluation makes many more calls.
CHUNK, BLOCK = 16384, 65536

# In units of STEP from the middle: where interpolation is best, and for the segment of 0, where the
# slope at 0 is to be the table's, so that results which are subnormal are too.
_NODES = np.cos(np.pi * (np.arange(4) + 0.5) / 4) / 2
_NODES_AT_ZERO = np.array([0.0, 2.0**-100, -0.45, 0.45])

_MAGIC = np.float32(1.5 * 2**23 * STEP)
_FIRST = _MAGIC.view(np.uint32) - np.uint32(COUNT // 2)  # the bits that the first segment gives
_LAST = np.full(CHUNK, COUNT, np.uint32)  # np.minimum is several times slower with a scalar


class Cubics:
    """The values of a float32 table, by cubics where they are as good and by the table elsewhere.

    A cubic may differ from the table by `tolerance` in ulp, or in floors where these are larger.
    `rows` are c0, …, c3 of the segments from −REACH on, and the row of NaN.
    """

    def __init__(self, exactly: Exactly, tolerance: float, floor: float = 0.0) -> None:
        """Fit the cubics, which takes 10 ms or so."""
        self.exactly = exactly
        with np.errstate(all="ignore"):
            self.rows = np.concatenate([self._fit(), np.full((1, 4), np.nan)])
            self.rows[:-1][~self._holds(tolerance, floor)] = np.nan

    def _fit(self) -> Float64Array:
        """The cubics through the table's values at four points of each segment."""
        zero = COUNT // 2
        nodes = (_middles() + STEP * _NODES[:, None]).astype(np.float32)
        if keeps_zero := (self._values(np.zeros(1, np.float32)) == 0).all():
            nodes[:, zero] = STEP * _NODES_AT_ZERO
        x, y = nodes.astype(np.float64), self._values(nodes)
        for i in range(1, 4):  # divided differences, then Newton's form multiplied out
            y[i:] = np.diff(y[i - 1 :], axis=0) / (x[i:] - x[:-i])
        rows = np.zeros((COUNT, 4))
        for i in range(3, -1, -1):
            shifted = np.roll(rows, 1, axis=1)
            rows = shifted - x[i, :, None] * rows
            rows[:, 0] += y[i]
        if keeps_zero:
            rows[zero, 0] = -0.0
        return rows

    def _holds(self, tolerance: float, floor: float) -> NDArray[np.bool_]:
        """Which of the cubics are as good as the table."""
        c0, c1, c2, c3 = self.rows[:-1].T
        holds = np.ones(COUNT, np.bool_)
        for t in np.linspace(-0.5, 0.5, TRIALS):
            x = (_middles() + STEP * t).astype(np.float32)
            exact = self._values(x)
            y = c0 + x * (c1 + x * (c2 + x * c3))
            holds &= np.abs(y - exact) <= tolerance * np.maximum(ulp(exact, x.dtype), floor)
            holds &= np.signbit(y) == np.signbit(exact)
        zeros = np.array([0.0, -0.0], np.float32)
        y = c0[COUNT // 2] + zeros * c1[COUNT // 2]
        holds[COUNT // 2] &= (np.signbit(y) == np.signbit(self._values(zeros))).all()
        return holds

    def _values(self, x: NDArray[np.float32]) -> Float64Array:
        y = np.empty(x.size)
        self.exactly(x.ravel(), y)
        return y.reshape(x.shape)

    def evaluate(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """Write the values at x into out; both 1-D, of float32, and maybe the same memory."""
        lookup = _Lookup(self.rows, min(x.size, CHUNK))
        with np.errstate(all="ignore"):
            for i in range(0, x.size, BLOCK):
                self._block(x[i : i + BLOCK], out[i : i + BLOCK], lookup)

    def _block(self, x: NDArray[Any], out: NDArray[Any], lookup: "_Lookup") -> None:
        places, numbers = [], []  # of what the cubics do not serve; kept since out may be x
        for i in range(0, x.size, CHUNK):
            part = x[i : i + CHUNK]
            y = lookup.run(part)
            missed = np.isnan(y).nonzero()[0]
            if missed.size:
                places.append(i + missed)
                numbers.append(part[missed])
            out[i : i + CHUNK] = y
        if places:
            rest = np.concatenate(numbers)
            values = np.empty_like(rest)
            self.exactly(rest, values)
            out[np.concatenate(places)] = values


class _Lookup:
    """The cubics on chunks of one size, in work arrays of its own."""

    def __init__(self, rows: Float64Array, chunk: int) -> None:
        self.rows = rows
        self.u = np.empty(chunk, np.float32)
        self.bits = self.u.view(np.uint32)
        self.last = _LAST[:chunk]
        self.index = np.empty(chunk, np.intp)
        self.row = np.empty((chunk, 4))
        self.x, self.y = np.empty((2, chunk))

    def run(self, x: NDArray[Any]) -> Float64Array:
        """The cubics' values at a chunk, NaN where they do not count; a work array."""
        if x.size != self.y.size:  # the last chunk
            return _Lookup(self.rows, x.size).run(x)
        bits, index, row, wide, y = self.bits, self.index, self.row, self.x, self.y

        np.add(x, _MAGIC, out=self.u)
        bits -= _FIRST
        np.minimum(bits, self.last, out=bits)
        index[...] = bits
        # "wrap" is only the fastest mode: every index is in range.
        self.rows.take(index, axis=0, out=row, mode="wrap")

        wide[...] = x
        np.multiply(row[:, 3], wide, out=y)
        for i in (2, 1):
            y += row[:, i]
            y *= wide
        y += row[:, 0]
        return y


def _middles() -> Float64Array:
    return np.arange(-COUNT // 2, COUNT // 2, dtype=np.float64) * STEP
