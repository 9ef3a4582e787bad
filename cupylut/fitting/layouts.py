"""The layouts of segments that there are to choose from, for a branch of a function."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from ..dtypes import DType
from ..tables.segments import Layout
from .branches import Branch


def layouts(dtype: DType, branch: Branch, most: int) -> list[Layout]:
    """All layouts of at most so many segments for a branch, those with few first."""
    found = []
    for offset, bits in offsets(dtype, branch):
        layout = Layout(dtype, offset, bits, branch.cut)
        if layout.count > most:
            continue
        if branch.ends and layout.middles()[-1] != branch.cut:
            continue
        if branch.tail is not None:
            layout = with_tail(layout, branch.tail)
        if np.isfinite(layout.limit):
            found.append(layout)
    if branch.kink is None and branch.tail is not None and 2.0**-10 < branch.cut < 2.0**10:
        found += falling_layouts(dtype, branch.cut, branch.tail)
    return sorted(
        (layout for layout in found if layout.count <= most), key=lambda layout: layout.count
    )


def offsets(dtype: DType, branch: Branch) -> Iterator[tuple[float, int]]:
    """The offsets that there are to choose from, with the bits of their segments' numbers."""
    if branch.kink is None:
        # Where q ends in the middle of a segment, there is to be more of this behind the cut.
        highest = min(max(int(np.ceil(np.log2(branch.cut))) + branch.ends, -10), 9)
        for exponent, bits in product(range(-10, highest + 1), range(11)):
            # Segments begin at round numbers, where functions have kinks, or are around them.
            yield 2.0**exponent, bits
            yield 2.0**exponent + 2.0 ** (exponent - bits) / 2, bits
        return
    # With the lowest power of 2 above the kink, a + offset is exact up to there.
    power = float(np.spacing(dtype.type(branch.kink))) * 2.0 ** (np.finfo(dtype).nmant + 1)
    offset = power - branch.kink
    if offset == branch.kink:  # numbers below it are closer together: the last would round up to it
        offset = float(np.nextafter(dtype.type(offset), dtype.type(0)))
    for bits in range(11):
        yield offset, bits


def falling_layouts(dtype: DType, cut: float, tail: float) -> list[Layout]:
    """The layouts whose segments grow narrower up to the cut: there to a half, a quarter, …."""
    found = []
    for exponent in range(1, 5):
        for bits in range(11):
            # |a + offset| falls from `zero`, the middle of a segment, to a part of that.
            zero = cut / (1 - 2.0**-exponent)
            step = np.exp2(np.floor(np.log2(zero)) - bits)
            zero = float((np.floor(zero / step) + 0.5) * step)
            layout = Layout(dtype, -zero, bits, cut)
            if zero > cut:
                layout = with_tail(layout, tail)
                if layout.limit < zero:
                    found.append(layout)
    return found


def with_tail(layout: Layout, tail: float) -> Layout:
    """The layout with one more segment, of which only the first number will be looked up.

    In float64 the tail has no second coefficient that repairs its rounding. So the limit moves up
    by a few ulp there, to a number for which (tail/limit)·limit is exactly the tail.
    """
    real = layout.dtype.type
    limit, last = real(layout.starts(extra=1)[-1]), layout.count
    while (longer := replace(layout, limit=float(limit))).count == last:
        limit = np.nextafter(limit, real(np.inf))
    if real is np.float64:
        behind = limit * (1 + np.arange(8) * np.finfo(real).eps)
        exact = behind[tail / behind * behind == tail]
        longer = replace(longer, limit=float(exact[0] if exact.size else limit))
    return longer
