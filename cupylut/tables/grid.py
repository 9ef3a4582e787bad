"""The numbers that a narrow dtype can hold, times a scale, and the one that is nearest to f(x).

Rounding turns over in the middle between two neighbours. A middle has at most 12 bits and a scale
the 24 of a float32, so middle·scale is a float64 number, as is x = scale·q for the inputs: f(x) is
compared with what is exact, and nothing is divided.

That leaves f, of which float64 knows some 50 bits. It is enough except where f runs along a
straight line, for a line meets middles exactly. Near 9.5 gelu(x) is x − 10⁻²⁰, which is x in
float64; 9.5 lies in the middle between two integers, and the exact value, below it, goes to 9, not
to the even 10. `beside_lines` moves such values off their line, to the side on which f is seen
where float64 still tells the two apart.
"""

from collections.abc import Iterator

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ..accuracy import DType, all_inputs, widened
from ..declaration import IDENTITY, Float64Array, Function, Tail
from ..functions import is_declared

NOISE = 2.0**-44  # more than the relative error of a reference where it follows a line


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


def beside_lines(function: Function, x: Float64Array, y: Float64Array) -> Float64Array:
    """The results y = f(x) of float64, moved by one ulp where they hide on which side f is.

    Of a function that is not declared in `FUNCTIONS` nobody knows where its branches meet: y stays.
    """
    y = y.copy()
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        for sign, line, steps in _lines(function) if is_declared(function) else ():
            ahead = sign * steps
            gap = function(ahead) - line(ahead)
            seen = np.flatnonzero(np.abs(gap) > NOISE * np.abs(line(ahead)))
            last, side = (seen[0], np.sign(gap[seen[0]])) if seen.size else (-1, 0.0)
            start, end = sorted((steps[0], steps[last]))
            there = (start < sign * x) & (sign * x < end)
            there &= np.abs(y - line(x)) <= NOISE * np.abs(line(x))
            # Where it is never seen, f is the line itself, and a tie is a tie.
            y[there] = np.nextafter(line(x[there]), side * np.inf) if side else line(x[there])
    return y


def _lines(function: Function) -> Iterator[tuple[float, Tail, Float64Array]]:
    """The lines that f follows on either side, and |x| from where it does so to where it may not.

    Its tails, as far as the outermost kink; its tangents at zero, or what it is there, as far as
    the innermost; and the identity that is cut off at a kink.
    """
    steps = 2.0 ** np.arange(-60, 12, 0.25)
    for sign, tail in ((-1.0, function.left), (1.0, function.right)):
        kinks = [sign * kink for kink in function.kinks if sign * kink > 0]
        outer, inner = max(kinks, default=0.0), min(kinks, default=np.inf)
        if tail is not None:
            yield sign, tail, np.append(np.inf, steps[steps > outer][::-1])
        if function(0.0) != 0:
            yield sign, Tail(0.0, float(function(0.0))), np.append(0, steps[steps < inner])
        elif function.derivative is not None:
            slope = float(function.derivative(sign * 2.0**-200))
            yield sign, Tail(slope, 0.0), np.append(0, steps[steps < inner])
        if kinks:
            yield sign, IDENTITY, np.append(outer, steps[steps < outer][::-1])
