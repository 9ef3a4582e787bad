"""On which side of a rounding tie f is, where float64 no longer tells.

Rounding to a narrow dtype turns over in the middle between two neighbours, and the float64
reference decides on which side f is. It is accurate enough except where f runs along a straight
line, for a line meets middles exactly. Near 9.5 gelu(x) is x − 10⁻²⁰, which is x in float64; 9.5
lies in the middle between two integers, and the exact value, below it, goes to 9, not to the even
10. `beside_lines` moves such values off their line, to the side on which f is seen where float64
still tells the two apart.
"""

from collections.abc import Iterator

import numpy as np

from .declaration import IDENTITY, Float64Array, Function, Tail
from .names import is_known

NOISE = 2.0**-44  # more than the relative error of a reference where it follows a line
NOTHING = 2.0**-1000  # less than any result, but not than what is lost of subnormal numbers


def beside_lines(function: Function, x: Float64Array, y: Float64Array) -> Float64Array:
    """The results y = f(x) of float64, moved to an odd number where they hide on which side f is.

    Of a function that the library does not know nobody knows where its branches meet: y stays.
    """
    y = y.copy()
    with np.errstate(all="ignore"):  # ∞ − ∞ among others
        for sign, line, steps in _lines(function) if is_known(function) else ():
            ahead = sign * steps
            gap = function(ahead) - line(ahead)
            seen = np.flatnonzero(np.abs(gap) > np.maximum(NOISE * np.abs(line(ahead)), NOTHING))
            last, side = (seen[0], np.sign(gap[seen[0]])) if seen.size else (-1, 0.0)
            start, end = sorted((steps[0], steps[last]))
            there = (start < sign * x) & (sign * x < end)
            there &= np.abs(y - line(x)) <= NOISE * np.abs(line(x))
            on = x[there]
            # If the slope is a parameter, slope·x is itself rounded. That error decides the side
            # where it exceeds the gap between f and the line, which shrinks like x² towards zero.
            exact = line.slope in function.parameters and not line.intercept
            lost = _lost(line.slope, on) if exact else np.zeros_like(on)
            beyond = np.abs(gap[last]) * np.square(on / steps[last]) if seen.size else 0.0
            towards = np.where(np.abs(lost) > beyond, np.sign(lost), side)
            # A tie is a tie where f is the line itself, and an odd number is none.
            stays = (towards == 0) | (line(on).view(np.int64) % 2 == 1)
            y[there] = np.where(stays, line(on), np.nextafter(line(on), towards * np.inf))
    return y


def _lost(slope: float, x: Float64Array) -> Float64Array:
    """What rounding takes from slope·x; Dekker's product, Numerische Mathematik 18 (1971)."""

    def halves(a: Float64Array) -> tuple[Float64Array, Float64Array]:
        high = a * (2.0**27 + 1)
        high = high - (high - a)
        return high, a - high

    (a, b), (c, d) = halves(np.array(slope)), halves(x)
    return a * c - slope * x + a * d + b * c + b * d


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
