"""Find the coefficients of the compact tables.

Every input says in which interval q(|x|) must lie for its result to round correctly, and so where
the root p of q must lie. In each segment a linear program looks for the polynomial that stays
farthest inside, in units of what the roundings of the evaluation can do to it. Its coefficients are
rounded one by one, from the highest power down, and the others are found again. Then the evaluation
is simulated to the bit. While inputs fail, the program has to stay twice as far inside for them.
"""

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from ..accuracy import correctly_rounded
from ..declaration import Float64Array
from ..dtypes import DType, all_inputs, widened
from ..functions import FUNCTIONS
from ..tables.compact import SEGMENTS, Layout, gate, simulate
from ..tables.floating import Float32Array
from ..tables.shipped import unparse

EPSILON = 2.0**-24  # what rounding to float32 changes, at most, relative to the result
ATTEMPTS = 10
ROWS = 30  # inputs that join a linear program at a time


class Design(NamedTuple):
    """What is chosen for a table, before anything is computed."""

    degree: int
    squarings: int
    offset: float = 2.0
    shift: int = 0


# Found by trying: the cheapest that can be fitted. Between an offset of 1.184 and the next multiple
# of 1/16, the width of segments for shift 19, is a narrow one: most inputs lie close to 0.
DESIGNS = {
    ("gelu", "float16"): Design(degree=3, squarings=1),
    ("gelu_tanh", "float16"): Design(degree=3, squarings=1),
    ("silu", "float16"): Design(degree=3, squarings=1, offset=1.184, shift=19),
    ("quick_gelu", "float16"): Design(degree=3, squarings=1, offset=1.25, shift=19),
    ("gelu", "bfloat16"): Design(degree=2, squarings=4),
    ("gelu_tanh", "bfloat16"): Design(degree=2, squarings=5),
    ("silu", "bfloat16"): Design(degree=3, squarings=4, offset=1.5, shift=20),
    ("quick_gelu", "bfloat16"): Design(degree=3, squarings=4, offset=1.5, shift=20),
}


def numbers(name: str, dtype: DType) -> tuple[NDArray[Any], NDArray[Any]]:
    """All finite inputs, and the correctly rounded results."""
    x, y = all_inputs(dtype), correctly_rounded(FUNCTIONS[name], dtype)
    finite = np.isfinite(widened(x))
    return x[finite], y[finite]


def lay_out(name: str, dtype: DType, design: Design) -> Layout:
    """The limit, from which f(−x) is −0, and the scale that stretches the segments up to it."""
    x, y = (widened(each) for each in numbers(name, dtype))
    last = np.min(x[(x < 0) & (y != 0)])
    limit = -float(np.max(x[x < last]))
    layout = Layout(limit, 1.0, design.offset, design.shift, design.squarings)
    beyond = np.uint32(layout.first + SEGMENTS << layout.shift).view(np.float32)
    # Up to the middle below it, t·scale + offset is rounded to a number of the last segment.
    end = (float(beyond) + float(np.nextafter(beyond, np.float32(0)))) / 2
    scale = np.float32((end - design.offset) / limit)
    while replace(layout, scale=float(scale)).segment(limit) >= SEGMENTS:
        scale = np.nextafter(scale, np.float32(0))
    return replace(layout, scale=float(scale))


def room(y: NDArray[Any]) -> tuple[Float64Array, Float64Array]:
    """The least and the greatest float32 that round to each of these 16-bit numbers."""
    magnitude = y.view(np.uint16) & np.uint16(0x7FFF)

    def value(magnitude: NDArray[np.uint16]) -> Float64Array:
        return widened(magnitude.view(y.dtype))

    outer = (value(magnitude) + value(magnitude + np.uint16(1))) / 2
    inner = (value(magnitude) + value(np.maximum(magnitude, 1) - np.uint16(1))) / 2
    odd = magnitude % 2 == 1  # the middles round to even numbers
    outer = np.where(odd, np.nextafter(outer.astype(np.float32), np.float32(0)), outer)
    inner = np.where(odd, np.nextafter(inner.astype(np.float32), np.float32(np.inf)), inner)
    negative = np.signbit(widened(y))
    return np.where(negative, -outer, inner), np.where(negative, -inner, outer)


