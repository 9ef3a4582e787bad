"""What of a function a polynomial table has to describe: its branches, tails and tolerances."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..declaration import Float64Array, Function, Tail
from ..dtypes import DType, ulp

# What tables promise and, since the points tried are not all inputs, what they are designed for.
PROMISE, TARGET, STRICTER = 2.0, 1.5, 0.8

# How much larger than the smallest a table may be that takes fewer passes, and up to what.
GROWTH, ROOMY_BYTES = 4, 16 * 1024

# What counts as zero, beside what f is elsewhere, and what is no continuous change.
NOTHING, JUMP = 2.0**-64, 2.0**-10

# What float64 tables promise whose function nobody knows better: an absolute error, or beside f.
FLOAT64_ERROR, FLOAT64_RELATIVE_ERROR = 1e-13, 1e-14


class Member(NamedTuple):
    """One sign of x: f(sign·a) = intercept + slope·a + factor·q(a).

    Without a line, slope and intercept are −0, because y + (−0) is y for every y, −0 included.
    """

    sign: float
    slope: float
    intercept: float
    factor: float
    cut: float  # from which magnitude on the tail will do


@dataclass(frozen=True)
class Branch:
    """The signs of x that share segments, and q.

    `tail` is q beyond the cut, None without one; if the branch `ends`, a goes no further. A segment
    has to begin at the `kink`, if there is one.
    """

    members: tuple[Member, ...]
    q: Callable[[Float64Array], Float64Array]
    tail: float | None
    ends: bool = False
    kink: float | None = None

    @property
    def cut(self) -> float:
        return max(member.cut for member in self.members)


@dataclass(frozen=True)
class Goal:
    """What to fit to what accuracy; f itself may be off by `noise` ulp of float64.

    A table may be `growth` times as large as the smallest if it takes fewer passes. Without `lines`
    tails with a slope are not added to polynomials, which then go on to the largest number. If it
    is `closed`, 0 is on the right side, else on the left.
    """

    f: Function
    dtype: DType
    error: float | None
    product: bool
    floor: float
    target: float = TARGET
    noise: float = 2.0
    growth: int = GROWTH
    lines: bool = True
    closed: bool = False

    def tolerance(self, exact: Float64Array) -> Float64Array:
        """One ulp, or the largest error allowed, but for what the reference may be off by."""
        if self.error is not None:
            return np.maximum(self.error, self.noise * ulp(exact, np.float64))
        return np.maximum(ulp(exact, self.dtype), self.floor)

    def nearly(self, exact: Float64Array) -> Float64Array:
        """Half an ulp, and what the reference may be off by."""
        return ulp(exact, self.dtype) / 2 + self.noise * ulp(exact, np.float64)

    def room(self, smallest: int) -> int:
        """How many words a table may have for fewer passes, beside the smallest one's."""
        roomy = ROOMY_BYTES // self.dtype.itemsize
        return max(smallest, min(self.growth * smallest, roomy))

    @property
    def promise(self) -> float:
        return PROMISE if self.error is None else 1.0

    @property
    def enough(self) -> float:
        """What may be met at many more points than `target` is for."""
        return self.target + (self.promise - self.target) / 5


def divides_by_x(f: Function) -> bool:
    """Whether the polynomials are those of f(x)/x: where f(0) = 0 and f does not jump there."""
    beside, size = np.abs(f([-(2.0**-60), 2.0**-60])), np.abs(f(np.linspace(-1, 1, 65))).max()
    return f.keeps_zero and bool((beside <= JUMP * size).all())


def is_closed(f: Function) -> bool:
    """Whether f jumps at 0 and f(0) belongs to what follows, as of a step that is 1 for x ≥ 0."""
    before, at, after = (float(y) for y in f([-(2.0**-60), 0.0, 2.0**-60]))
    return abs(at - before) > JUMP * abs(at + before) / 2 and abs(at - after) < abs(at - before) / 2


def jumps(f: Function) -> list[float]:
    """The magnitudes other than 0 where f is not continuous, as derivatives may be."""
    return [
        abs(kink)
        for kink in f.kinks
        if kink and abs(np.diff(f(kink * np.array([1 - 2.0**-20, 1 + 2.0**-20])))[0]) > JUMP
    ]


