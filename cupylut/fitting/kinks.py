"""Where a function turns or jumps, to a number: there a segment of its table has to begin."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..declaration import Float64Array, Function
from ..dtypes import DType
from .branches import JUMP, Branch, values
from .segments import Fitted

NEAR = 1 / 8  # how far from where a table is at its worst the kink may be, as a part of that
TINY = 2.0**-100  # and beside 0
CELLS = 4096  # in which it is looked for there


def at_kink(
    f: Function, dtype: DType, branches: Sequence[Branch], parts: Sequence[Fitted], x: float
) -> list[Branch] | None:
    """The branches with a segment that begins where f turns near x; None if one does already."""
    sign = -1.0 if np.signbit(x) else 1.0
    on = [sign in [member.sign for member in branch.members] for branch in branches].index(True)
    if branches[on].kink is not None:
        return None
    layout = parts[on].layout
    segment = int(layout.segment(abs(x)))
    found = kink(f, dtype, x, float(layout.starts()[segment]), float(layout.ends()[segment]))
    return [*branches[:on], replace(branches[on], kink=found), *branches[on + 1 :]]


def kink(f: Function, dtype: DType, x: float, start: float = 0.0, end: float = 0.0) -> float:
    """The first magnitude beyond the kink or jump of f near x, on that side of 0.

    A jump in a segment, from start to end, throws its polynomial off all over. So where there is
    none near x, it is looked for in the segment.
    """
    sign = -1.0 if np.signbit(x) else 1.0
    near = abs(x) * (1 - NEAR), max(abs(x) * (1 + NEAR), TINY)
    found, size = _sharpest(f, dtype, sign, *near)
    if size <= JUMP and start < end:
        other, size = _sharpest(f, dtype, sign, min(start, near[0]), max(end, near[1]))
        return other if size > JUMP else found
    return found


def _sharpest(
    f: Function, dtype: DType, sign: float, start: float, end: float
) -> tuple[float, float]:
    """The first magnitude beyond a kink or jump between two, and how far f jumps, as a part of f.

    Of numbers all over there those are taken between which f is farthest from its chord; between
    these f is straight but for the kink. Then of three intervals that overlap, the one where it is,
    again and again, in the order of the dtype's patterns.
    """
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
        off = np.abs(at_m - at_a - (at_b - at_a) * ((m - a) / (b - a)))
        return np.where(np.isfinite(off), off, 0.0)

    first, last = (int(pattern) for pattern in np.array([start, end], dtype).view(word))
    half = max((last - first) // CELLS, 1)
    starts = first + half * np.arange(CELLS - 1)
    while True:
        at_start = int(starts[np.argmax(bend(starts, half))])
        if half == 1:
            break
        smaller = (half + 1) // 2
        starts = at_start + (half - smaller) * np.arange(3)
        half = smaller
    # The number in the middle goes with what follows, or if it is off that, with what is before.
    a, at = f_at(np.maximum(at_start + np.arange(-1, 4), 0))
    off_left, off_right = abs(at[2] - 2 * at[1] + at[0]), abs(at[2] - 2 * at[3] + at[4])
    jump = float(np.ptp(at))
    beyond = 3 if off_right > 4 * off_left + 2.0**-20 * jump else 2
    return float(a[beyond]), jump / max(float(np.abs(at).max()), float(np.finfo(dtype).tiny))
