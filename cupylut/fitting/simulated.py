"""What a polynomial kernel computes, with its roundings, and how far that is from the function."""

from collections.abc import Callable

import numpy as np

from ..declaration import Float64Array
from ..tables.segments import Layout
from .branches import Branch, Goal, Member, jumps, values


def numbers(goal: Goal, layout: Layout, count: int) -> Float64Array:
    """About so many magnitudes that fill each segment, and those at which they meet."""
    points = max(48, count // layout.count)
    starts, ends = layout.starts(), layout.ends()
    crowding_the_ends = (1 - np.cos(np.pi * np.arange(points) / (points - 1))) / 2
    inner = starts[:, None] + (ends - starts)[:, None] * crowding_the_ends
    tiny = starts[1] * np.exp2(np.arange(-120.0, 0.0, 0.5)) if layout.count > 1 else []
    a = np.concatenate([inner.ravel(), tiny, layout.around_starts()])
    return a.astype(goal.dtype).astype(np.float64)


def errors(
    goal: Goal,
    branch: Branch,
    layout: Layout,
    rows: Float64Array,
    k: int,
    a: Float64Array,
    rest: Callable[[Float64Array], Float64Array] = np.zeros_like,
) -> tuple[Float64Array, Float64Array]:
    """The kernel's errors at magnitudes, in tolerances, and for which sign; 0 in the tail.

    `rest` is what is missing in the reference.
    """
    worst, at = np.zeros_like(a), a.copy()
    # At a jump either value will do, and as near to it as a + offset is rounded.
    counts = np.ones(a.shape, np.bool_)
    for jump in jumps(goal.f):
        counts &= np.abs(a - jump) > np.abs(np.spacing(goal.dtype.type(jump + layout.offset)))
    if branch.tail is not None:  # whose own error is another matter
        counts &= layout.segment(a) < layout.count - 1
    for member in branch.members:
        has_zero = (member.sign > 0) == goal.closed
        on = np.flatnonzero(counts if has_zero else counts & (a > 0))
        x = member.sign * a[on]
        exact = values(goal.f, x)
        y = results(goal, member, layout, rows, k, a[on])
        error = np.abs(y - exact - rest(x)) / goal.tolerance(exact)
        error[np.isinf(y) & (y == exact.astype(goal.dtype))] = 0
        error[np.isnan(error)] = np.inf
        larger = error > worst[on]
        worst[on[larger]], at[on[larger]] = error[larger], x[larger]
    return worst, at


def results(
    goal: Goal, member: Member, layout: Layout, rows: Float64Array, k: int, a: Float64Array
) -> Float64Array:
    """What the kernel computes at sign·a, with its roundings; in float64 with those of NumPy.

    Which rounds more often there, having no fused operations.
    """

    def rounded(y: Float64Array) -> Float64Array:
        return y.astype(goal.dtype).astype(np.float64)

    a = np.minimum(a, layout.limit)
    index = layout.segment(a)
    row = rows[index].T
    d = rounded(a - layout.middles()[index])
    r = row[-1]
    for c in row[-2:1:-1]:
        r = rounded(d * r + c)
    r = rounded(d * r + row[1])
    if goal.product and goal.dtype.itemsize == 4:
        z = rounded(a * row[0] + rounded(a * r))
    else:
        z = rounded(row[0] + r) * (a if goal.product else 1.0)
    beside = rounded(z * (member.factor * 2.0**-k) + member.intercept)
    return rounded(member.slope * a + beside)
