"""Find the smallest polynomial table of a function: what `PolynomialTable.build` calls.

For each degree and for each side, layouts are tried from the one with the fewest segments on. In
each segment P goes through the function at Chebyshev points, which is within a few per cent of the
best polynomial; its coefficients are rounded to the dtype; then the kernel's steps are taken, with
their roundings, at points that fill each segment, and compared with the reference. The first layout
that is good enough is kept, and of the degrees the one that gives the fewest bytes.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from itertools import product
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.polynomial.chebyshev import cheb2poly, chebvander

from ..accuracy import UNMEASURED, DType, ulp
from ..declaration import Float64Array, Function
from .halves import (
    DESIGN,
    PROMISE,
    STRICTER,
    Goal,
    Half,
    Member,
    divides_by_x,
    ended,
    float64_error,
    halves_of,
    jumps,
    magnitudes,
    nearly,
    values,
    zero_floor,
)
from .polynomial import Layout, PolynomialTable, Side

MAX_BYTES = 48 * 1024  # of shared memory, which every device gives a block
# Odd ones by itemsize, so that entries of an odd number of words begin in different banks of shared
# memory; the last need the most room.
DEGREES = {4: (7, 5, 3), 8: (11, 9, 7)}

# Coefficients are those of P·2^−SCALE, so that they are normal numbers where f is not.
SCALE = 80

Solver: TypeAlias = Callable[[Float64Array], Float64Array]
Item = TypeVar("Item")


class Fitted(NamedTuple):
    """Segments for a half: coefficients of P·2^k, and the largest error, in tolerances."""

    layout: Layout
    rows: Float64Array
    k: int
    worst: float
    at: float


class Design(NamedTuple):
    """Segments of one degree for all of a function."""

    halves: tuple[Half, ...]
    parts: tuple[Fitted, ...]

    @property
    def rows(self) -> Float64Array:
        return np.concatenate([part.rows for part in self.parts])

    @property
    def worst(self) -> float:
        return max(part.worst for part in self.parts)

    @property
    def at(self) -> float:
        return max(self.parts, key=lambda part: part.worst).at


def fit(f: Function, dtype: DType, error: float | None) -> PolynomialTable:
    """The smallest table within the promise, or within `error`; see `PolynomialTable.build`."""
    with np.errstate(all="ignore"):
        if error is None and dtype.itemsize == 8:
            error = float64_error(f)
        floor = zero_floor(f, dtype) if error is None else 0.0
        goal = Goal(f, dtype, error, divides_by_x(f), floor)
        if floor and not zero_floor(f, dtype, ends=False):
            exact = replace(goal, floor=0.0)
            design = smallest(exact, [ended(half, dtype) for half in halves_of(exact, 0.0)])
            if design and (design := checked(exact, design)).worst <= PROMISE:
                return assemble(exact, design)
        return assemble(goal, within_promise(goal))


def within_promise(goal: Goal) -> Design:
    """The design to take; ValueError where none is good enough."""
    f, dtype, error = goal.f, goal.dtype, goal.error
    # What the tail may be off by: nothing in float32, if the table has room for that.
    allowed = [0.9 * error] if error else [0.0, 2.0**-26] if dtype.itemsize == 4 else [2.0**-53]
    aims = [STRICTER] if error or goal.floor else [DESIGN, STRICTER]
    nearest: Design | None = None
    for off, aim in product(allowed, aims):
        design = smallest(replace(goal, design=aim), halves_of(goal, off))
        if design is not None:
            design = checked(goal, design)
            if design.worst <= goal.promise:
                return design
            if nearest is None or design.worst < nearest.worst:
                nearest = design
    if nearest is None:
        raise ValueError(f"no polynomial table of {f.name} fits in {MAX_BYTES:,} bytes")
    bound = f"an error of {error:g}" if error else f"{PROMISE:g} ulp"
    reached = f"{nearest.worst * error:.3g}" if error else f"{nearest.worst:.3g} ulp"
    count, columns = nearest.rows.shape
    raise ValueError(
        f"no polynomial table of at most {MAX_BYTES:,} bytes is within {bound} of {f.name} in "
        f"{dtype.name}: the best, {count} segments of degree {columns - 2}, is off by {reached} at "
        f"{nearest.at:.6g}"
    )


def smallest(goal: Goal, halves: list[Half]) -> Design | None:
    """The smallest design within the goal, or else the one that comes nearest to it."""
    best: Design | None = None
    for degree in progress(DEGREES[goal.dtype.itemsize]):
        words = MAX_BYTES // goal.dtype.itemsize
        if best is not None and best.worst <= goal.design:
            words = best.rows.size - 1
        parts: list[Fitted] = []
        for half in halves:
            room = words // (degree + 2) - sum(part.layout.count for part in parts)
            part = fit_half(goal, half, degree, room)
            if part is None:
                break
            parts.append(part)
        else:
            design = Design(tuple(halves), tuple(parts))
            if best is None or design.worst <= goal.design or design.worst < best.worst:
                best = design
    return best


def progress(degrees: Iterable[Item]) -> Iterable[Item]:
    """The same, with a progress bar past one second where tqdm is installed."""
    if not find_spec("tqdm"):
        return degrees
    from tqdm import tqdm

    bar: Iterable[Item] = tqdm(degrees, "fitting", delay=1, leave=False, disable=None)
    return bar


def fit_half(goal: Goal, half: Half, degree: int, most: int) -> Fitted | None:
    """The fewest segments of this degree within the goal, or else those that come nearest."""
    nearest: Fitted | None = None
    for layout in layouts(goal.dtype, half, most):
        rows, k = interpolate(goal, half, layout, degree)
        worst, at = worst_error(goal, half, layout, rows, k)
        fitted = Fitted(layout, rows, k, worst, at)
        if worst <= goal.design:
            return fitted
        if nearest is None or worst < nearest.worst:
            nearest = fitted
    return nearest


def worst_error(
    goal: Goal,
    half: Half,
    layout: Layout,
    rows: Float64Array,
    k: int,
    tries: int = 10_000,
    rest: Callable[[Float64Array], Float64Array] = np.zeros_like,
) -> tuple[float, float]:
    """The kernel's largest error in tolerances, and where, at about so many points.

    `rest` is what is missing in the reference.
    """
    points = max(48, tries // layout.count)
    starts = layout.starts()
    ends = np.append(starts[1:], layout.limit)
    crowding_the_ends = (1 - np.cos(np.pi * np.arange(points) / (points - 1))) / 2
    inner = starts[:, None] + (ends - starts)[:, None] * crowding_the_ends
    tiny = starts[1] * np.exp2(np.arange(-120.0, 0.0, 0.5)) if layout.count > 1 else []
    # The last numbers of a segment round to the next one's in a + offset, half a spacing early.
    early = starts - np.spacing((starts + layout.offset).astype(goal.dtype)) / 2
    a = np.concatenate([inner.ravel(), tiny, early, early * (1 + np.finfo(goal.dtype).eps)])
    a = np.abs(a).astype(goal.dtype).astype(np.float64)
    if half.tail is not None:  # whose own error is another matter
        a = a[layout.number(a) < layout.first + layout.count - 1]
    # At a jump either value will do, and as near to it as a + offset is rounded.
    for jump in jumps(goal.f):
        a = a[np.abs(a - jump) > np.spacing(goal.dtype.type(jump + layout.offset))]
    worst, at = 0.0, 0.0
    for member in half.members:
        x = member.sign * (a if member.sign < 0 else a[a > 0])
        exact = values(goal.f, x)
        y = kernel(goal, member, layout, rows, k, np.abs(x))
        error = np.abs(y - exact - rest(x)) / goal.tolerance(exact)
        error[np.isinf(y) & (y == exact.astype(goal.dtype))] = 0
        error[np.isnan(error)] = np.inf
        if error.size and error.max() > worst:
            worst, at = float(error.max()), float(x[np.argmax(error)])
    return worst, at


def checked(goal: Goal, design: Design) -> Design:
    """The design with its largest error at many more points."""
    parts = []
    for half, part in zip(design.halves, design.parts, strict=True):
        worst, at = worst_error(goal, half, part.layout, part.rows, part.k, 300_000)
        parts.append(part._replace(worst=worst, at=at))
    return Design(design.halves, tuple(parts))


def assemble(goal: Goal, design: Design) -> PolynomialTable:
    """The table of a design."""
    sides: dict[float, Side] = {}
    ends, tail_error = [], 0.0
    rows, entries = apart_in_banks(goal.dtype, [part.rows for part in design.parts])
    for half, part, entry in zip(design.halves, design.parts, entries, strict=True):
        for member in half.members:
            scale = member.factor * 2.0**-part.k
            sides[member.sign] = Side(part.layout, scale, member.slope, member.intercept, entry)
    for sign, tail in ((-1, goal.f.left), (1, goal.f.right)):
        layout, x = sides[sign].layout, magnitudes(goal.dtype)
        # A little below the limit, a + offset already rounds to where the tail begins.
        end = layout.limit - np.spacing(goal.dtype.type(layout.limit + layout.offset))
        x = sign * np.array([end, layout.limit, *x[x > layout.limit]])
        exact = values(goal.f, x)
        gap = np.abs(exact - tail(x)) if tail else np.zeros_like(x)
        exactly = goal.error is not None or (gap <= nearly(exact, goal.dtype))[1:].all()
        ends.append(np.inf if exactly else float(end))
        tail_error = tail_error if exactly else max(tail_error, float(gap.max()))
    table = PolynomialTable(
        name=goal.f.name,
        dtype=goal.dtype,
        product=goal.product,
        left=sides[-1],
        right=sides[1],
        rows=rows,
        domain=(-ends[0], ends[1]),
        tail_error=tail_error,
        floor=goal.floor,
        error=goal.error,
        worst_ulp=design.worst,
        report=UNMEASURED,
    )
    # Beyond the limits, where the slope of the line is rounded too.
    a = magnitudes(goal.dtype)
    x = np.concatenate([-a[a > sides[-1].layout.limit], a[a > sides[1].layout.limit]])
    x = x[(x >= table.domain[0]) & (x <= table.domain[1])].astype(goal.dtype)
    if x.size:
        y, exact = np.empty_like(x), values(goal.f, x.astype(np.float64))
        table.evaluate(x, y)
        # The reference is rounded too, which counts where an absolute error is allowed.
        error = np.abs(y - exact) - 2 * ulp(exact, np.float64)
        error = np.maximum(error, 0) / goal.tolerance(exact)
        error[np.isinf(y) & (y == exact.astype(goal.dtype))] = 0
        table = replace(table, worst_ulp=max(design.worst, float(error.max())))
    return table.measured(goal.f)


def apart_in_banks(dtype: DType, parts: list[Float64Array]) -> tuple[Float64Array, list[int]]:
    """The rows of one or two parts in one table, and where each begins.

    Entries of an odd number of words begin in different banks of shared memory, as many in turn as
    128 bytes have words. Most inputs are near 0, and for either sign so are their entries to the
    beginning of a part. So the second one begins half a turn behind the first, with unused rows
    before it, and a warp that reads entries of both finds them in different banks.
    """
    turn = 128 // dtype.itemsize
    first, *others = parts
    if not others or sum(map(len, parts)) <= turn:
        return np.concatenate(parts), [0, len(first)][: len(parts)]
    unused = (turn // 2 - len(first)) % turn
    if (sum(map(len, parts)) + unused) * first.shape[1] * dtype.itemsize > MAX_BYTES:
        unused = 0
    between = np.zeros((unused, first.shape[1]))
    return np.concatenate([first, between, *others]), [0, len(first) + unused]


def layouts(dtype: DType, half: Half, most: int) -> list[Layout]:
    """All layouts of at most so many segments for a half, those with few first."""
    info = np.finfo(dtype)
    found = []
    # Where q ends in the middle of a segment, there is to be more of this behind the cut.
    highest = min(max(int(np.ceil(np.log2(half.cut))) + half.ends, -10), 9)
    for exponent in range(-10, highest + 1):
        for bits in range(11):
            layout = Layout(dtype, 2.0**exponent, bits, half.cut)
            if layout.count > most:
                break
            if half.ends and layout.points(layout.origin)[-1] != half.cut:
                continue
            if half.tail is not None:  # the tail begins with a segment
                starts = layout.starts(extra=1)
                limit = starts[-2] if starts[-2] >= half.cut else starts[-1]
                if not limit <= info.max:
                    continue
                layout = replace(layout, limit=float(limit))
            if layout.count <= most:
                found.append(layout)
    return sorted(found, key=lambda layout: layout.count)


@cache
def chebyshev(degree: int) -> Float64Array:
    """Chebyshev points in (−1, 1), of so few bits that those of a segment are exact."""
    angles = (np.arange(degree + 1) + 0.5) * (np.pi / (degree + 1))
    return np.asarray(np.rint(np.cos(angles) * 2.0**12) * 2.0**-12)


@cache
def _to_powers(degree: int) -> tuple[Float64Array, Float64Array]:
    """Matrices from values at these points to Chebyshev coefficients, and from them to powers."""
    to_coefficients = np.asarray(np.linalg.inv(chebvander(chebyshev(degree), degree)).T, np.float64)
    rows = [np.pad(cheb2poly(row[: i + 1]), (0, degree - i))
            for i, row in enumerate(np.eye(degree + 1))]  # fmt: skip
    return to_coefficients, np.array(rows)


def powers_of(p: Float64Array) -> Float64Array:
    """The coefficients of the polynomials in t with these values at the Chebyshev points."""
    to_coefficients, to_powers = _to_powers(p.shape[1] - 1)
    return np.asarray(p @ to_coefficients @ to_powers)


def shifted(powers: Float64Array, by: Float64Array) -> Float64Array:
    """The coefficients of p(t + by) from those of p(t), for a column of shifts."""
    result = powers.copy()
    for i in range(powers.shape[1] - 1):
        for j in range(powers.shape[1] - 2, i - 1, -1):
            result[:, j] += by * result[:, j + 1]
    return result


def interpolate(
    goal: Goal, half: Half, layout: Layout, degree: int, solve: Solver = powers_of
) -> tuple[Float64Array, int]:
    """The coefficients of every segment, c0, rest, c1, …, of P·2^k, and k."""
    info = np.finfo(goal.dtype)
    starts, origins = layout.starts(), layout.points(layout.origin)
    ends = np.append(starts[1:], layout.limit)
    curved = slice(None, None if half.tail is None else -1)
    middle, radius = ((ends + starts) / 2)[curved], ((ends - starts) / 2)[curved]
    a = middle[:, None] + radius[:, None] * chebyshev(degree)
    q = half.q(a)
    p = q / a if goal.product else q
    largest = max(np.abs(p).max(initial=0), np.abs(q).max(initial=0), np.abs(half.tail or 0))
    k = int(np.clip(info.maxexp - 8 - np.frexp(float(largest))[1], 0, SCALE))
    powers = solve(p * 2.0**k)
    noise = info.eps * 2.0**-22  # below it, coefficients are rounding errors of float64
    powers = shifted(powers, (origins[curved] - middle) / radius)
    powers[np.abs(powers) < noise * np.abs(powers).max(axis=1, keepdims=True)] = 0
    rows = np.zeros((layout.count, degree + 2))
    c0 = powers[:, 0].astype(goal.dtype)
    rows[curved, 0] = c0
    rows[curved, 1] = powers[:, 0] - c0
    rows[curved, 2:] = powers[:, 1:] / radius[:, None] ** np.arange(1, degree + 1)
    # Where f overflows throughout, terms of opposite signs would give ∞ − ∞.
    rows[curved, 1:][(np.abs(q) > info.max).all(axis=1)] = 0
    if half.tail is not None:
        tail = half.tail * 2.0**k / (layout.limit if goal.product else 1)
        c0 = np.asarray(tail, goal.dtype)
        rows[-1, :2] = c0, tail - c0
    if half.ends:
        rows[-1, :2] = 0
    end = half.q(np.array([layout.limit]))[0] if half.ends else half.tail
    if end == 0 and np.signbit(end):  # which a 0 would lose in sums; the result rounds to −0
        rows[-1, 0] = -float(info.tiny)
    return rows.astype(goal.dtype).astype(np.float64), k


def kernel(
    goal: Goal, member: Member, layout: Layout, rows: Float64Array, k: int, a: Float64Array
) -> Float64Array:
    """What the kernel computes at sign·a, with its roundings."""

    def rounded(y: Float64Array) -> Float64Array:
        return y.astype(goal.dtype).astype(np.float64)

    a = np.minimum(a, layout.limit)
    index = layout.number(a) - layout.first
    row = rows[index].T
    d = rounded(a - layout.points(layout.origin)[index])
    r = row[-1]
    for c in row[-2:1:-1]:
        r = rounded(d * r + c)
    r = rounded(d * r + row[1])
    z = rounded(a * row[0] + rounded(a * r)) if goal.product else rounded(row[0] + r)
    beside = rounded(z * (member.factor * 2.0**-k) + member.intercept)
    return rounded(member.slope * a + beside)