def magnitudes(dtype: DType) -> Float64Array:
    """Positive numbers, 32 to an octave where it matters: all sizes of float32, up to its largest.

    Of those beyond, float64 has some, but many a reference overflows there on its way.
    """
    info = np.finfo(dtype)
    exponents = np.arange(32 * max(info.minexp - info.nmant, -200), 32 * 128) / 32
    return (
        np.append(np.exp2(exponents), float(np.finfo(np.float32).max))
        .astype(dtype)
        .astype(np.float64)
    )


def values(f: Function, x: Float64Array) -> Float64Array:
    """f(x), or a ValueError with name and place where that is not a number."""
    y = f(x)
    if np.isnan(y).any():
        where = x[np.isnan(y)][np.argmin(np.abs(x[np.isnan(y)]))]
        raise ValueError(f"{f.name}({where + 0.0:g}) is NaN: give a function of every number")
    return y


def finite_values(f: Function, x: Float64Array) -> Float64Array:
    """f(x), or a ValueError with name and place where that is not a finite number."""
    y = values(f, x)
    if np.isinf(y).any():
        raise ValueError(f"{f.name}({x[np.isinf(y)][0]:g}) is not finite")
    return y


def float64_error(f: Function) -> float:
    """The absolute error allowed in float64, where the reference does not tell what 2 ulp are."""
    constants = [tail.intercept for tail in (f.left, f.right) if tail is not None]
    size = float(np.abs([*finite_values(f, np.linspace(-1, 1, 65)), *constants]).max())
    return max(FLOAT64_ERROR, FLOAT64_RELATIVE_ERROR * size)


def zero_floor(f: Function, dtype: DType, ends: bool = True) -> float:
    """The absolute error allowed since f is zero, or nearly, elsewhere than at 0.

    A zero at x ≠ 0 is no number of the dtype, and so f has no relative accuracy there. Without
    `ends`, a zero does not count from which on f stays zero: `ended` may do without a floor.
    """
    a, near = magnitudes(dtype), _size_near_zero(f)
    floor = float(np.finfo(dtype).eps) / 2 * near
    for x in (a, -a):
        y = values(f, x)
        meets_zero = (np.sign(y[1:]) != np.sign(y[:-1])) & (np.abs(y[1:] - y[:-1]) > NOTHING * near)
        if not ends and y.any():
            meets_zero[np.flatnonzero(y)[-1] :] = False
        if meets_zero.any() or _touches_zero(f, x, y, floor):
            return floor
    return 0.0


def _touches_zero(f: Function, x: Float64Array, y: Float64Array, floor: float) -> bool:
    """Whether f comes nearer to zero than the floor between numbers, and goes away again."""
    size = np.abs(y)
    lowest = (size[1:-1] < size[:-2]) & (size[1:-1] < size[2:])
    # Between two numbers next to a kink at zero, one is at most a third of the larger; next to a
    # double zero, a ninth.
    lowest &= size[1:-1] <= np.maximum(size[:-2], size[2:]) / 2
    for i in np.flatnonzero(lowest) + 1:
        from scipy.optimize import minimize_scalar  # a quarter of a second, for few functions

        ends = sorted((float(x[i - 1]), float(x[i + 1])))
        found = minimize_scalar(
            lambda at: abs(float(f(at))), bounds=ends, method="bounded", options={"xatol": 1e-12}
        )
        if found.fun <= floor:
            return True
    return False


def _size_near_zero(f: Function) -> float:
    """The largest |f| on [−1, 1], or the smallest power of 2 beyond where f is not 0 throughout."""
    for end in np.exp2(np.arange(128)):
        size = float(np.abs(values(f, end * np.linspace(-1, 1, 1025))).max())
        if size:
            return size
    return 0.0


def ended(branch: Branch, dtype: DType) -> Branch:
    """The branch without a tail where q ends in a zero, as hardswish does at −3, not fading out.

    The magnitude stays at the cut then, the zero, which is in the middle of the last segment. There
    d is exact, so that a polynomial without a constant term is as accurate as q is small. At the
    start of a segment, where a + offset is rounded, it would not be.
    """

    def q(a: float) -> float:
        return abs(float(branch.q(np.array([a]))[0]))

    a = magnitudes(dtype)
    size = np.abs(branch.q(a))
    if branch.tail != 0 or not size.any() or size[-1]:
        return branch
    last = int(np.flatnonzero(size)[-1])
    before, end = a[last : last + 2].astype(dtype)
    while before < (middle := ((before + end) / 2).astype(dtype)) < end:
        before, end = (before, middle) if q(middle) == 0 else (middle, end)
    if size[last] <= NOTHING * size.max() or q(before) > JUMP * size.max():
        return branch
    members = tuple(member._replace(cut=float(end)) for member in branch.members)
    return Branch(members, branch.q, tail=None, ends=True)