def bounds(
    name: str, dtype: DType, layout: Layout
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Magnitudes t, and for each the bounds low ≤ q < high that all its inputs set."""
    x, y = numbers(name, dtype)
    least, greatest = room(y)
    x = widened(x)
    x, least, greatest = x[x != 0], least[x != 0], greatest[x != 0]
    t, of = np.unique(np.minimum(np.abs(x), layout.limit), return_inverse=True)
    # up(z) ≥ least means that z is above the number before it.
    before = np.nextafter(least.astype(np.float32), np.float32(-np.inf)).astype(np.float64)
    gated = np.maximum(x, 0)
    low, high = np.zeros(t.size), np.ones(t.size)
    np.maximum.at(low, of, (gated - greatest) / t[of])
    np.minimum.at(high, of, (gated - before) / t[of])
    return t, low, high


class Segment:
    """The inputs of a segment, and what they ask of its polynomial."""

    def __init__(
        self, t: Float64Array, low: Float64Array, high: Float64Array, design: Design
    ) -> None:
        """Magnitudes, and the bounds low ≤ q < high at each."""
        self.t, self.low, self.high, self.design = t, low, high, design
        root = 0.5**design.squarings
        self.lower, self.upper = low**root, high**root
        self.local = t - t.mean()
        self.reach = np.abs(self.local).max()

    def solve(self, degree: int, rest: Float64Array, unit: Float64Array) -> tuple[float, float]:
        """The highest coefficient of the polynomial that is, with rest, farthest inside.

        And how far that is, in the units of each input; negative outside.
        """
        basis = (self.local / self.reach)[:, None] ** np.arange(degree + 1)
        middle, width = (self.lower + self.upper) / 2 - rest, self.upper - self.lower
        start = np.linalg.lstsq(basis / width[:, None], middle / width)[0]
        fixed = rest + basis @ start
        # The program finds what start lacks, in units: its numbers are neither big nor small.
        rows = np.concatenate([basis, -basis])
        room = np.concatenate([self.upper - fixed, fixed - self.lower]) / np.tile(unit, 2)
        typical = np.median(unit)
        program = np.column_stack([rows * typical / np.tile(unit, 2)[:, None], np.ones(len(rows))])
        # Most inputs do not matter: begin with few, add those that are violated most.
        chosen = np.union1d(
            np.linspace(0, len(room) - 1, 2 * ROWS).astype(int), np.argsort(room)[:ROWS]
        )
        while True:
            found = linprog(
                np.append(np.zeros(degree + 1), -1),
                program[chosen],
                room[chosen],
                bounds=(None, None),
                method="highs",
            )
            if found.x is None:
                raise ValueError(f"the linear program failed: {found.message}")
            excess = program @ found.x - room
            worst = np.argsort(excess)[-ROWS:]
            worst = np.setdiff1d(worst[excess[worst] > 1e-6], chosen)
            if worst.size == 0:
                highest = start[degree] + found.x[degree] * typical
                return highest / self.reach**degree, found.x[-1]
            chosen = np.union1d(chosen, worst)

    def settle(self, unit: Float64Array) -> tuple[Float32Array, float]:
        """Coefficients c0, c1, … in float32, and how far inside p is before they are rounded.

        Powers of t − centre describe the same polynomials as those of t, with the same highest
        coefficient. So that one is rounded, and the lower ones are found again.
        """
        degree = self.design.degree
        c = np.zeros(degree + 1, np.float32)
        rest, farthest = np.zeros_like(self.t), -np.inf
        for power in range(degree, -1, -1):
            c[power], margin = self.solve(power, rest, unit)
            rest = rest + float(c[power]) * self.t**power
            farthest = max(farthest, margin)
        return c, farthest

    def roundings(self, c: Float32Array) -> Float64Array:
        """A bound for what all roundings of the evaluation change p by."""
        p, bound = np.zeros_like(self.t), np.zeros_like(self.t)
        for each in c[::-1].astype(np.float64):
            p = p * self.t + each
            bound = bound * self.t + np.abs(p) * EPSILON
        return bound + np.abs(p) * EPSILON  # squarings: a half, a quarter, … of a rounding each

    def wrong(self, c: Float32Array) -> NDArray[np.bool_]:
        """Which inputs get a wrong result from these coefficients."""
        q = gate(c, self.design.squarings, self.t)
        return (q < self.low) | (q >= self.high)

    def fit(self) -> Float32Array:
        """Coefficients that are right for every input; raises ValueError if none are found."""
        c, margin = self.settle(self.upper * EPSILON)
        if margin < 0:
            raise ValueError(f"degree {self.design.degree} is too low: no polynomial is right")
        unit = self.roundings(c)
        for _ in range(ATTEMPTS):
            c, _ = self.settle(unit)
            wrong = self.wrong(c)
            if not wrong.any():
                return c
            unit[wrong] *= 2
        raise ValueError("no coefficients found: the roundings do not fit in")


def segments(name: str, dtype: DType, layout: Layout, design: Design) -> Iterator[Segment]:
    """The segments of a table, from 0 to the limit."""
    t, low, high = bounds(name, dtype, layout)
    number = layout.segment(t)
    for k in range(number.max() + 1):
        inside = number == k
        yield Segment(t[inside], low[inside], high[inside], design)


def fit(name: str, dtype: DType) -> tuple[Layout, Float32Array]:
    """A table's layout and coefficients, right for all inputs; raises ValueError otherwise."""
    design = DESIGNS[name, dtype.name]
    layout = lay_out(name, dtype, design)
    coefficients = np.array([each.fit() for each in segments(name, dtype, layout, design)])
    x, y = numbers(name, dtype)
    found = simulate(layout, coefficients, x)
    wrong = int((found.view(np.uint16) != y.view(np.uint16)).sum())
    if wrong:
        raise ValueError(f"{wrong} results for {name} in {dtype.name} are misrounded")
    return layout, coefficients


def text(name: str, dtype: DType) -> str:
    """The data file of a function."""
    layout, coefficients = fit(name, dtype)
    comment = COMMENT.format(name=name, dtype=dtype.name)
    return unparse(comment, asdict(layout), np.ascontiguousarray(coefficients).view(np.uint32))


COMMENT = """\
The {dtype} table of {name}: made by python -m cupylut.fitting. One segment a line: c0, c1, … as
the bits of a float32; see cupylut/tables/compact.py.
"""
