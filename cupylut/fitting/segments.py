"""Find segments for a branch of a function, and the polynomials on them."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from ..declaration import Float64Array
from ..tables.segments import Layout
from .branches import Branch, Goal, values
from .chebyshev import chebyshev, powers_of, shifted
from .layouts import layouts
from .simulated import errors, numbers

# Coefficients are those of P·2^−SCALE, so that they are normal numbers where f is not.
SCALE = 80

Solver: TypeAlias = Callable[[Float64Array], Float64Array]


class Quality(NamedTuple):
    """The largest error, in tolerances, and where it was met.

    That is at some thousand numbers, or if `checked` at many more. `good` if it is small enough at
    these.
    """

    worst: float
    at: float
    checked: bool = False
    good: bool = False

    def keeps(self, promise: float) -> bool:
        """Whether it is known to keep a promise."""
        return self.checked and self.worst <= promise


class Fitted(NamedTuple):
    """Segments for a branch, with the coefficients of P·2^k."""

    layout: Layout
    rows: Float64Array
    k: int
    quality: Quality


def fit_branch(goal: Goal, branch: Branch, degree: int, most: int) -> Fitted | None:
    """The fewest segments of this degree that are good enough, or else those nearest to it."""
    others: list[Fitted] = []
    candidates = layouts(goal.dtype, branch, most)
    for layout in candidates:
        if not promising(goal, branch, layout, degree, goal.promise):
            continue
        part = fitted(goal, branch, layout, degree)
        if part.quality.worst <= goal.target:
            part = checked(goal, branch, part)
            if part.quality.good:
                return part
        others.append(part)
    if not others and candidates:  # so that it can be said how far the best is off
        others = [fitted(goal, branch, candidates[-1], degree)]
    nearest = min(others, key=lambda part: part.quality.worst, default=None)
    second = (checked(goal, branch, part) for part in others if part.quality.worst <= goal.promise)
    return next((part for part in second if part.quality.keeps(goal.promise)), nearest)


def promising(
    goal: Goal,
    branch: Branch,
    layout: Layout,
    degree: int,
    within: float,
    solve: Solver = powers_of,
) -> bool:
    """Whether polynomials are so close to q, in tolerances, where it is easily seen.

    That is before any rounding, in a few segments, and where results are finite.
    """
    segments = np.unique(np.linspace(0, max(layout.count - 2, 0), 9).astype(int))
    t = np.array([-0.984375, 0.984375, 0.9375, 0.0625])
    middle, radius = (part[segments, None] for part in _fitted_on(layout))
    a, between = middle + radius * chebyshev(degree), middle + radius * t
    factor = (a, between) if goal.product else (1.0, 1.0)
    powers = solve(branch.q(a) / factor[0])
    value = sum(powers[:, [i]] * t**i for i in range(degree + 1)) * factor[1]
    error = np.abs(value - branch.q(between)).astype(np.float64)
    for member in branch.members:
        exact = values(goal.f, member.sign * between)
        finite = np.abs(exact) <= np.finfo(goal.dtype).max
        if (error > within * goal.tolerance(exact))[finite].any():
            return False
    return True


def _fitted_on(layout: Layout) -> tuple[Float64Array, Float64Array]:
    """Middle and radius of the intervals that the polynomials of segments are fitted on.

    Of the first segment an offset just below where the next begins leaves little. From the middle
    of the whole one, where d is 0, that is so far that rounding errors, extrapolated to there,
    would be all there is of the coefficients. So the interval is as wide as the whole one; but if
    0 is the only number in the segment, it is that.
    """
    starts, ends, middle = layout.starts(), layout.ends(), layout.middles()[0]
    if ends[0] <= np.finfo(layout.dtype).smallest_subnormal:
        ends[0] = 0
    elif middle < 0:
        ends[0] = 2 * (ends[0] - middle)
    return (ends + starts) / 2, (ends - starts) / 2


def fitted(goal: Goal, branch: Branch, layout: Layout, degree: int) -> Fitted:
    """The polynomials on these segments, and their largest error at some thousand numbers."""
    rows, k = interpolate(goal, branch, layout, degree)
    a = numbers(goal, layout, 10_000)
    worst, at = errors(goal, branch, layout, rows, k, a[::16])
    if worst.max() <= 2 * goal.target:  # of most layouts, few numbers tell that they will not do
        worst, at = errors(goal, branch, layout, rows, k, a)
    return Fitted(layout, rows, k, Quality(float(worst.max()), float(at[np.argmax(worst)])))


def checked(goal: Goal, branch: Branch, part: Fitted) -> Fitted:
    """The part with its largest error at many more numbers, most of them where it is largest.

    How roundings meet in a segment is a matter of luck, so the worst segments are searched.
    """
    if part.quality.checked:
        return part
    layout = part.layout
    a = numbers(goal, layout, 60_000)
    worst, at = errors(goal, branch, layout, part.rows, part.k, a)
    of_segment = np.zeros(layout.count)
    np.maximum.at(of_segment, layout.segment(a), worst)
    searched = np.argsort(of_segment)[-4:]
    a = np.linspace(layout.starts()[searched], layout.ends()[searched], 1 << 15).ravel()
    a = a.astype(goal.dtype).astype(np.float64)
    more = errors(goal, branch, layout, part.rows, part.k, a)
    worst, at = np.append(worst, more[0]), np.append(at, more[1])
    largest, good = float(worst.max()), bool(worst.max() <= goal.enough)
    return part._replace(quality=Quality(largest, float(at[np.argmax(worst)]), True, good))


def interpolate(
    goal: Goal, branch: Branch, layout: Layout, degree: int, solve: Solver = powers_of
) -> tuple[Float64Array, int]:
    """The coefficients of every segment, c0, rest, c1, …, of P·2^k, and k."""
    info = np.finfo(goal.dtype)
    curved = slice(None, None if branch.tail is None else -1)
    origins = layout.middles()[curved]
    middle, radius = (part[curved] for part in _fitted_on(layout))
    a = middle[:, None] + radius[:, None] * chebyshev(degree)
    q = branch.q(a)
    p = q / a if goal.product else q
    largest = max(np.abs(p).max(initial=0), np.abs(q).max(initial=0), np.abs(branch.tail or 0))
    k = int(np.clip(info.maxexp - 8 - np.frexp(float(largest))[1], 0, SCALE))
    powers = solve(p * 2.0**k)
    noise = info.eps * 2.0**-22  # below it, coefficients are rounding errors of float64
    powers = shifted(powers, np.where(radius == 0, 0, (origins - middle) / radius))
    powers[np.abs(powers) < noise * np.abs(powers).max(axis=1, keepdims=True)] = 0
    rows = np.zeros((layout.count, degree + 2))
    c0 = powers[:, 0].astype(goal.dtype)
    rows[curved, 0] = c0
    rows[curved, 1] = powers[:, 0] - c0
    rows[curved, 2:] = powers[:, 1:] / radius[:, None] ** np.arange(1, degree + 1)
    rows[curved, 2:][powers[:, 1:] == 0] = 0
    # Where f overflows throughout, terms of opposite signs would give ∞ − ∞.
    rows[curved, 1:][(np.abs(q) > info.max).all(axis=1)] = 0
    if branch.tail is not None:
        tail = branch.tail * 2.0**k / (layout.limit if goal.product else 1)
        rounded = float(goal.dtype.type(tail))
        rows[-1, :2] = rounded, tail - rounded
    if branch.ends:
        rows[-1, :2] = 0
    # Those of P = f(x)/x grow by 1/x with every degree where segments are near 0.
    excess = np.frexp(np.abs(rows).max(initial=0, where=np.isfinite(rows)))[1] - info.maxexp
    excess = int(np.clip(excess, 0, k))
    rows, k = rows * 2.0**-excess, k - excess
    end = branch.q(np.array([layout.limit]))[0] if branch.ends else branch.tail
    if end == 0 and np.signbit(end):  # which a 0 would lose in sums; the result rounds to −0
        rows[-1, 0] = -float(info.tiny)
    return rows.astype(goal.dtype).astype(np.float64), k