def branches_of(goal: Goal, allowed: float) -> list[Branch]:
    """The parts of f that have segments of their own; the tail may be off by `allowed`."""
    f, dtype = goal.f, goal.dtype

    left, right = (tail if goal.lines or not (tail and tail.slope) else None
                   for tail in (f.left, f.right))  # fmt: skip

    def line(sign: float, tail: Tail | None) -> float:
        """The slope of the line over a."""
        if tail is None:  # a slope too small to count, which makes infinity infinite
            end = float(values(f, np.array([sign * np.inf]))[0])
            tiny = float(np.finfo(dtype).smallest_subnormal)
            return float(np.copysign(tiny, end)) if np.isinf(end) else -0.0
        return float(dtype.type(sign * tail.slope)) if tail.slope else -0.0

    def member(sign: float, slope: float, intercept: float, factor: float) -> Member:
        tail = left if sign < 0 else right
        return Member(sign, slope, intercept, factor, cut(goal, sign, tail, allowed))

    if f.symmetry == "gate" and left is not None and left.slope == 0 and right is not None:
        members = member(-1, -0.0, -0.0, 1), member(1, 1.0, -0.0, 1)
        return [Branch(members, lambda a: values(f, -a), left.intercept)]
    if f.symmetry in ("odd", "even") and right is not None:
        mirror, slope = -1 if f.symmetry == "odd" else 1, line(1, right)
        members = member(-1, mirror * slope, -0.0, mirror), member(1, slope, -0.0, 1)
        return [Branch(members, lambda a: values(f, a) - slope * a, right.intercept)]
    if f.symmetry == "complement" and left is not None and left.slope == 0:
        members = member(-1, -0.0, -0.0, 1), member(1, -0.0, 1, -1)
        return [Branch(members, lambda a: values(f, -a), left.intercept)]

    def branch(sign: float, tail: Tail | None) -> Branch:
        slope = line(sign, tail)

        def q(a: Float64Array) -> Float64Array:
            return values(f, sign * a) - slope * a

        return Branch((member(sign, slope, -0.0, 1),), q, None if tail is None else tail.intercept)

    return [branch(-1, left), branch(1, right)]


def cancels(goal: Goal, branch: Branch) -> bool:
    """Whether a line takes away so much of q somewhere that its rounding alone exceeds the target.

    As of x·σ(x − 1) for small x > 0, which is 0.27·x there, and x less 0.73·x.
    """
    for member in branch.members:
        if member.slope or member.intercept:
            a = magnitudes(goal.dtype)
            a = a[a < member.cut]
            lost = ulp(branch.q(a), goal.dtype) / goal.tolerance(values(goal.f, member.sign * a))
            if (lost > 2 * goal.target).any():
                return True
    return False


def cut(goal: Goal, sign: float, tail: Tail | None, allowed: float) -> float:
    """From which magnitude on the tail is right to half an ulp, or to `allowed`."""
    x = sign * magnitudes(goal.dtype)
    if tail is None:
        return float(np.finfo(goal.dtype).max)
    exact = finite_values(goal.f, x)
    if goal.error is not None:  # the tail is rounded too
        lost = float(np.abs(tail(x) - tail(x).astype(goal.dtype))[-1])
        allowed = min(allowed, goal.error - lost) if lost < goal.error else allowed
    far = ~(np.abs(exact - tail(x)) <= np.maximum(goal.nearly(exact), allowed))
    if far[-1] and allowed == 0:
        return float(np.finfo(goal.dtype).max)  # nowhere
    if far[-1]:
        side = "left" if sign < 0 else "right"
        raise ValueError(
            f"{goal.f.name}({x[-1]:g}) = {exact[-1]:.6g}, which is {(exact - tail(x))[-1]:+.3g} "
            f"beside the {side} tail, {tail}: give the tail that the function approaches"
        )
    return float(abs(x[np.flatnonzero(far)[-1] + 1])) if far.any() else float(abs(x[0]))
