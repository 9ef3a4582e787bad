"""Where a function turns or jumps, to a number: there a segment of its table has to begin."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..declaration import Float64Array, Function
from ..dtypes import DType
from .branches import Branch, values

NEAR = 1 / 8  # how far from where a table is at its worst the kink may be, as a part of that
TINY = 2.0**-100  # and beside 0
CELLS = 4096  # in which it is looked for there


def at_kink(f: Function, dtype: DType, branches: Sequence[Branch], x: float) -> list[Branch] | None:
    """The branches with a segment that begins where f turns near x; None if one does already."""
    sign = -1.0 if np.signbit(x) else 1.0
    there = [sign in [member.sign for member in branch.members] for branch in branches]
    if any(on and branch.kink is not None for on, branch in zip(there, branches, strict=True)):
        return None
    found = kink(f, dtype, x)
    return [replace(b, kink=found) if on else b for on, b in zip(there, branches, strict=True)]


def kink(f: Function, dtype: DType, x: float) -> float:
    """The first magnitude beyond the kink or jump of f near x, on that side of 0.

    Of numbers all around x those are taken between which f is farthest from its chord; there f is
    straight but for the kink. Then of three intervals that overlap, the one where it is, again and
    again, in the order of the dtype's patterns.
    """
    sign = -1.0 if np.signbit(x) else 1.0
    word = np.dtype(f"u{dtype.itemsize}")

    def f_at(patterns: NDArray[np.int64]) -> tuple[Float64Array, Float64Array]:
        a = patterns.astype(word).view(dtype).astype(np.float64)
        return a, values(f, sign * a)

    def bend(starts: NDArray[np.int64], half: int) -> NDArray[np.float64]:
        """How far f is from its chord half-way between patterns."""
        (a, m, b), (at_a, at_m, at_b) = (
            np.split(part, 3)
            for part in f_at(np.concatenate([starts, starts + half, starts + 2 * half]))
        )
        return np.abs(at_m - at_a - (at_b - at_a) * ((m - a) / (b - a)))

    ends = np.array([abs(x) * (1 - NEAR), max(abs(x) * (1 + NEAR), TINY)], dtype).view(word)
    start, end = (int(pattern) for pattern in ends)
    half = max((end - start) // CELLS, 1)
    starts = start + half * np.arange(CELLS - 1)
    while True:
        start = int(starts[np.argmax(bend(starts, half))])
        if half == 1:
            break
        smaller = (half + 1) // 2
        starts = np.unique([start, start + half - smaller, start + 2 * (half - smaller)])
        half = smaller
    # The number in the middle goes with what follows, or if it is off that, with what is before.
    _, at = f_at(np.maximum(start + np.arange(-1, 4), 0))
    off_left, off_right = abs(at[2] - 2 * at[1] + at[0]), abs(at[2] - 2 * at[3] + at[4])
    nothing = 2.0**-20 * np.ptp(at)
    first = start + (2 if off_right > 4 * off_left + nothing else 1)
    return float(f_at(np.array([first]))[0][0])
